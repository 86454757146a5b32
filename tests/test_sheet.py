"""What every page is made of."""

from __future__ import annotations

import doctest

from trainer import findings, sheet
from trainer.comparison.page import OWN_STYLE
from trainer.findings import in_full
from trainer.sheet import STYLE, policy


def test_the_examples_run() -> None:
    assert doctest.testmod(sheet) == (0, 2)
    assert doctest.testmod(findings).failed == 0


def test_another_style_has_another_policy() -> None:
    assert policy("a") != policy("b")
    assert "script-src" not in policy("a")
    assert policy("a").startswith("default-src 'none'; ")


def test_the_styles_fetch_nothing() -> None:
    style = STYLE.read_text("utf-8") + OWN_STYLE.read_text("utf-8")
    assert [word for word in ("http", "@import", "url(", "</style") if word in style] == []


def test_a_rate_in_full_says_how_far_unscored_rows_could_move_it() -> None:
    rate = {"rate": 0.5, "k": 4, "n": 8, "low": 0.215, "high": 0.785}
    bounds = {"unscored": 2, "bounds": {"least": 0.4, "most": 0.6}}
    assert in_full(rate | bounds).splitlines()[1:] == ["coverage 80.0 %, 2 unscored", "bounds 40.0–60.0"]
    assert in_full(rate | bounds | {"n_effective": 4.0}).splitlines()[2] == "bounds 40.0–60.0, n_eff 4.0"
    assert in_full(rate | bounds | {"n_effective": 8.0}).splitlines()[2] == "bounds 40.0–60.0"
    assert in_full(rate | {"unscored": 3}) == "50.0 % (4/8; 21.5–78.5), 3 unscored"
