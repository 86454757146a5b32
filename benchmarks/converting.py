"""How much memory `convert` takes, side by side with converting all weights at once.

    .venv/bin/python -m benchmarks.converting [--layers 12]

Makes a random InternVL2.5 of the widths of 2B (12 layers in three shards, 2.1 GB) and converts it in a process of its
own; theirs is what a user would write, and what transformers' script for InternVL3 does: all tensors into memory, then
all of the other layout, then saved. Peak memory is what the system says of either process, pages of mapped files
counted. Prints one line of JSON; what it must be stands in ``benchmarks/converting_bars.toml``.

Source of the widths: config.json of OpenGVLab/InternVL2_5-2B.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.dataset_room import told

BARS = Path(__file__).with_name("converting_bars.toml")
ROOT = Path(__file__).resolve().parents[1]
SHARDS = 3
_TEXT = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 16, "num_key_value_heads": 8}
_VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "image_size": 448}
_FLAGS = ("--weights-only", "--image-token-id", "5")
# From a small process: a new one counts as its own peak what the one that began it held.
_WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
_ALL_AT_ONCE = """
import sys
from pathlib import Path
from safetensors.torch import load_file, save_file
from transformers import InternVLForConditionalGeneration
source, out = map(Path, sys.argv[1:])
weights = {name: weight for file in sorted(source.glob("*.safetensors")) for name, weight in load_file(file).items()}
groups = 8
native = {}
for name, weight in weights.items():
    if "wqkv" in name:
        parts = weight.view(groups, 4, -1, weight.shape[-1])
        for one, part in zip("qkv", (parts[:, :2], parts[:, 2], parts[:, 3])):
            native[name.replace("wqkv", one)] = part.reshape(-1, weight.shape[-1]).clone()
    elif "attn.qkv" in name:
        for one, part in zip("qkv", weight.chunk(3)):
            native[name.replace("qkv", one)] = part.clone()
    else:
        native[name] = weight.clone()
del weights
out.mkdir()
save_file(native, out / "model.safetensors")
"""


def make(folder: Path, layers: int) -> Path:
    """A checkpoint without a tokenizer, its numbers random in their bits."""
    from tests.made_internvl_chat import SIZES, make_config, make_weights, write

    config = make_config(SIZES["2B"], 32_000)
    config["llm_config"] |= _TEXT | {"num_hidden_layers": layers}
    config["vision_config"] |= _VISION | {"num_hidden_layers": layers}
    config["force_image_size"] = _VISION["image_size"]
    return write(folder, config, make_weights(config), shards=SHARDS)


def watched(*command: str) -> dict[str, float]:
    """Seconds, and the peak memory of a process in MB, as the system counts it."""
    started = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", _WATCH, *command], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": time.perf_counter() - started, "peak_mb": int(ended.stdout) * unit / 1e6}


def measure(layers: int, folder: Path) -> dict[str, Any]:
    """Converts it in both ways, and ours back.

    Args:
        layers: of tower and language model each.
        folder: empty, with room for four times the checkpoint.

    Returns:
        Ratios, memory in MB, seconds.
    """
    subprocess.run([sys.executable, "-c", f"from pathlib import Path\nfrom benchmarks.converting import make\n"
                    f"make(Path({str(folder / 'source')!r}), {layers})"], cwd=ROOT, check=True)  # fmt: skip
    source = str(folder / "source")
    sizes = [file.stat().st_size / 1e6 for file in Path(source).glob("*.safetensors")]
    verb = (sys.executable, "-m", "trainer", "convert")
    runs = {
        "there": watched(*verb, source, str(folder / "native"), *_FLAGS),
        "back": watched(*verb, str(folder / "native"), str(folder / "back"), "--reverse"),
        "all at once": watched(sys.executable, "-c", _ALL_AT_ONCE, source, str(folder / "theirs")),
    }
    allowed = 1.2 * max(sizes) + 500
    return {
        "ratios": {
            "peak memory to 1.2 x the largest shard + 500 MB": runs["there"]["peak_mb"] / allowed,
            "peak memory back to 1.2 x the largest shard + 500 MB": runs["back"]["peak_mb"] / allowed,
            "peak memory of all at once to ours": runs["all at once"]["peak_mb"] / runs["there"]["peak_mb"],
        },
        "mb": {"checkpoint": sum(sizes), "largest shard": max(sizes)},
        "runs": runs,
    }


def main() -> int:
    """Measures, prints the table to stderr and one line of JSON to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.converting")
    parser.add_argument("--layers", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(arguments.layers, Path(folder))
    return told(measured, BARS)


if __name__ == "__main__":
    sys.exit(main())
