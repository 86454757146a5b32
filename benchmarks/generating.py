"""How much faster `generate` asks a model than one prompt a call, the way of the authors' evaluation.

    .venv/bin/python -m benchmarks.generating [--rows 96]

Both ask SmolLM2 with an untrained tower about the same rows of MIS-mini, greedily, in float32, up to 44 new tokens, in
one process and with the same threads. Ours is the engine `transformers` with the batches of `make reproduce`, the
least of two rounds; theirs is a call of transformers' `generate` a row, in the rows' order. Prints one line of JSON;
what it must be stands in ``benchmarks/generating_bars.toml``.

Source: evaluation/inference_vllm.py of DripNowhy/MIS at 9cd94ec asks prompt by prompt.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.dataset_room import told
from mis_dataset.build import build
from mis_dataset.chat import prompt
from mis_dataset.mini.write import write_release
from trainer import mini_vlm, models
from trainer.engines.local import generate
from trainer.generate import TEST_SPLITS
from trainer.prompts import Prompt, read_prompts
from trainer.reproduce import BATCH, MAX_NEW_TOKENS

BARS = Path(__file__).with_name("generating_bars.toml")
ROUNDS = 2
NEW_TOKENS = int(MAX_NEW_TOKENS)


def one_by_one(model: Any, processor: Any, prompts: list[Prompt]) -> dict[str, str]:
    """Theirs: id -> response."""
    said = {}
    for one in prompts:
        text = processor.apply_chat_template(prompt(one.question, len(one.pictures)), add_generation_prompt=True)
        pictures = [[each.image() for each in one.pictures]] if one.pictures else None
        inputs = processor(text=[text], images=pictures, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            made = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        ids = made[0, inputs["input_ids"].shape[1] :]
        said[one.id] = processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    return said


def ours(model: Any, processor: Any, prompts: list[Prompt]) -> dict[str, str]:
    """Ours: id -> response."""
    batches = generate(model, processor, prompts, NEW_TOKENS, int(BATCH))
    return {row.id: row.response for batch in batches for row in batch}


def measure(model: Any, processor: Any, prompts: list[Prompt]) -> dict[str, Any]:
    """Asks both ways.

    Args:
        model: as `trainer.models.load` gives it.
        processor: its processor.
        prompts: what is asked.

    Returns:
        Seconds a row of each, their ratio, and how many responses differ.
    """
    first, serial = _timed(one_by_one, model, processor, prompts)
    rounds = [_timed(ours, model, processor, prompts) for _ in range(ROUNDS)]
    batched = min(seconds for _, seconds in rounds)
    differ = sum(said[id_] != text for said, _ in rounds for id_, text in first.items())
    return {
        "rows": len(prompts),
        "threads": torch.get_num_threads(),
        "place": models.place_of(model),
        "ratios": {"one by one to batched, time a row": serial / batched},
        "counts": {"responses that differ": differ},
        "seconds": {"one by one, a row": serial / len(prompts), "batched, a row": batched / len(prompts)},
        "words": sum(len(text.split()) for text in first.values()) / len(prompts),
    }


def _timed(
    ask: Callable[[Any, Any, list[Prompt]], dict[str, str]], model: Any, processor: Any, prompts: list[Prompt]
) -> tuple[dict[str, str], float]:
    started = time.perf_counter()
    said = ask(model, processor, prompts)
    return said, time.perf_counter() - started


def main() -> int:
    """Measures, prints the table to stderr and one line of JSON to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generating")
    parser.add_argument("--rows", type=int, default=96, help="a quarter of each split of tests")
    rows = parser.parse_args().rows
    with TemporaryDirectory() as name:
        folder = Path(name)
        made, processor = mini_vlm.assemble(*mini_vlm.read_language_model(mini_vlm.SMOLLM2, 0), 0)
        made.save_pretrained(folder / "model")
        processor.save_pretrained(folder / "model")
        write_release(folder / "raw", 0, zipped=False, smoke=False)
        build(folder / "raw", folder / "MIS")
        prompts = list(read_prompts(folder / "MIS", list(TEST_SPLITS), limit=max(1, rows // len(TEST_SPLITS))))
        measured = measure(*models.load(folder / "model", cpu=True, float32=True), prompts)
    return told(measured, BARS)


if __name__ == "__main__":
    sys.exit(main())
