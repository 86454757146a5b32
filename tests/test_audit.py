"""What stats and leaks found, as the dataset card shows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cards.audit import LEAKS, STATS, audit
from cards.reading import CardError
from mis_dataset.__main__ import main
from mis_dataset.build import build
from tests.made_release import make_release


def made(folder: Path, leak: bool = False) -> Path:
    """A run that has a dataset, its stats and its leaks."""
    raw = make_release(folder / "raw")
    if leak:
        shutil.copy(raw / "images/2/object1.png", raw / "hard_image/2/object2.png")
    build(raw, folder / "MIS")
    assert main(["stats", str(folder / "MIS"), str((folder / STATS).parent)]) == 0
    assert main(["leaks", str(folder / "MIS"), str(folder / LEAKS)]) == int(leak)
    return folder


def test_the_tables_hold_what_both_verbs_found(tmp_path: Path) -> None:
    found = audit(made(tmp_path, leak=True))
    assert "| a picture, byte for byte | 0 | 1 | 0 | 0 |" in found["shared"]
    assert not found["no_picture_shared"]
    assert "| `test_hard` | 12 to 12, median 12 | – | 4 | 8 x 8 | PNG |" in found["sizes"]
    assert "| `train` | 9 to 9, median 9 | 5 to 12, median 12 | 8 | 8 x 8 | PNG |" in found["sizes"]
    assert found["alike"].startswith("Of the pictures of each split, so many look like one of train: ")


def test_without_a_leak_it_is_said_that_no_picture_is_shared(tmp_path: Path) -> None:
    assert audit(made(tmp_path))["no_picture_shared"]


def test_a_run_without_either_has_no_table(tmp_path: Path) -> None:
    found = audit(tmp_path)
    assert found.pop("no_picture_shared") is False
    assert found == dict.fromkeys(("shared", "alike", "trained_twins", "sizes", "repeated", "sub_categories"))


@pytest.mark.parametrize(
    "changes", [{"compared": 3}, {"compared": []}, {"near_image_chance": "x"}, {"compared": [{"one": "train"}]}]
)
def test_what_leaks_did_not_write_is_one_error(tmp_path: Path, changes: dict[str, object]) -> None:
    path = made(tmp_path) / LEAKS
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes))
    with pytest.raises(CardError, match=r"leaks\.json: is not as its verb writes it"):
        audit(tmp_path)


@pytest.mark.parametrize("name", [LEAKS, STATS])
@pytest.mark.parametrize("changes", [{"manifest": "0" * 64}, {"manifest": None}, {"limit": 3}])
def test_what_was_found_in_another_dataset_or_in_some_rows_is_refused(
    tmp_path: Path, name: str, changes: dict[str, object]
) -> None:
    path = made(tmp_path) / name
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes))
    with pytest.raises(CardError, match=r"is not of all rows of .*MIS as it is now; run its verb again"):
        audit(tmp_path)
