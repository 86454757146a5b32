"""Which checkpoint a training goes on from: the last one that is whole, as a kill may cut short what is being written.

Beside weights in safetensors a checkpoint holds pickles of torch: the states of optimizer, schedule and random numbers,
and with FSDP2 the list of what is in which shard. They are our own, written by this training into OUT, and are gone
when it ends; transformers reads all but that list with ``weights_only=True``. So OUT is trusted as the code is: do not
go on with the checkpoints of somebody else.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

_WEIGHTS = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")
"""The weights in a checkpoint: of LoRA, of a whole model, and of one in several files."""
_FSDP = ("pytorch_model_fsdp_0/.metadata", "optimizer_0/.metadata")
"""What ends a checkpoint in shards of FSDP2, weights and optimizer; each is written when all shards are."""
_LATEST = "latest"
"""A file of DeepSpeed's that names the folder of the shards; written when all shards are."""


def last_checkpoint(folder: Path, processes: int = 1) -> str | None:
    """The last whole checkpoint of a training; None where there is none.

    The Trainer writes ``trainer_state.json`` last. Of several processes only the first does, and does not wait until
    the others have written what their random numbers go on from.

    Args:
        folder: of the checkpoints.
        processes: how many trained, and go on.
    """
    steps = {path: _step(path, processes) for path in folder.glob("checkpoint-*")}
    whole = {step: path for path, step in steps.items() if step is not None}
    return str(whole[max(whole)]) if whole else None


def remove_broken(folder: Path, processes: int = 1) -> None:
    """Removes checkpoints that are not whole: one that is written again, and cut short again, could look whole."""
    for path in folder.glob("checkpoint-*"):
        if path.is_symlink() or not path.is_dir():
            path.unlink()  # never what it points at
        elif _step(path, processes) is None:
            shutil.rmtree(path)


def _step(checkpoint: Path, processes: int) -> int | None:
    """After how many steps a whole checkpoint was written; None where it is not whole."""
    if checkpoint.is_symlink():
        return None
    try:
        step = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))["global_step"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    # Another number than its name's would leave steps out, or train some twice.
    is_its_own = type(step) is int and step > 0 and checkpoint.name == f"checkpoint-{step}"
    return step if is_its_own and _is_whole(checkpoint, processes) else None


def _is_whole(checkpoint: Path, processes: int) -> bool:
    ranks = range(processes)
    states = [f"rng_state_{rank}.pth" for rank in ranks] if processes > 1 else ["rng_state.pth"]
    states += ["scheduler.pt", *(["optimizer.pt"] if _are_there(checkpoint, "optimizer.pt") else [])]
    if not all(zipfile.is_zipfile(checkpoint / name) for name in states):
        return False
    if not all(map(_opens, checkpoint.glob("*.safetensors"))):
        return False
    plain = _are_there(checkpoint, "optimizer.pt") and any(_are_there(checkpoint, name) for name in _WEIGHTS)
    return plain or _are_there(checkpoint, *_FSDP) or _are_there(checkpoint, _LATEST)


def _opens(weights: Path) -> bool:
    """Whether a file of weights is whole, by its header."""
    try:
        with safe_open(weights, "pt"):
            return True
    except (SafetensorError, OSError):
        return False


def _are_there(checkpoint: Path, *names: str) -> bool:
    return all((checkpoint / name).is_file() for name in names)
