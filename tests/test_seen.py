"""Rows that are rendered by several processes, and what is kept of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tiny import Tiny
from trainer.preflight.rendered import Renderer, Settings
from trainer.preflight.seen import see
from trainer.recipe import RecipeArguments
from trainer.training.rows import read_split, training_rows


def rows_of(tiny: Tiny) -> Any:
    return training_rows(tiny.dataset, RecipeArguments(twins=True), 0)


def twin_of(tiny: Tiny) -> dict[str, str | None]:
    rows = read_split(tiny.dataset, "train").select_columns(["id", "twin_of"])
    return {row["id"]: row["twin_of"] for row in rows}


def test_rows_have_a_kind_a_family_and_how_they_begin(tiny: Tiny) -> None:
    found = {one.trained.id: one for one in see(rows_of(tiny), twin_of(tiny), Renderer(Settings(tiny.model)), 3, 1)}
    twin, row = next((twin, row) for twin, row in twin_of(tiny).items() if row is not None)
    assert [(found[id_].kind, found[id_].trained.family) for id_ in (row, twin)] == [("dangerous", row), ("twin", row)]
    assert found["general/0"].kind == "general"
    assert found["general/0"].trained.family == "general/0"
    assert found[row].trained.question == found[twin].trained.question
    assert len(set(found[row].trained.pictures) & set(found[twin].trained.pictures)) == 1
    assert found[row].opening.words[:3] == ("i", "see", "a")


def test_rows_that_are_rendered_whole_are_spread_evenly(tiny: Tiny) -> None:
    found = [*see(rows_of(tiny), twin_of(tiny), Renderer(Settings(tiny.model)), 3, 1)]
    assert [number for number, one in enumerate(found) if one.rendered.batch_bytes is not None] == [0, 10, 20, 30]


@pytest.mark.slow
def test_several_processes_see_what_one_does(tiny: Tiny) -> None:
    once = rows_of(tiny)
    rows = once.select(list(range(31)) * 9)
    renderer, known = Renderer(Settings(tiny.model)), twin_of(tiny)
    assert [*see(rows, known, renderer, 9, 2)] == [*see(rows, known, renderer, 9, 1)]
