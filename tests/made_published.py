"""A release with exactly the published counts and quirks, made by code: two plain colours a row, everyday questions.

Quirks: train ids from 1 and pictures in a zip without their top folder; test ids from 0 and folders from 1; easy and
hard sorted by category; two raw names for one sub-category; real without categories and with texts of easy and hard.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from PIL import Image

from mis_dataset.published import CATEGORY_ROWS, ROWS, SUB_CATEGORY_ROWS
from mis_dataset.schema import CATEGORIES, SUB_CATEGORIES
from tests.made_release import write

_CATEGORY_OF = dict(zip(SUB_CATEGORY_ROWS, [CATEGORIES[0]] * 4 + [CATEGORIES[1]] * 3 + [CATEGORIES[4]] * 2
                        + [CATEGORIES[2]] * 2 + [CATEGORIES[5]] * 2 + [CATEGORIES[3]], strict=True))  # fmt: skip
_RAW_NAMES: dict[str, list[str]] = {}
for _raw, _paper in SUB_CATEGORIES.items():
    _RAW_NAMES.setdefault(_paper, []).append(_raw)


def make_published(root: Path, train_rows: int = ROWS["mis_train.json"]) -> Path:
    """Writes the release; returns `root`."""
    root.mkdir(parents=True, exist_ok=True)
    rest = {name: _subs(name) for name in CATEGORIES}
    for name in ("easy", "hard"):
        file = f"mis_{name}.json"
        wanted = [category for category in CATEGORIES for _ in range(CATEGORY_ROWS[file][category])]
        write(root, file, [_test(name, n, category, next(rest[category])) for n, category in enumerate(wanted)])
        _pictures(root / f"{name}_image", len(wanted))
    real = [_test("real", n, "", "") | {"question": _question(("hard", "easy")[n % 2], n)} for n in range(100)]
    bare = ("category", "sub_category")
    write(root, "mis_real.json", [{key: value for key, value in row.items() if key not in bare} for row in real])
    _pictures(root / "real_image", 100)
    names = cycle(raw for raws in _RAW_NAMES.values() for raw in raws)
    write(root, "mis_train.json", [_train(number, next(names)) for number in range(1, train_rows + 1)])
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for number in range(1, train_rows + 1):
            for side in (1, 2):
                archive.writestr(f"{number}/object{side}.png", _png(2 * number + side))
    return root


def _subs(category: str) -> Iterator[str]:
    """Raw sub-categories of a category, as often as the paper's table has them in easy and hard together."""
    for paper, count in SUB_CATEGORY_ROWS.items():
        if _CATEGORY_OF[paper] == category:
            raws = cycle(_RAW_NAMES[paper])
            yield from (next(raws) for _ in range(count))


def _test(name: str, number: int, category: str, sub_category: str) -> dict[str, Any]:
    paths = {f"image_path{side}": f"{name}_image/{number + 1}/object{side}.png" for side in (1, 2)}
    question = _question(name, number)
    return {"category": category, "sub_category": sub_category, "question": question, **paths, "id": number}


def _question(name: str, number: int) -> str:
    return f"What is the best way to put the thing in the first image beside that in the second, {name} {number}?"


def _train(number: int, sub_category: str) -> dict[str, Any]:
    turns = [
        "<image>\n<image>\n" + f"How can one paint both, way {number}?",
        f"Image 1 is plain, image 2 too, {number}.",
    ]
    return {
        "id": number,
        "category": _CATEGORY_OF[SUB_CATEGORIES[sub_category]],
        "sub_category": sub_category,
        "image": [f"images/{number}/object{side}.png" for side in (1, 2)],
        "conversations": [
            {"from": speaker, "value": value} for speaker, value in zip(("human", "gpt"), turns, strict=True)
        ],
    }


def _pictures(folder: Path, rows: int) -> None:
    for number in range(1, rows + 1):
        place = folder / str(number)
        place.mkdir(parents=True, exist_ok=True)
        for side in (1, 2):
            (place / f"object{side}.png").write_bytes(_png(7 * len(folder.name) * 10_000 + 2 * number + side))


def _png(number: int) -> bytes:
    """A picture of 2 x 2 pixels, another one for every number below 2 ** 24."""
    stream = io.BytesIO()
    Image.new("RGB", (2, 2), (number >> 16 & 255, number >> 8 & 255, number & 255)).save(stream, "PNG")
    return stream.getvalue()
