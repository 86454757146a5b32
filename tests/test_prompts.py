"""Which rows are asked about: splits, levels, one split with its twins; broken pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image

from mis_dataset.build import build
from mis_dataset.errors import MISError
from tests.made_release import make_release
from tests.tiny import Tiny
from trainer.prompts import Prompt, read_prompts


def ids(rows: list[Prompt]) -> list[str]:
    return [row.id for row in rows]


def test_only_hard_gives_hard_rows_and_their_twins(tiny: Tiny) -> None:
    rows = load_dataset(str(tiny.dataset), split="test_benign").remove_columns("images").to_list()
    twins = [row["id"] for row in rows if row["twin_of"].startswith("test_hard/")]
    chosen = ids(list(read_prompts(tiny.dataset, ["test_hard", "test_benign"], only="hard")))
    assert chosen == [f"test_hard/{n}" for n in range(20)] + twins
    assert len(twins) == 20


def test_a_limit_keeps_the_pairs_of_every_split(tiny: Tiny) -> None:
    twin_of = {row["id"]: row["twin_of"] for row in load_dataset(str(tiny.dataset), split="test_benign")}
    splits = ["test_easy", "test_hard", "test_real", "test_benign"]
    chosen = ids(list(read_prompts(tiny.dataset, splits, limit=2)))
    rows = [f"{split}/{number}" for split in splits[:3] for number in (0, 1)]
    assert chosen[:6] == rows
    assert [twin_of[one] for one in chosen[6:]] == rows
    few = ids(list(read_prompts(tiny.dataset, ["test_hard", "test_benign"], limit=1)))
    assert (few[0], [twin_of[one] for one in few[1:]]) == ("test_hard/0", ["test_hard/0"])
    alone = ids(list(read_prompts(tiny.dataset, ["test_benign"], limit=1)))
    assert [twin_of[one] for one in alone] == [f"{split}/0" for split in splits[:3]]


def test_a_level_gives_its_rows_alone(tiny: Tiny) -> None:
    rows = load_dataset(str(tiny.dataset), split="test_hard").remove_columns("images").to_list()
    wanted = [row["id"] for row in rows if row["level"] == "new_pairs"]
    assert ids(list(read_prompts(tiny.dataset, ["test_hard"], level="new_pairs"))) == wanted
    assert 0 < len(wanted) < 20


def test_a_picture_that_is_broken_after_its_header_is_one_error_with_its_row(tmp_path: Path) -> None:
    raw = make_release(tmp_path / "raw", twins=False)
    path = raw / "hard_image" / "2" / "object1.png"
    Image.effect_noise((64, 64), 80).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    build(raw, tmp_path / "MIS")
    first, second = list(read_prompts(tmp_path / "MIS", ["test_hard"]))[1].pictures
    assert second.image().size == (8, 8)
    with pytest.raises(MISError, match=r"MIS: test_hard/1: a picture is broken .* mis_dataset check"):
        first.image()


def test_no_row_left_is_an_error(tiny: Tiny) -> None:
    with pytest.raises(MISError, match=r"no row in \['test_easy'\] is left \(only=hard, level=None\)"):
        list(read_prompts(tiny.dataset, ["test_easy"], only="hard"))
