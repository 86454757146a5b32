"""InternVL2.5 as it was published -> transformers' own InternVL, and back, without a line of the code beside it.

Weights go over unchanged, tensor by tensor, and prompt and tiles are the original's too: see `trainer.internvl`. The
grid that a picture is cut into is that of `tile_grid`, which transformers' image processor chooses as well; what it
resizes with Pillow are the original's tiles, see `trainer.models.load_processor`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mis_dataset.errors import UsageError
from mis_dataset.files import write_json
from mis_dataset.processes import alone
from trainer.files import ArtefactError, beside_weights, checkpoint_files, read_json
from trainer.internvl.config import native_config
from trainer.internvl.layout import ConvertError, Layout, layout_of, native_layout_of, pieces
from trainer.internvl.processor import asked_by, read_tokenizer, write_processor
from trainer.internvl.weights import INDEX, Found, check, find_tensors, to_disk, write_shards
from trainer.sidecars import is_from, make_sidecar, write_sidecar

TILE = 448
"""Pixels of a side of a tile, in all published sizes."""
ORIGINAL = "original"
"""Folder of a converted checkpoint that keeps the original's settings and tokenizer, for the way back."""
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def tile_grid(width: int, height: int, max_tiles: int, tile: int = TILE) -> tuple[int, int]:
    """The grid that the original cuts a picture into; where it has more than one tile, the small whole is added.

    Of all grids of at most `max_tiles` the one whose shape is nearest to the picture's. Of equally near ones the
    larger, where the picture has more than half the pixels of that grid.

    >>> tile_grid(640, 480, 6)
    (3, 2)

    Args:
        width: of the picture, pixels.
        height: of it.
        max_tiles: most tiles, from 1 on.
        tile: side of a tile, pixels.

    Returns:
        Columns and rows.

    Raises:
        ValueError: A number is below 1.

    Source: `dynamic_preprocess` of internvl_chat/internvl/train/dataset.py of OpenGVLab/InternVL.
    """
    if min(width, height, max_tiles, tile) < 1:
        raise ValueError(f"{width} x {height} px in at most {max_tiles} tiles of {tile} px is no picture")
    numbers = range(1, max_tiles + 1)
    grids = [(columns, rows) for columns in numbers for rows in numbers if columns * rows <= max_tiles]
    best, nearest = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        distance = abs(width / height - columns / rows)
        if distance < nearest or (distance == nearest and width * height > 0.5 * tile * tile * columns * rows):
            best, nearest = (columns, rows), distance
    return best


def convert(source: Path, out: Path, *, image_token: int | None = None, most: int | None = None) -> dict[str, Any]:
    """Writes the native checkpoint, whole or not at all; a second run finds it written.

    Args:
        source: folder of an original, as it was published.
        out: folder to write: absent, empty or the same conversion.
        image_token: convert weights alone, of which this id stands for a token of a picture; None: tokenizer and
            processor too.
        most: bytes of a shard; None: the shards of the source.

    Returns:
        What was written: counts of `trainer.internvl.weights.write_shards` and ``written``.

    Raises:
        ConvertError: The source is none, is broken, or cannot be converted.
        UsageError: `out` holds something else, or lies inside of the source.
    """
    config = _read_config(source)
    layout = layout_of(config, str(Path(source) / "config.json"))
    if image_token is not None and image_token >= layout.vocabulary:
        raise UsageError(f"--image-token-id {image_token}: the model has {layout.vocabulary} tokens, counted from 0")
    settings = {"to": "native", "image_token_id": image_token, "max_shard_size": most}

    def fill(new: Path) -> dict[str, int]:
        # All that can be refused comes before the weights, which take long.
        found, sized = _found(source, layout, back=False)
        tokenizer = read_tokenizer(source, layout) if image_token is None else None
        counts = write_shards(new, pieces(sized), found, most, back=False)
        token, ends = (image_token, _ends(config["llm_config"])) if tokenizer is None else asked_by(tokenizer)
        write_json(new / "config.json", native_config(config, sized, token, _dtype(found)))
        write_json(new / "generation_config.json", ends)
        if tokenizer is not None:
            write_processor(new, tokenizer, config, layout.tile_tokens)
        _keep(source, new / ORIGINAL)
        return counts

    return _written(source, out, settings, fill)


def restore(source: Path, out: Path, *, most: int | None = None) -> dict[str, Any]:
    """Writes a converted checkpoint as it was published, as `convert` writes; ``config`` says whether that was kept.

    Args:
        source: folder of a native checkpoint.
        out: as for `convert`.
        most: as for `convert`.

    Raises:
        ConvertError: as `convert`, or what was kept is of another model.
        UsageError: as `convert`.
    """
    layout = native_layout_of(_read_config(source), str(Path(source) / "config.json"))
    kept = Path(source) / ORIGINAL
    if kept.is_dir() and replace(layout_of(_read_config(kept), str(kept)), tied=layout.tied) != layout:
        raise ConvertError(f"{kept}: was kept of a model of another shape than config.json says; remove that folder")

    def fill(new: Path) -> dict[str, int]:
        found, sized = _found(source, layout, back=True)
        counts = write_shards(new, pieces(sized), found, most, back=True)
        if kept.is_dir():
            # By name: what else lies there, such as weights, would replace what was just written.
            _copy(beside_weights(kept), new)
        return counts

    summary = _written(source, out, {"to": "original", "max_shard_size": most}, fill)
    return summary | {"config": kept.is_dir()}


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        return read_json(Path(folder) / "config.json")
    except ArtefactError as error:
        raise ConvertError(f"{folder}: no checkpoint lies there ({error})") from error


def _found(folder: Path, layout: Layout, *, back: bool) -> tuple[dict[str, Found], Layout]:
    """The tensors of a checkpoint, which are those of its layout; whether the head is tied, they say."""
    found = find_tensors(Path(folder))
    heads = {"language_model.lm_head.weight", "language_model.output.weight"}
    sized = replace(layout, tied=layout.tied and not heads & found.keys())
    expected: dict[str, tuple[int, ...]] = {}
    for piece in pieces(sized):
        expected |= piece.native_shapes() if back else {piece.original: piece.shape}
    together = [piece.natives for piece in pieces(sized)] if back else []
    check(Path(folder), found, expected, together)
    return found, sized


def _ends(text: Mapping[str, Any]) -> dict[str, int]:
    """Where a text ends, of a language model whose tokenizer nobody gave."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: text[name] for name in names if text.get(name) is not None}


def _dtype(found: Mapping[str, Found]) -> str:
    """The number format of most weights, as torch calls it."""
    sizes: Counter[str] = Counter()
    for one in found.values():
        sizes[one.dtype] += one.size
    return _DTYPES[sizes.most_common(1)[0][0]]


def _keep(source: Path, folder: Path) -> None:
    """Settings and tokenizer of the original, byte for byte."""
    folder.mkdir()
    _copy(beside_weights(source), folder)


def _copy(files: list[Path], folder: Path) -> None:
    for file in files:
        if file.name != INDEX:
            shutil.copyfile(file, folder / file.name)


def _written(
    source: Path, out: Path, settings: dict[str, Any], fill: Callable[[Path], dict[str, int]]
) -> dict[str, Any]:
    """Lets `fill` write a folder beside `out`, which gets its name when it is whole; its sidecar is there before."""
    source, out = Path(source).resolve(), Path(out).absolute()
    if out.resolve().is_relative_to(source) or source.is_relative_to(out.resolve()):
        raise UsageError(f"{out}: source and target lie inside one another; name another folder")
    summary = {"out": str(out), "to": settings["to"]}
    sidecar = make_sidecar(out, "convert", settings, _inputs(source))
    # A folder does not take the place of a link.
    empty = out.is_dir() and not out.is_symlink() and not any(out.iterdir())
    if (out.exists() or out.is_symlink()) and not empty:
        if not is_from(out, sidecar):
            raise UsageError(f"{out}: holds something else; name a new folder, or remove it")
        return summary | {"written": False}
    with _place_beside(out) as new:
        counts = fill(new)
        for path in (*new.rglob("*"), new):
            to_disk(path)
        # A kill between the two leaves a sidecar of nothing, which the rerun replaces.
        write_sidecar(out, sidecar)
        new.rename(out)
    return summary | counts | {"written": True}


def _inputs(source: Path) -> list[Path]:
    try:
        return checkpoint_files(source)
    except ArtefactError:
        find_tensors(source)  # says what to do where there are other weights than safetensors
        raise


@contextmanager
def _place_beside(out: Path) -> Iterator[Path]:
    """An empty folder on the same disk, for one process at a time; what a kill left of an earlier one goes."""
    place = out.with_name(f".{out.name}.convert")
    with alone(place, str(out)):
        try:
            shutil.rmtree(place / "new", ignore_errors=True)
            (place / "new").mkdir()
            yield place / "new"
        finally:
            shutil.rmtree(place, ignore_errors=True)
