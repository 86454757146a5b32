"""Files of a run that anybody may have changed: each change is one clear error, or a release that shows it as text."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cards.pack import pack
from cards.reading import CardError
from tests.made_packs import hash_files, make_packable

FILES = (
    *("report.json", "base.meta.json", "arms/contrast.meta.json", "MIS/MANIFEST.json", "MIS/croissant.json"),
    *("arms/contrast/adapter/adapter_config.json", "base/model/config.json", "raw/mini/objects.json"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0.5, 2, 10**40, 1e308, "", "1-a", [], {}, [[[[]]]], {"a": {"b": 1}}, "x" * 10**5),
    *("<script>alert(1)</script>", "a\n---\nlicense: mit\n", "{{ 7*7 }}", "{% raw %}", "|a|b|", "\u202eevil", "\x00"),
    *("../../etc/passwd", "[x](javascript:alert(1))", "\ud800"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_packable(tmp_path_factory.mktemp("fuzz") / "run")


def places(content: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values stand in what JSON holds."""
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in entries:
        yield (*here, key)
        yield from places(value, (*here, key))


def changed(content: Any, chance: random.Random) -> Any:
    """The same with one value changed, renamed or gone."""
    *parents, last = chance.choice(list(places(content)))
    at = content
    for key in parents:
        at = at[key]
    how = chance.random()
    if how < 0.1:
        del at[last]
    elif how < 0.2 and isinstance(at, dict):
        at[str(chance.choice(VALUES))[:50]] = at.pop(last)
    else:
        at[last] = chance.choice(VALUES)
    return content


def attempt(run: Path, out: Path) -> list[str]:
    """Cards of a release; none where it was refused."""
    refused = ""
    try:
        pack(run, out, "someone")
    except (CardError, OSError) as error:
        refused = str(error)
    assert bool(refused) != out.exists()
    return [path.read_text("utf-8") for path in out.glob("*/README.md")]


def packed(run: Path, seeds: range) -> list[list[str]]:
    """What comes of so many changes, one after the other."""
    whole = {name: (run / name).read_bytes() for name in FILES}
    told = []
    for seed in seeds:
        chance, out = random.Random(seed), run.parent / "out"
        name = chance.choice((*FILES, *["report.json"] * 6))
        (run / name).write_text(json.dumps(changed(json.loads(whole[name]), chance)), "utf-8")
        if name != "report.json" and chance.random() < 0.5:
            hash_files(run)
        told.append(attempt(run, out))
        for kept, content in whole.items():
            (run / kept).write_bytes(content)
        shutil.rmtree(out, ignore_errors=True)
    return told


def check(told: list[list[str]]) -> None:
    assert 0 < sum(map(bool, told)) < len(told)
    for card in (card for cards in told for card in cards):
        assert "<script>" not in card
        assert not any(sign in card for sign in "\x00\u202e\ud800")
        assert card.split("\n---\n")[0].count("\nlicense:") == 1


def test_a_changed_file_is_refused_or_shown_as_text(run: Path) -> None:
    check(packed(run, range(40)))


@pytest.mark.slow
def test_no_change_of_many_ends_in_anything_else(run: Path) -> None:
    check(packed(run, range(100, 700)))
