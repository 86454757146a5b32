"""What a construction has used, and how it ends when its budget does."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from mis_dataset.__main__ import main
from mis_dataset.construct.ledger import Spent, costs, read_spent, total
from mis_dataset.errors import MISError
from tests.loopback_api import LoopbackApi
from tests.made_construction import make_construction
from tests.scripted_models import ScriptedModels
from tests.test_construct_pipeline import CALLS, ROWS, SETTINGS

SEEDS = [{"text": f"What of a {thing}?"} for thing in ("lamp", "rope", "drum", "kite", "fork", "bell", "stone")]


pytestmark = pytest.mark.usefixtures("api_key")


def test_a_run_whose_budget_ends_says_all_and_the_command_that_it_names_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "seeds.jsonl").write_text("\n".join(map(json.dumps, SEEDS)))
    config, out = tmp_path / "construct.yaml", tmp_path / "out"
    with LoopbackApi().running() as api:
        api.decide = ScriptedModels()
        config.write_text(SETTINGS.format(url=api.url) + "budget: {calls: 40}\n")
        command, ended = ["construct", str(out), "--config", str(config)], []
        while (code := main(command)) == 1:
            *table, used, done, lost, look, more = capsys.readouterr().err.splitlines()[-10:]
            ended.append(done)
            assert table[-1] == f"{out}: the budget of this run is used up: 40 of 40 calls are used"
            assert used.startswith("used: 40 calls, ")
            assert lost.startswith("nothing is lost: all replies are in ")
            assert look == f"to look at: {out / 'construct.html'}"
            assert more.startswith(f"to go on, with as much again (`budget` in {config} says how much): ")
            text = (out / "construct.html").read_text("utf-8")
            assert "<h3>Not finished</h3>" in text
            assert done in text
            command = shlex.split(more.split("): ")[1])[3:]
        assert (code, api.count) == (0, sum(CALLS.values()))
    assert len(ended) == 2
    assert re.fullmatch("done: elements, questions, and [0-3] of 6 rows of pictures", ended[0])
    assert re.fullmatch("done: elements, questions, pictures, and [0-5] of 6 rows of filters", ended[1])
    assert "Not finished" not in (out / "construct.html").read_text("utf-8")
    assert json.loads((out / "construct.json").read_text())["rows"] == ROWS
    spent = read_spent(out)
    assert {stage: one.calls for stage, one in spent.items()} == CALLS
    assert spent["pictures"].cost == pytest.approx(18 * 0.04)
    told = capsys.readouterr().err
    assert f"{costs(spent)}\n7 seeds -> 6 ideas -> " in told
    assert told.endswith(f"\nrejected by elements: 1 no risk\nto look at: {out / 'construct.html'}\n")


def test_a_budget_into_which_no_call_fits_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = make_construction(tmp_path, "budget: {tokens: 10}")
    told = capsys.readouterr().err
    assert "done: no stage, and 0 of 7 rows of elements" in told
    assert "not a single call fits into the budget; set a larger one" in told
    assert not (out / "raw").exists()
    assert total(read_spent(out))[:4] == (0, 0, 0, 0)  # it takes a moment all the same


def test_a_budget_that_suffices_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = make_construction(tmp_path, "budget: {calls: 102}")
    printed = capsys.readouterr()
    assert json.loads(printed.out)["rows"] == ROWS
    assert "budget of this run" not in printed.err
    assert total(read_spent(out)).calls == 102


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"stage": "elements"}',
        '{"stage": 1, "calls": 1, "tokens_in": 1, "tokens_out": 1, "cost": 0, "seconds": 0}',
        '{"stage": "a", "calls": -1, "tokens_in": 1, "tokens_out": 1, "cost": 0, "seconds": 0}',
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    right = '{"stage": "a", "calls": 1, "tokens_in": 1, "tokens_out": 1, "cost": 0, "seconds": 0}\n'
    (tmp_path / "used.jsonl").write_text(right)
    assert read_spent(tmp_path) == {"a": Spent(1, 1, 1)}
    (tmp_path / "used.jsonl").write_text(right + line)
    with pytest.raises(MISError, match="line 2 is none of a construction"):
        read_spent(tmp_path)
