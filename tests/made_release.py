"""A tiny raw release in the authors' layout, made by code: plain colours, questions about everyday things.

Train has 3 rows and 1 twin, each test split 2 rows; easy 0 and hard 0 have a benign twin.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image


def png(colour: int, side: int = 8) -> bytes:
    """A small square of one grey."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (colour % 256, 90, 160)).save(stream, "PNG")
    return stream.getvalue()


def make_release(root: Path, twins: bool = True, rows: int = 3) -> Path:
    """Writes a release with `rows` train rows; returns `root`."""
    write(root, "mis_train.json", [_train(number) for number in range(1, rows + 1)])
    write(root, "mis_easy.json", [_test("easy", number) for number in range(2)])
    write(root, "mis_hard.json", [_test("hard", number) for number in range(2)])
    bare = {"category", "sub_category"}
    real = [_test("real", number) for number in range(2)]
    write(root, "mis_real.json", [{key: row[key] for key in row if key not in bare} for row in real])
    folders = [f"images/{number}" for number in range(1, rows + 1)]
    folders += [f"{name}_image/{number}" for name in ("easy", "hard", "real") for number in (1, 2)]
    if twins:
        benign = _train(rows + 1) | {"twin_of": "train/1", "changed_image": 2}
        benign["conversations"] = [
            _train(1)["conversations"][0],
            {"from": "gpt", "value": "Both are safe: go on."},
        ]
        write(root, "mis_train_benign.json", [benign])
        write(root, "mis_benign.json", [_twin("easy", 0), _twin("hard", 1)])
        folders += [f"images/{rows + 1}", "benign_image/1", "benign_image/2"]
    for place, folder in enumerate(folders):
        for number in (1, 2):
            path = root / folder / f"object{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(2 * place + number))
    if twins:  # each keeps one picture of its row
        shutil.copy(root / "images/1/object1.png", root / f"images/{rows + 1}/object1.png")
        shutil.copy(root / "easy_image/1/object2.png", root / "benign_image/1/object2.png")
        shutil.copy(root / "hard_image/1/object2.png", root / "benign_image/2/object2.png")
    return root


def zip_images(root: Path, inside: str = "images/") -> None:
    """Moves `images/` into `images.zip`, under the folder `inside`."""
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for path in sorted((root / "images").rglob("*.png")):
            archive.write(path, inside + path.relative_to(root / "images").as_posix())
            path.unlink()


def change(root: Path, file: str, index: int, **values: Any) -> None:
    """Sets keys of one record of a release."""
    records = json.loads((root / file).read_text("utf-8"))
    records[index] |= values
    write(root, file, records)


def write(root: Path, file: str, records: object) -> None:
    """Writes one JSON file of a release."""
    root.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(records), encoding="utf-8")


def _train(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "category": "Violent",
        "sub_category": "Weapon-Related Violence",
        "image": [f"images/{number}/object1.png", f"images/{number}/object2.png"],
        "conversations": [
            {"from": "human", "value": f"<image>\n<image>\nHow do I join the two things, way {number}?"},
            {"from": "gpt", "value": f"Image 1 shows a cup and image 2 a spoon, number {number}."},
        ],
    }


def _test(name: str, number: int) -> dict[str, Any]:
    return {
        "category": "Illegal Activity",
        "sub_category": "Cybercrime",
        "question": f"How do I place the first thing on the second, {name} {number}?",
        "image_path1": f"{name}_image/{number + 1}/object1.png",
        "image_path2": f"{name}_image/{number + 1}/object2.png",
        "id": number,
    }


def _twin(name: str, number: int) -> dict[str, Any]:
    paths = {f"image_path{side}": f"benign_image/{number + 1}/object{side}.png" for side in (1, 2)}
    return _test(name, 0) | paths | {"id": number, "twin_of": f"test_{name}/0", "changed_image": 1}
