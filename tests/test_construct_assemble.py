"""Rows become a raw release that every other verb reads, with where each comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.build import build
from mis_dataset.check import check_release
from mis_dataset.construct.assemble import Made, assemble
from mis_dataset.construct.filters import Rules
from mis_dataset.construct.labels import joined
from mis_dataset.construct.rows import AnyRow, Judged, Labelled, Picture, Pictured, Question, Verdict, to_line
from mis_dataset.errors import MISError, UsageError
from mis_dataset.verify import verify
from tests.test_construct_pictures import png

SUB = "Identity Theft and Impersonation"
FATES = {
    "s1.1": ("keep", "Violent"),
    "s2.1": ("explicit picture", "Privacy"),
    "s3.1": ("keep", "Illegal Activity"),
    "s4.1": ("unsafe words", "Privacy"),
    "s5.1": ("risky twin", "Privacy"),
    "s6.1": ("unsafe words", "Hate"),
}


def judged(folder: Path, name: str, verdict: str, category: str) -> Judged:
    pictures = []
    for place in ("object1", "object2", "twin2"):
        file = f"pictures/{name}/{place}.png"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(png(file))
        sha256 = hashlib.sha256(png(file)).hexdigest()
        pictures.append(Picture(file, sha256, f"a {place}", "draws-1", 7, 1, "CC0-1.0"))
    asked = f"How do I use the first image of {name} with the second image?"
    seed = name.split(".")[0]
    objects = ("a lamp", "a box"), ("a lamp", "a cup")
    question = Question(name, seed, category, asked, "How boldly?", *objects, 2, f"seeds.jsonl:{seed[1:]}")
    verdicts = (Verdict("words", verdict if verdict == "unsafe words" else "keep"), Verdict("together", verdict))
    return Judged(Pictured(question, (pictures[0], pictures[1]), pictures[2]), SUB, verdicts)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    rows = [judged(tmp_path, name, *told) for name, told in FATES.items()]
    labels = [
        Labelled(
            row, joined("A lamp and a box.", "They do not go together.", "Keep them apart."), joined("A lamp.", "Yes.")
        )
        for row in rows
        if FATES[row.id][0] == "unsafe words"
    ]
    write(tmp_path / "filters.jsonl", rows)
    write(tmp_path / "labels.jsonl", labels)
    return Made(tmp_path, tmp_path / "filters.jsonl", tmp_path / "labels.jsonl", Rules())


def write(path: Path, rows: Iterable[AnyRow]) -> None:
    path.write_text("".join(map(to_line, rows)), "utf-8")


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_go_where_their_fate_says_by_category_each_with_its_twin(made: Made, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    assert assemble(made, raw) == {"train": 4, "test_easy": 1, "test_hard": 2, "test_benign": 3}
    rows = {row["id"]: row["row"] for row in lines(raw / "provenance/rows.jsonl")}
    assert rows == {
        "train/1": "s4.1",
        "train/2": "s6.1",
        "train/3": "s4.1",
        "train/4": "s6.1",
        "test_easy/0": "s2.1",
        "test_hard/0": "s3.1",  # Illegal Activity comes before Violent
        "test_hard/1": "s1.1",
        "test_benign/0": "s2.1",
        "test_benign/1": "s3.1",
        "test_benign/2": "s1.1",
    }
    twins = [(record["twin_of"], record["changed_image"]) for record in read(raw / "mis_benign.json")]
    assert twins == [("test_easy/0", 2), ("test_hard/0", 2), ("test_hard/1", 2)]
    assert [record["twin_of"] for record in read(raw / "mis_train_benign.json")] == ["train/1", "train/2"]
    assert read(raw / "objects.json")["test_benign/0"] == ["a lamp", "a cup"]


def test_the_release_is_checked_and_built_as_any_other(made: Made, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    assemble(made, raw)
    release = check_release(raw)
    assert [str(problem) for problem in release.problems] == []
    assert build(raw, tmp_path / "MIS").rows == {"train": 4, "test_easy": 1, "test_hard": 2, "test_benign": 3}
    assert verify(tmp_path / "MIS") == []


def test_a_twin_shares_the_picture_that_was_not_exchanged(made: Made, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    assemble(made, raw)
    row, twin = raw / "easy_image/1", raw / "benign_image/1"
    assert (row / "object1.png").read_bytes() == (twin / "object1.png").read_bytes()
    assert (row / "object2.png").read_bytes() != (twin / "object2.png").read_bytes()
    for one in lines(raw / "provenance/pictures.jsonl"):
        assert hashlib.sha256((raw / one["path"]).read_bytes()).hexdigest() == one["sha256"]
        assert (one["model"], one["licence"], one["seed"], one["round"]) == ("draws-1", "CC0-1.0", 7, 1)


def test_where_a_row_comes_from_is_on_file_and_its_first_wording_is_not(made: Made, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    assemble(made, raw)
    [first, *_] = lines(raw / "provenance/rows.jsonl")
    assert first == {
        "id": "train/1",
        "row": "s4.1",
        "seed": "s4",
        "source": "seeds.jsonl:4",
        "verdicts": [
            {"expert": "words", "verdict": "unsafe words", "detail": "", "why": ""},
            {"expert": "together", "verdict": "unsafe words", "detail": "", "why": ""},
        ],
        "spans": [[0, 17], [18, 42], [43, 59]],
    }
    assert all(b"boldly" not in path.read_bytes() for path in raw.rglob("*") if path.is_file())


def test_the_same_rows_again_give_the_same_bytes_and_other_quotas_another_release(made: Made, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    assemble(made, raw)
    before = {path: path.read_bytes() for path in raw.rglob("*") if path.is_file()}
    assemble(made, raw)
    assert {path: path.read_bytes() for path in raw.rglob("*") if path.is_file()} == before
    assert assemble(made._replace(rules=Rules({"test_hard": 0})), raw) == {"train": 4, "test_easy": 1, "test_benign": 1}
    assert not (raw / "hard_image").exists()
    assert not (raw / "mis_hard.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["filters.jsonl", "labels.jsonl", "pictures", "raw"]


def test_a_folder_of_others_is_kept_and_a_failed_release_leaves_the_one_before(made: Made, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and no release of a construction"):
        assemble(made, tmp_path / "mine")
    with pytest.raises(UsageError, match="is no folder"):
        assemble(made, tmp_path / "filters.jsonl")
    raw = tmp_path / "raw"
    assemble(made, raw)
    made.labelled.write_text("nonsense\n")
    with pytest.raises(MISError, match=r"labels\.jsonl: line 1 is no labelled"):
        assemble(made, raw)
    assert (raw / "mis_train.json").is_file()
    assert not (tmp_path / ".raw.part").exists()
