"""One command from models to the page: what it writes is what its verbs write, and nothing is made twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mis_dataset.build import build
from tests.loopback_api import KEY, LoopbackApi, Step, completion
from tests.loopback_judge import LoopbackJudge
from tests.made_release import make_release
from tests.tiny import Tiny, attempt, call, hashes
from trainer.artefacts import Response, read
from trainer.sidecars import read_sidecar

FEW = ("--limit", 3, "--max-new-tokens", 6, "--float32", "--splits", "test_easy", "test_benign")


@pytest.fixture(scope="module")
def words(tiny: Tiny, tiny_arm: Path) -> tuple[object, ...]:
    models = (
        "--model",
        f"base={tiny.model}",
        "--model",
        f"tuned={tiny.model}",
        "--adapter",
        f"tuned={tiny_arm}/adapter",
    )
    return (*models, *FEW, "--things", tiny.raw / "mini" / "objects.json", "--rows", 2)


@pytest.fixture(scope="module")
def made(tiny: Tiny, words: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluate") / "out"
    found = call("evaluate", tiny.dataset, out, *words, "--probes", "both_black", "none")
    assert (found["page"], found["passed"]) == (str(out / "comparison.html"), True)
    probed = [f"{model}{probe}" for probe in ("", " both_black", " none") for model in ("base", "tuned")]
    assert list(found["models"]) == probed
    assert set(found["models"]["base"]) == {"asr", "pair_accuracy", "n", "unscored"}
    return out


def test_every_model_is_asked_judged_and_scored_with_its_own_pictures_and_each_probe(made: Path) -> None:
    files = {path.relative_to(made).as_posix() for path in made.rglob("*.json*") if "meta" not in path.name}
    measured = {
        f"{model}/{probe}{name}"
        for model in ("base", "tuned")
        for probe in ("", "both_black/", "none/")
        for name in ("responses.jsonl", "verdicts.jsonl", "score.json")
    }
    assert files == measured | {"comparison.json", "leaderboard.json"}


def test_what_it_writes_is_what_its_verbs_write(tiny: Tiny, tiny_arm: Path, made: Path, tmp_path: Path) -> None:
    words = (tiny.model, tiny.dataset, tmp_path / "responses.jsonl", *FEW, "--pictures", "none")
    call("generate", *words, "--adapter", tiny_arm / "adapter")
    things = ("--things", tiny.raw / "mini" / "objects.json", "--dataset", tiny.dataset)
    call("judge", tmp_path / "responses.jsonl", tmp_path / "verdicts.jsonl", *things)
    for name in ("responses.jsonl", "verdicts.jsonl"):
        assert (tmp_path / name).read_bytes() == (made / "tuned" / "none" / name).read_bytes()
    own = read(made / "tuned" / "responses.jsonl", Response)
    assert [row.id for row in own] == [f"{split}/{n}" for split in ("test_easy", "test_benign") for n in range(3)]


def test_probes_are_shown_and_never_differenced_nor_ranked(made: Path) -> None:
    found = json.loads((made / "comparison.json").read_text("utf-8"))
    apart = found["not_comparable"]
    assert [name for name, reasons in apart.items() if not reasons] == ["base", "tuned"]
    assert "pictures" in " ".join(apart["tuned none"])
    page = (made / "comparison.html").read_text("utf-8")
    assert "2 models, also asked under probes, on" in page
    probes = page.partition("<h2>Under probes: does it look?</h2>")[2].partition("</table>")[0]
    assert [f"<td>{name}</td>" in probes for name in ("tuned", "tuned none", "tuned both_black", "both black")] == [
        True
    ] * 4
    assert "<h3>Not comparable with base</h3>" not in page
    ranked = json.loads((made / "leaderboard.json").read_text("utf-8"))["measured"]
    assert {line["model"] for line in ranked} == {"base", "tuned"}


@pytest.mark.slow
def test_a_second_run_makes_nothing_and_another_model_joins(tiny: Tiny, words: tuple[object, ...], made: Path) -> None:
    before = hashes(made)
    probes = ("--probes", "both_black", "none")
    call("evaluate", tiny.dataset, made, *words, *probes)
    assert hashes(made) == before
    call("evaluate", tiny.dataset, made, *words, "--model", f"again={tiny.model}", *probes)
    after = hashes(made)
    assert {name for name in before if after[name] != before[name]} <= {
        *("comparison.json", "comparison.html", "comparison.json.meta.json"),
        *("leaderboard.json", "leaderboard.csv"),
    }
    assert after["again/responses.jsonl"] == before["base/responses.jsonl"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model", "a=x", "--model", "a=y"], "--model: a name is given twice; give every model a name of its own"),
        (["--model", "a/b=x"], "--model a/b: a folder is called so; give a name without a slash"),
        (
            ["--model", "a=x", "--adapter", "a=y", "--adapter", "a=z"],
            "--adapter: a name is given twice; a model has one",
        ),
        (["--model", "a=x", "--adapter", "b=y"], "--adapter b: there is no --model of that name"),
        (["--model", "a=x", "--engine", "openai", "--ability"], "--ability asks checkpoints; leave it out with"),
        (["--model", "a=x", "--engine", "openai", "--adapter", "a=y"], "--adapter: of no use with --engine openai"),
        (["--model", "a=x", "--retry"], "--retry: of no use without --engine openai or --judge openai"),
        (["--model", "a=x", "--judge-max-cost", "5"], "--judge-max-cost: of no use to the judge mini_rules"),
        (["--model", "x"], "--model 'x': give NAME="),
    ],
)
def test_flags_that_do_not_go_together_are_wrong_use(tiny: Tiny, tmp_path: Path, flags: list[str], says: str) -> None:
    code, line, error = attempt("evaluate", tiny.dataset, tmp_path / "out", *flags)
    assert (code, line) == (2, "")
    assert f"evaluate: {says}" in error
    assert not (tmp_path / "out").exists()


def test_a_judge_without_its_key_is_told_before_a_model_is_asked(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    words = ("--model", f"one={tiny.model}", "--judge", "openai", "--judge-model", "a-judge")
    code, _, error = attempt("evaluate", tiny.dataset, tmp_path / "out", *words)
    assert code == 2
    assert "OPENAI_API_KEY" in error
    assert not (tmp_path / "out").exists()


@pytest.fixture
def both(judge: LoopbackJudge, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackApi]:
    """One endpoint for a judge and a model, which says the same to everything."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    api = judge.behind()
    api.decide = lambda body: judge.decide(body) if b"</response" in body else Step(body=completion("Just do."))
    with api.running():
        yield api


def asked_of(api: LoopbackApi, tiny: Tiny, out: Path, limit: int = 2) -> tuple[object, ...]:
    """The command: so many rows and as many twins."""
    ends = ("--base-url", api.url, "--judge", "openai", "--judge-model", "a-judge", "--judge-base-url", api.url)
    asked = ("--model", "some=a-model", "--engine", "openai", "--limit", limit, "--splits", "test_hard", "test_benign")
    return ("evaluate", tiny.dataset, out, *asked, *ends, "--no-pictures")


def test_model_and_judge_behind_an_api_are_measured_by_one_command(
    tiny: Tiny, both: LoopbackApi, tmp_path: Path
) -> None:
    found = call(*asked_of(both, tiny, tmp_path / "out"))
    assert found["passed"]
    assert both.count == 8  # 4 rows asked, 4 responses judged
    assert {whom: used["calls"] for whom, used in found["now"].items()} == {"models": 4, "judge": 4}
    call(*asked_of(both, tiny, tmp_path / "out"))
    assert both.count == 8
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize("flag", ["--max-calls", "--judge-max-calls"])
def test_a_budget_is_that_of_the_whole_run(tiny: Tiny, both: LoopbackApi, tmp_path: Path, flag: str) -> None:
    words = (*asked_of(both, tiny, tmp_path / "out"), "--probes", "swapped", flag, 6)
    code, line, error = attempt(*words)
    assert (code, line) == (1, "")
    assert "6 of 6 calls are used" in error
    spent = 6 + (4 if flag == "--max-calls" else 8)  # what was bounded, and the other side of what came before
    assert both.count == spent
    now = call(*words)["now"]
    assert sum(used["calls"] for used in now.values()) == 16 - spent


def test_rows_without_a_reply_are_asked_again_by_retry_and_only_their_verdicts_are_made_anew(
    tiny: Tiny, both: LoopbackApi, tmp_path: Path
) -> None:
    left, well = [Step(500)] * 3, both.decide
    assert well is not None
    both.decide = lambda body: left.pop() if left and b"</response" not in body else well(body)
    words = (*asked_of(both, tiny, tmp_path / "out", limit=3), "--failed-as-empty", "--attempts", 1)
    code, line, error = attempt(*words)
    assert (code, json.loads(line)["passed"], json.loads(line)["models"]["some"]["unscored"]) == (1, False, 3)
    assert "generate: 3 of 6 rows got no reply; `--retry` asks them again" in error
    assert (attempt(*words)[0], both.count) == (1, 9)  # 6 asked, 3 judged, and nothing by the second run
    told = call(*words, "--retry")
    assert (told["passed"], told["models"]["some"]["unscored"], both.count) == (True, 0, 15)
    before = hashes(tmp_path / "out")
    assert call(*words)["passed"]
    assert (both.count, hashes(tmp_path / "out")) == (15, before)


def test_rows_that_were_not_asked_about_are_not_missed(tiny: Tiny, tmp_path: Path) -> None:
    words = ("--model", f"one={tiny.model}", "--max-new-tokens", 1, "--float32", "--splits", "test_real")
    things = ("--things", tiny.raw / "mini" / "objects.json", "--no-pictures")
    code, line, error = attempt("evaluate", tiny.dataset, tmp_path / "out", *words, *things)
    assert code == 0, error
    assert json.loads(line)["models"]["one"]["asr"]["easy"] is None


def test_a_dataset_without_twins_is_measured_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    build(make_release(tmp_path / "raw", twins=False), tmp_path / "MIS")
    with LoopbackApi().running() as api:
        asked = ("--model", "some=a-model", "--engine", "openai", "--base-url", api.url, "--judge", "keywords")
        found = call("evaluate", tmp_path / "MIS", tmp_path / "out", *asked)
        assert call("evaluate", tmp_path / "MIS", tmp_path / "easy", *asked, "--splits", "test_easy")["passed"]
    assert found["models"]["some"]["n"] == 6
    assert found["models"]["some"]["pair_accuracy"] == {"easy": None, "hard": None, "real": None}
    settings = read_sidecar(tmp_path / "out" / "some" / "responses.jsonl").settings
    assert settings["splits"] == ["test_easy", "test_hard", "test_real"]
