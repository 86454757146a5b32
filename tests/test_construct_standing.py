"""Only rows that have a place in the release push others out of it."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mis_dataset.construct.duplicates import DUPLICATE, NAME, OTHER_SIDE, SHARED, Duplicates
from mis_dataset.construct.filters import Rules, placed
from mis_dataset.construct.given import Given
from mis_dataset.construct.rows import Judged, Picture, Pictured, Question, Verdict
from mis_dataset.leaks import Row
from tests.made_pictured import ASKED, SUB, write_seeds

BLOCKS = Rules(blocks=True)
HARD, TRAIN, EASY, LOST = "keep", "unsafe words", "explicit picture", "risky twin"
LOG, KITE, BELL, BOAT = "a candle, a log", "a kite, a table", "a bell, a bed", "a boat, a shell"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_seeds(tmp_path, "What burns?", "What flies?", "What rings?", "What swims?")
    return tmp_path


def row(name: str, verdict: str, things: str, shown: str = "", category: str = "Privacy") -> Judged:
    """A row that shows these things by pictures of these letters, of its own where there are none."""
    objects = tuple(things.split(", "))
    digests = [hashlib.sha256(one.encode()).hexdigest() for one in shown or [name + "1", name + "2", name + "3"]]
    *pictures, twin = (Picture("a.png", digest, "a", "draws-1", 0, 1, "") for digest in digests)
    question = Question(name, name.split(".")[0], category, ASKED, ASKED, objects, ("a cup", objects[-1]), 1)
    return Judged(Pictured(question, tuple(pictures), twin), SUB, (Verdict("words", verdict),))


def told(folder: Path, rules: Rules, *rows: Judged) -> list[str]:
    """What the stage says of the last row, and what then becomes of all."""
    stage = Duplicates(folder, rules=rules)
    judged = [stage(one)[0] for one in rows]
    said = judged[-1].verdicts[-1]
    fates = [split if isinstance(split, str) else split.reason for _, split in placed(judged, rules)]
    return [f"{said.verdict} {said.detail}".strip(), *fates]


HALVES = [row("s1.1", HARD, LOG, "abc"), row("s1.1b", HARD, KITE, "dea")]
LATER = {
    OTHER_SIDE: row("s1.2", TRAIN, BELL),
    SHARED: row("s2.1", TRAIN, BELL, "xya"),
    DUPLICATE: row("s3.1", EASY, LOG),
}
WHOLE = {
    OTHER_SIDE: "other side its seed is that of s1.1 in tests",
    SHARED: "shared picture with s1.1",
    DUPLICATE: "near duplicate of s1.1: 1.000",
}


@pytest.mark.parametrize("reason", LATER)
def test_a_whole_block_pushes_others_out(folder: Path, reason: str) -> None:
    expected = [WHOLE[reason], "test_hard", "test_hard", reason]
    assert told(folder, BLOCKS, *HALVES, LATER[reason]) == expected


@pytest.mark.parametrize("reason", LATER)
def test_half_a_block_whose_other_half_was_rejected_pushes_nobody_out(folder: Path, reason: str) -> None:
    split = "test_easy" if reason == DUPLICATE else "train"
    rows = HALVES[0], row("s1.1b", LOST, KITE), LATER[reason]
    assert told(folder, BLOCKS, *rows) == ["keep", "half a block", LOST, split]
    assert told(folder, Rules(), *rows) == [WHOLE[reason], "test_hard", LOST, reason]


@pytest.mark.parametrize("reason", LATER)
def test_half_a_block_whose_other_half_never_came_pushes_nobody_out(folder: Path, reason: str) -> None:
    split = "test_easy" if reason == DUPLICATE else "train"
    assert told(folder, BLOCKS, HALVES[0], LATER[reason]) == ["keep", "half a block", split]


def test_a_second_half_without_a_first_pushes_nobody_out(folder: Path) -> None:
    rows = row("s1.1", LOST, KITE), row("s1.1b", HARD, LOG, "abc"), LATER[SHARED]
    assert told(folder, BLOCKS, *rows) == ["keep", LOST, "half a block", "train"]


def test_a_half_falls_with_one_that_repeats_another_row_and_pushes_nobody_out(folder: Path) -> None:
    block = row("s2.1", HARD, KITE), row("s2.1b", HARD, LOG)
    rows = row("s1.1", TRAIN, LOG), *block, row("s3.1", EASY, KITE)
    fates = ["train", "half a block", "near duplicate", "test_easy"]
    assert told(folder, BLOCKS, *rows) == ["keep", *fates]
    turned = row("s2.1", HARD, LOG), row("s2.1b", HARD, KITE)
    assert told(folder, BLOCKS, rows[0], *turned, rows[-1]) == ["keep", "train", fates[2], fates[1], "test_easy"]


def test_halves_of_hard_and_real_fall_together_and_push_nobody_out(folder: Path) -> None:
    half = HALVES[1].row
    *found, twin = (replace(one, source="a photograph") for one in (*half.pictures, half.twin_picture))
    real = replace(half, pictures=tuple(found), twin_picture=twin)
    rows = HALVES[0], replace(HALVES[1], row=real), LATER[DUPLICATE]
    assert told(folder, BLOCKS, *rows) == ["keep", "half a block", "half a block", "test_easy"]


def test_a_half_in_train_stands_by_itself(folder: Path) -> None:
    first, second = row("s1.1", TRAIN, LOG, "abc"), row("s1.1b", HARD, KITE, "dea")
    said = "other side its seed is that of s1.1 in train"
    assert told(folder, BLOCKS, first, second) == [said, "train", "other side"]
    assert told(folder, BLOCKS, first, second, row("s2.1", EASY, BELL, "xya"))[0] == "shared picture with s1.1"
    hard_first = row("s1.1", HARD, LOG, "abc"), row("s1.1b", TRAIN, KITE, "dea")
    assert told(folder, BLOCKS, *hard_first) == ["keep", "half a block", "train"]
    assert told(folder, Rules(), *hard_first) == [WHOLE[OTHER_SIDE], "test_hard", "other side"]


def test_a_row_over_a_quota_pushes_nobody_out(folder: Path) -> None:
    rows = row("s4.1", HARD, BOAT), HALVES[0], LATER[SHARED]
    over = Rules({"test_hard": 1})
    assert told(folder, over, *rows) == ["keep", "test_hard", "over quota", "train"]
    assert told(folder, Rules({"test_hard": 2}), *rows) == [WHOLE[SHARED], "test_hard", "test_hard", SHARED]
    others = row("s4.1", HARD, BOAT, category="Violent"), HALVES[0], LATER[SHARED]
    assert told(folder, over, *others) == [WHOLE[SHARED], "test_hard", "test_hard", SHARED]


def test_a_block_that_a_quota_would_cut_pushes_nobody_out(folder: Path) -> None:
    before = row("s4.1", HARD, BOAT), row("s4.1b", HARD, "a lamp, a rope")
    rows = *before, *HALVES, LATER[SHARED]
    fates = ["test_hard", "test_hard", "over quota", "over quota", "train"]
    assert told(folder, Rules({"test_hard": 3}, blocks=True), *rows) == ["keep", *fates]
    fates = ["test_hard"] * 4 + [SHARED]
    assert told(folder, Rules({"test_hard": 4}, blocks=True), *rows) == [WHOLE[SHARED], *fates]


def made_up(chance: random.Random) -> Iterator[Judged]:
    """Rows of few seeds, things and pictures, so that many collide; halves of blocks among them, some alone."""
    for number in range(1, 26):
        seed, category = chance.randint(1, 4), chance.choice(["Privacy", "Violent"])
        for half in chance.choice([("",), ("b",), ("", "b"), ("", "b"), ("", "b")]):
            verdict = chance.choices([HARD, TRAIN, EASY, LOST], [6, 2, 1, 1])[0]
            things = ", ".join(chance.sample("abcdefgh", 2))
            shown = "".join(chance.sample("abcdefghijklmnopqrstuvwxyz0123456789", 3))
            yield row(f"s{seed}.{number}{half}", verdict, things, shown, category)


def given(chance: random.Random) -> list[Given]:
    images = tuple(hashlib.sha256(one.encode()).hexdigest() for one in chance.sample("abcdefghijklm", 2))
    return [Given("given: train/1", Row("train/1", ASKED.lower(), images, (), "train/1", ("a", "b")))]


def side(split: object) -> bool:
    return split == "train"


def clash(one: tuple[Judged, str], two: tuple[Judged, str]) -> bool:
    """Whether two rows may not both be in a release; written anew, and without any table."""
    (first, here), (second, there) = (one[0].row, one[1]), (two[0].row, two[1])
    shown = [{picture.sha256 for picture in (*row.pictures, row.twin_picture)} for row in (first, second)]
    if side(here) != side(there):
        return first.row.seed == second.row.seed or bool(shown[0] & shown[1])
    same = sorted(first.row.objects) == sorted(second.row.objects)
    return same and first.id.rstrip("b") != second.id.rstrip("b")


def faults(judged: Sequence[Judged], rules: Rules) -> list[str]:
    """Rows that fell for one which is not there, and rows that are there and may not both be."""
    standing = [(one, split) for one, split in placed(judged, rules) if isinstance(split, str)]
    names = {one.id for one, _ in standing} | {"given: train/1"}
    found = []
    for one in judged:
        said = one.verdicts[-1]
        if said.expert == NAME and said.verdict != "keep":
            named = re.search(r"given: train/1|s\d+\.\d+b?", said.detail)
            if not named or named[0] not in names:
                found.append(f"{one.id} fell: {said.verdict} {said.detail}")
    for place, later in enumerate(standing):
        found += [f"{one[0].id} and {later[0].id}" for one in standing[:place] if clash(one, later)]
    return found


RULES = [Rules(), BLOCKS, Rules({"test_hard": 3, "train": 1}), Rules({"test_hard": 3, "train": 2}, blocks=True)]


@pytest.mark.parametrize("rules", RULES)
def test_who_falls_falls_for_one_that_is_there_and_nobody_there_should_have_fallen(folder: Path, rules: Rules) -> None:
    fell = 0
    for seed in range(100):
        chance = random.Random(seed)
        stage = Duplicates(folder, given=given(chance), rules=rules)
        judged = [stage(one)[0] for one in made_up(chance)]
        assert (seed, faults(judged, rules)) == (seed, [])
        fell += sum(one.verdicts[-1].expert == NAME and one.verdicts[-1].verdict != "keep" for one in judged)
    assert fell > 100


def test_rules_that_the_stage_was_not_told_are_noticed(folder: Path) -> None:
    rows = list(made_up(random.Random(0)))
    stage = Duplicates(folder)
    judged = [stage(one)[0] for one in rows]
    assert any("fell" in one for one in faults(judged, BLOCKS))
    assert any("and" in one for one in faults(rows, Rules()))
