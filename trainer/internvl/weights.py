"""The shards of one layout -> those of the other, by ranges of bytes.

Layouts differ in the names of tensors and in which rows lie together, so what is written is made of ranges of what is
read: no weight becomes a number, and no more than `_CHUNK` bytes are in memory. Only safetensors are read; a file of
another format could run code when it is.

Source: the format is 8 bytes of length, a JSON header and the tensors, see github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from safetensors import SafetensorError, safe_open
from tqdm.auto import tqdm

from mis_dataset.files import write_json
from trainer.files import read_text
from trainer.internvl.layout import ConvertError, Piece

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_BYTES = {"F32": 4, "BF16": 2, "F16": 2}
_NAMED = 5
_CHUNK = 16 * 2**20


class Found(NamedTuple):
    """One tensor of a checkpoint.

    Attributes:
        file: the shard that holds it.
        start: its first byte there.
        size: its bytes.
        shape: its shape.
        dtype: ``F32``, ``BF16`` or ``F16``, as safetensors says it.
    """

    file: Path
    start: int
    size: int
    shape: tuple[int, ...]
    dtype: str


class Target(NamedTuple):
    """One tensor that is to be written.

    Attributes:
        name: its name.
        shape: its shape.
        dtype: as of what it is made of.
        ranges: file, first byte and bytes of what it is made of, in order.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    ranges: list[tuple[Path, int, int]]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(size for _, _, size in self.ranges)


def find_tensors(folder: Path) -> dict[str, Found]:
    """Name -> tensor of a checkpoint, from the headers of its shards; no weight is read.

    Raises:
        ConvertError: There are no safetensors, the index is broken or names what is not there or lies outside of the
            folder, a shard is cut off, or a tensor is in two of them.
    """
    files = _shards(folder)
    found: dict[str, Found] = {}
    twice: list[str] = []
    for file in sorted(set(files.values())) if files else [folder / SINGLE]:
        for name, one in _header(file).items():
            twice += [name] if name in found else []
            found[name] = one
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
        ConvertError: Some are missing, unknown, of another shape, or hold no floating-point numbers; it names them all.
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


def targets(piece: Piece, found: Mapping[str, Found], *, back: bool) -> list[Target]:
    """What a piece becomes in the other layout: one tensor or three, or, where three were apart, one.

    Args:
        piece: of the table of both layouts.
        found: the tensors that are there, checked.
        back: from native to original.
    """
    if back:
        parts = [found[name] for name in piece.natives]
        row = parts[0].size // parts[0].shape[0]
        ranges = [
            (one.file, one.start + group * rows * row, rows * row)
            for group in range(piece.groups)
            for one, rows in zip(parts, piece.rows, strict=True)
        ]
        return [Target(piece.original, piece.shape, parts[0].dtype, ranges)]
    whole = found[piece.original]
    row = whole.size // whole.shape[0]
    made, before = [], 0
    for (name, shape), rows in zip(piece.native_shapes().items(), piece.rows, strict=True):
        places = [group * sum(piece.rows) + before for group in range(piece.groups)]
        ranges = [(whole.file, whole.start + place * row, rows * row) for place in places]
        made.append(Target(name, shape, whole.dtype, ranges))
        before += rows
    return made


def write_shards(
    out: Path, pieces: Sequence[Piece], found: Mapping[str, Found], most: int | None, *, back: bool
) -> dict[str, int]:
    """Writes all tensors in the other layout, each shard brought to the disk before the next is begun.

    Args:
        out: an empty folder.
        pieces: all tensors, as `trainer.internvl.layout.pieces` gives them.
        found: those that are there, checked.
        most: bytes of a shard, which what one tensor becomes may exceed; None: the shards of the source.
        back: from native to original.

    Returns:
        Counts: ``tensors`` and ``bytes`` of the weights, and ``shards``.

    Raises:
        ConvertError: A shard became shorter meanwhile.
    """
    plan = _plan(pieces, found, most, back=back)
    names = [f"model-{number:05d}-of-{len(plan):05d}.safetensors" for number in range(1, len(plan) + 1)]
    names = names if len(plan) > 1 else [SINGLE]
    index: dict[str, str] = {}
    size = 0
    for name, part in zip(names, tqdm(plan, desc="convert", unit="shard"), strict=True):
        _write_shard(out / name, part)
        index |= {one.name: name for one in part}
        size += sum(one.size for one in part)
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
            raise ConvertError(
                f"{folder}: its weights are a pickle ({pickles[0]}), which can run code when it is read; take a "
                "revision that has *.safetensors, or turn it into those where you trust it"
            )
        raise ConvertError(f"{folder}: no weights lie there ({SINGLE} or {INDEX}); fetch it again")
    try:
        index = json.loads(read_text(path), object_pairs_hook=_once)["weight_map"]
        named = {str(file) for file in index.values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConvertError(f"{path}: is no index of shards ({error}); fetch it again") from error
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


def _header(file: Path) -> dict[str, Found]:
    """The tensors of a shard; `safetensors` checks that they fill the file and do not overlap."""
    try:
        with safe_open(file, "np"), file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length), object_pairs_hook=_once)
    except (SafetensorError, OSError, ValueError) as error:
        raise ConvertError(f"{file}: is cut off, or no safetensors ({error}); fetch it again") from error
    header.pop("__metadata__", None)
    found = {}
    for name, one in header.items():
        first, end = one["data_offsets"]
        found[name] = Found(file, 8 + length + first, end - first, tuple(one["shape"]), one["dtype"])
    return found


def _plan(pieces: Sequence[Piece], found: Mapping[str, Found], most: int | None, *, back: bool) -> list[list[Target]]:
    """Which tensors a shard holds: those of a shard of the source, or as many as there is room for."""

    def first(piece: Piece) -> Path:
        return found[piece.natives[0] if back else piece.original].file

    ordered = sorted(pieces, key=first)
    plan: list[list[Target]] = []
    held = 0
    for place, piece in enumerate(ordered):
        made = targets(piece, found, back=back)
        size = sum(one.size for one in made)
        full = held + size > most if most else first(piece) != first(ordered[place - 1])
        if not plan or full:
            plan.append([])
            held = 0
        plan[-1] += made
        held += size
    return plan


def _write_shard(path: Path, part: Sequence[Target]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for one in part:
        header[one.name] = {"dtype": one.dtype, "shape": one.shape, "data_offsets": (end, end + one.size)}
        end += one.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that every number lies where a processor can read it at once
    with ExitStack() as opened, path.open("wb") as out:
        files = {file: opened.enter_context(file.open("rb")) for file in {one[0] for t in part for one in t.ranges}}
        out.write(len(text).to_bytes(8, "little") + text)
        for file, start, size in (one for target in part for one in target.ranges):
            files[file].seek(start)
            _copy(files[file], out, size)
    to_disk(path)


def _copy(file: BinaryIO, out: BinaryIO, size: int) -> None:
    while size:
        content = file.read(min(size, _CHUNK))
        if not content:
            raise ConvertError(f"{file.name}: became shorter while it was read; fetch it again")
        out.write(content)
        size -= len(content)


def _some(what: str, names: Iterable[str]) -> str | None:
    """How many of a kind there are, and the first of them; None where there are none."""
    ordered = sorted(names)
    more = ", ..." if len(ordered) > _NAMED else ""
    return f"{len(ordered)} {what} ({', '.join(ordered[:_NAMED])}{more})" if ordered else None


def _refuse(path: Path, faults: Iterable[str | None]) -> None:
    told = [fault for fault in faults if fault]
    if told:
        raise ConvertError(f"{path}: {'; '.join(told)}; see that it is whole and of one revision")
    return None
