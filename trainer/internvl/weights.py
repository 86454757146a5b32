"""The shards of one layout -> those of the other, one after the other; no more than a shard is in memory.

Tensors are read by `safetensors` alone. A file of another format could run code when it is read, so none is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm

from mis_dataset.files import write_json
from trainer.files import read_text
from trainer.internvl.layout import Piece
from trainer.models import ModelError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_BYTES = {"F32": 4, "BF16": 2, "F16": 2}
_NAMED = 5


class Found(NamedTuple):
    """One tensor of a checkpoint.

    Attributes:
        file: the shard that holds it.
        shape: its shape.
        dtype: ``F32``, ``BF16`` or ``F16``, as safetensors says it.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes."""
        return torch.Size(self.shape).numel() * _BYTES.get(self.dtype, 0)


def find_tensors(folder: Path) -> dict[str, Found]:
    """Name -> tensor of a checkpoint, from the headers of its shards; no weight is read.

    Raises:
        ModelError: There are no safetensors, the index is broken or names what is not there or lies outside of the
            folder, a shard is cut off, or a tensor is in two of them.
    """
    files = _shards(folder)
    found: dict[str, Found] = {}
    twice: list[str] = []
    for file in sorted(set(files.values())) if files else [folder / SINGLE]:
        try:
            with safe_open(file, "pt") as shard:
                for name in shard.keys():  # noqa: SIM118 (a shard is no dict)
                    part = shard.get_slice(name)
                    twice += [name] if name in found else []
                    found[name] = Found(file, tuple(part.get_shape()), part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file}: is cut off, or no safetensors ({error}); fetch it again") from error
    faults = [_some("tensors are in two shards", twice)]
    if files:
        faults.append(_some("tensors of the index are not in its shards", files.keys() - found.keys()))
        faults.append(_some("tensors of the shards are not in the index", found.keys() - files.keys()))
        elsewhere = [name for name in files.keys() & found.keys() if found[name].file != files[name]]
        faults.append(_some("tensors lie in another shard than the index says", set(elsewhere) - set(twice)))
    _refuse(folder / (INDEX if files else SINGLE), faults)
    return found


def check(
    folder: Path,
    found: Mapping[str, Found],
    expected: Mapping[str, tuple[int, ...]],
    together: Iterable[tuple[str, ...]] = (),
) -> None:
    """That a checkpoint has the tensors of its configuration and no others.

    Args:
        folder: for errors.
        found: as `find_tensors` gives them.
        expected: name -> shape.
        together: names of tensors that become one.

    Raises:
        ModelError: Some are missing, unknown, of another shape, or hold no floating-point numbers; it names them all.
    """
    shapes = [
        f"{name} is {list(found[name].shape)}, not {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    mixed = [names[0] for names in together if len({found[name].dtype for name in names if name in found}) > 1]
    formats = [f"{name} is {one.dtype}" for name, one in found.items() if one.dtype not in _BYTES]
    _refuse(
        folder,
        [
            _some("tensors are missing", expected.keys() - found.keys()),
            _some("tensors are unknown", found.keys() - expected.keys()),
            _some("tensors have another shape than config.json says", shapes),
            _some(f"tensors are not of {', '.join(_BYTES)}", formats),
            _some("tensors and those beside them, which become one, are of several number formats", mixed),
        ],
    )


def split(piece: Piece, tensor: torch.Tensor) -> list[torch.Tensor]:
    """A tensor of the original -> its native ones, without a copy where that is possible."""
    if len(piece.natives) == 1:
        return [tensor]
    grouped = tensor.view(piece.groups, sum(piece.rows), *piece.shape[1:])
    return [part.reshape(-1, *piece.shape[1:]).contiguous() for part in grouped.split(piece.rows, dim=1)]


def join(piece: Piece, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Native tensors -> that of the original; undoes `split`."""
    if len(piece.natives) == 1:
        return tensors[0]
    parts = [part.view(piece.groups, -1, *piece.shape[1:]) for part in tensors]
    return torch.cat(parts, dim=1).view(piece.shape)


def write_shards(
    out: Path, pieces: Sequence[Piece], found: Mapping[str, Found], most: int | None, *, back: bool
) -> dict[str, int]:
    """Writes all tensors in the other layout, each shard brought to the disk before the next is begun.

    Args:
        out: an empty folder.
        pieces: all tensors, as `trainer.internvl.layout.pieces` gives them.
        found: those that are there, checked.
        most: bytes of a shard, which one tensor alone may exceed; None: the shards of the source.
        back: from native to original.

    Returns:
        Counts: ``tensors`` and ``bytes`` of the weights, and ``shards``.
    """
    plan = _plan(pieces, found, most, back=back)
    names = [f"model-{number:05d}-of-{len(plan):05d}.safetensors" for number in range(1, len(plan) + 1)]
    names = names if len(plan) > 1 else [SINGLE]
    index: dict[str, str] = {}
    size = 0
    for name, part in zip(names, tqdm(plan, desc="convert", unit="shard"), strict=True):
        with ExitStack() as opened:
            tensors = _read(part, found, opened, back=back)
            size += sum(tensor.nbytes for tensor in tensors.values())
            index |= dict.fromkeys(tensors, name)
            save_file(tensors, out / name, metadata={"format": "pt"})
            del tensors
        to_disk(out / name)
    if len(plan) > 1:
        write_json(out / INDEX, {"metadata": {"total_size": size}, "weight_map": dict(sorted(index.items()))})
    return {"tensors": len(index), "bytes": size, "shards": len(plan)}


def to_disk(path: Path) -> None:
    """Brings a file, or a folder's list of files, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _shards(folder: Path) -> dict[str, Path]:
    """Tensor -> shard by the index; empty where the weights are one file."""
    if (folder / SINGLE).is_file():
        return {}
    path = folder / INDEX
    if not path.is_file():
        pickles = sorted(file.name for file in folder.glob("pytorch_model*.bin"))
        if pickles:
            raise ModelError(
                f"{folder}: its weights are a pickle ({pickles[0]}), which can run code when it is read; take a "
                "revision that has *.safetensors, or turn it into those where you trust it"
            )
        raise ModelError(f"{folder}: no weights lie there ({SINGLE} or {INDEX}); fetch it again")
    try:
        index = json.loads(read_text(path), object_pairs_hook=_once)["weight_map"]
        named = {str(file) for file in index.values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: is no index of shards ({error}); fetch it again") from error
    outside = [file for file in named if Path(file).name != file or not file.endswith(".safetensors")]
    missing = [file for file in named - set(outside) if not (folder / file).is_file()]
    _refuse(
        path,
        [
            _some("shards are no names of safetensors in this folder", map(repr, outside)),
            _some("shards are missing", missing),
            "names no tensor" if not index else None,
        ],
    )
    return {name: folder / file for name, file in index.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys stand there once; of two, a parser would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)} stands there twice")
    return found


def _plan(pieces: Sequence[Piece], found: Mapping[str, Found], most: int | None, *, back: bool) -> list[list[Piece]]:
    """Which pieces a shard holds: those of a shard of the source, or as many as there is room for."""

    def first(piece: Piece) -> Path:
        return found[piece.natives[0] if back else piece.original].file

    ordered = sorted(pieces, key=first)
    plan: list[list[Piece]] = []
    held = 0
    for place, piece in enumerate(ordered):
        size = sum(found[name].size for name in (piece.natives if back else (piece.original,)))
        full = held + size > most if most else first(piece) != first(ordered[place - 1])
        if not plan or full:
            plan.append([])
            held = 0
        plan[-1].append(piece)
        held += size
    return plan


def _read(
    part: Iterable[Piece], found: Mapping[str, Found], opened: ExitStack, *, back: bool
) -> dict[str, torch.Tensor]:
    """Tensors of a shard to be written, mostly views of the files, which stay mapped while `opened` lasts."""
    shards: dict[Path, Any] = {}

    def get(name: str) -> torch.Tensor:
        file = found[name].file
        if file not in shards:
            shards[file] = opened.enter_context(safe_open(file, "pt"))
        tensor: torch.Tensor = shards[file].get_tensor(name)
        return tensor

    tensors: dict[str, torch.Tensor] = {}
    for piece in part:
        if back:
            tensors[piece.original] = join(piece, [get(name) for name in piece.natives])
        else:
            tensors |= zip(piece.natives, split(piece, get(piece.original)), strict=True)
    return tensors


def _some(what: str, names: Iterable[str]) -> str | None:
    """How many of a kind there are, and the first of them; None where there are none."""
    ordered = sorted(names)
    more = ", ..." if len(ordered) > _NAMED else ""
    return f"{len(ordered)} {what} ({', '.join(ordered[:_NAMED])}{more})" if ordered else None


def _refuse(path: Path, faults: Iterable[str | None]) -> None:
    told = [fault for fault in faults if fault]
    if told:
        raise ModelError(f"{path}: {'; '.join(told)}; see that it is whole and of one revision")
    return None
