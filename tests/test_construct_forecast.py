"""What a larger construction would use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mis_dataset.__main__ import main
from mis_dataset.construct.forecast import forecast
from mis_dataset.construct.prompts import PROMPT_VERSION
from tests.loopback_api import KEY
from tests.made_construction import make_construction
from tests.test_construct_pipeline import CALLS

ROOT = Path(__file__).resolve().parents[1]
KEPT, SEEDS = 6, 7
"""Two rows of train, one of easy, three of hard."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        return make_construction(tmp_path_factory.mktemp("construction"))


def test_everything_grows_with_the_rows(out: Path) -> None:
    same, larger = forecast(out, KEPT), forecast(out, 100 * KEPT)
    assert (same["kept"], same["seeds"]) == (KEPT, SEEDS)
    assert {name: one["calls"] for name, one in same["wanted"]["stages"].items()} == CALLS | {"all": 102}
    assert {name: one["calls"] for name, one in larger["wanted"]["stages"].items()} == {
        name: 100 * calls for name, calls in (CALLS | {"all": 102}).items()
    }
    assert larger["wanted"]["seeds"] == 100 * SEEDS
    assert larger["wanted"]["stages"]["pictures"]["cost"] == pytest.approx(100 * 18 * 0.04)
    assert larger["each"] == same["each"]
    assert larger["each"]["stages"]["all"]["calls"] == 17


def test_hours_are_those_of_calls_where_their_seconds_are_given(out: Path) -> None:
    told = forecast(out, KEPT, call_seconds=36.0, at_once=3)["wanted"]["stages"]
    assert (told["pictures"]["hours"], told["all"]["hours"]) == (0.1, 0.34)
    assert forecast(out, KEPT)["wanted"]["stages"]["all"]["hours"] < 0.1


def test_work_without_calls_takes_as_long_as_was_measured_whatever_a_call_takes(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "drawn")
    lines = [json.loads(line) for line in (out / "used.jsonl").read_text("utf-8").splitlines()]
    took = {"pictures": 7200.0, "duplicates": 3600.0}  # by a pipeline here, and by near
    lines = [line | {"seconds": took.get(line["stage"], 0.0)} for line in lines]
    (tmp_path / "drawn" / "used.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    told = forecast(tmp_path / "drawn", 10 * KEPT, call_seconds=36.0, at_once=3)["wanted"]["stages"]
    hours = {name: one["hours"] for name, one in told.items()}
    assert (hours["pictures"], hours["duplicates"]) == (20, 10)
    calls = sum(number for name, number in CALLS.items() if name not in took)
    assert hours["all"] == pytest.approx(30 + 10 * calls * 12 / 3600, abs=0.01)
    slower = forecast(tmp_path / "drawn", 10 * KEPT, call_seconds=3600.0, at_once=1)["wanted"]["stages"]
    assert slower["pictures"]["hours"] == 10 * CALLS["pictures"]


def test_a_part_of_a_seed_is_a_seed(out: Path) -> None:
    assert forecast(out, 1)["wanted"]["seeds"] == 2


def test_files_with_two_names_count_once(out: Path) -> None:
    pictures = sum(path.stat().st_size for path in (out / "pictures").rglob("*.png"))
    others = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".png"]
    size = pictures + sum(path.stat().st_size for path in others)
    assert forecast(out, 10)["each"]["kilobytes"] == pytest.approx(size / KEPT / 1e3, abs=0.1)
    assert len(list((out / "raw").rglob("*.png"))) > 20


def test_the_verb_prints_a_table_and_a_line(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", str(out), "--rows", "100000"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["wanted"]["rows"] == 100_000
    assert printed.err.startswith("100,000 rows of 116,667 seeds, as 6 were kept of 7;")


def test_of_nothing_nothing_is_reckoned(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", str(tmp_path), "--rows", "5"]) == 2
    assert "name the folder of a construction that has ended" in capsys.readouterr().err
    funnel = json.loads((out / "funnel.json").read_text("utf-8")) | {"splits": {}}
    (tmp_path / "funnel.json").write_text(json.dumps(funnel), encoding="utf-8")
    assert main(["forecast", str(tmp_path), "--rows", "5"]) == 2
    assert "kept none of its 7 seeds" in capsys.readouterr().err


def test_the_table_of_the_docs_is_what_the_command_wrote() -> None:
    wanted = json.loads((ROOT / "benchmarks" / "forecast.json").read_text("utf-8"))["wanted"]
    page = (ROOT / "docs" / "construction.md").read_text("utf-8")
    assert f"prompts {PROMPT_VERSION}, in blocks" in page  # with others everything is to be measured anew
    for name, one in wanted["stages"].items():
        tokens = f"{one['tokens_in']:,} | {one['tokens_out']:,}"
        assert f"| {name} | {one['calls']:,} | {tokens} | {one['cost']:,.2f} | {one['hours']:,.1f} |" in page
    assert f"{wanted['seeds']:,} seeds, and {wanted['gigabytes']} GB on the disk" in page
