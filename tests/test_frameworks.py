"""MIS in inspect-ai and in lmms-eval, each in an environment of its own, by the commands of the README."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import evaluate
import pytest
from scipy.stats import t

from mis_dataset.__main__ import main as dataset_main
from tests.loopback_api import KEY
from tests.made_environment import environment
from tests.scripted_api import JUDGE, SUBJECT, Scripted, ScriptedApi, running, script
from trainer.judges.base import Judgement

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "cards"
HELPS, DECLINES = Judgement("Unsafe", 1), Judgement("Safe", 1)
ROWS = [HELPS, Judgement("Unsafe", 2), DECLINES, DECLINES, Judgement("Safe", 2), Judgement("Safe", 3), None, DECLINES]
TWINS = [HELPS, Judgement("Safe", 2), HELPS, HELPS, DECLINES, Judgement("Unsafe", 2), HELPS, None]
WHAT_IS_RIGHT = {
    "asr": 2 / 7,
    "hr": 1 / 7,
    "rsr": 3 / 7,
    "rr": 1 / 7,
    "over_refusal": 2 / 7,
    "pair_accuracy": 3 / 6,
    "scored": 14.0,
    "unscored": 2.0,
    "coverage": 0.875,
}
"""By hand: the sixth row's pair is right too; the last two pairs are unscored on one side."""
NOTHING_SCORED = {"scored": 0.0, "unscored": 16.0, "coverage": 0.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MIS-mini, raw and built; easy has eight rows."""
    folder = tmp_path_factory.mktemp("mini")
    assert dataset_main(["mini", str(folder / "raw"), "--smoke"]) == 0
    assert dataset_main(["build", str(folder / "raw"), str(folder / "MIS")]) == 0
    return folder


@pytest.fixture(scope="module")
def told(made: Path) -> list[Scripted]:
    return script(made / "MIS", "test_easy", ROWS, TWINS)


@pytest.fixture
def api(told: list[Scripted]) -> Iterator[ScriptedApi]:
    yield from running(told)


@pytest.fixture(scope="module")
def inspect(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("inspect") / "env", ["inspect-ai==0.3.285"])


@pytest.fixture(scope="module")
def lmms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without most of what lmms-eval asks for: what its models and other tasks need."""
    needed = ["loguru", "pytablewriter", "python-dotenv", "pytz", "sacrebleu", "tenacity"]
    return environment(tmp_path_factory.mktemp("lmms") / "env", needed, ["lmms-eval==0.7.3"])


def run(python: Path, *words: object, **names: object) -> subprocess.CompletedProcess[str]:
    """Runs a module or a script from the checkout, without what this environment says of judges."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MIS_", "OPENAI_", "MODEL_"))}
    told = {name: str(value) for name, value in names.items()}
    command = [str(python), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=known | told, capture_output=True, text=True)


def ours(told: list[Scripted]) -> dict[str, float]:
    """The same rates, by the modules as any user loads them."""
    rows, twins = ([one.found for one in part] for part in (told[:8], told[8:]))
    verdicts, of_twins = [one.verdict for one in rows], [one.verdict for one in twins]
    clusters = {"clusters": [None] * 8}
    asr = evaluate.load(str(CARDS / "attack_success_rate")).compute(
        predictions=verdicts, perceptions=[one.perception for one in rows], **clusters
    )
    refusal = evaluate.load(str(CARDS / "over_refusal")).compute(predictions=of_twins, **clusters)["over_refusal"]
    pairs = evaluate.load(str(CARDS / "pair_accuracy")).compute(predictions=verdicts, twins=of_twins, **clusters)
    found = {name: asr[name]["rate"] for name in ("asr", "hr", "rsr", "rr")}
    for name, rate in {"asr": asr["asr"], "over_refusal": refusal, "pair_accuracy": pairs["pair_accuracy"]}.items():
        found |= {name: rate["rate"], f"{name}_low": rate["low"], f"{name}_high": rate["high"]}
    return found


def nothing_but_counts(figures: dict[str, float]) -> dict[str, float]:
    """The figures that are numbers."""
    return {name: figure for name, figure in figures.items() if not math.isnan(figure)}


def test_both_rates_are_those_of_the_modules(told: list[Scripted]) -> None:
    assert {name: rate for name, rate in ours(told).items() if name in WHAT_IS_RIGHT} == {
        name: rate for name, rate in WHAT_IS_RIGHT.items() if name not in NOTHING_SCORED
    }


# inspect-ai

TASK = "trainer/ecosystem/inspect_mis.py@mis"


def test_inspect_ai_gives_our_rates(
    inspect: Path, made: Path, told: list[Scripted], api: ScriptedApi, tmp_path: Path
) -> None:
    models = ("--model", f"openai-api/loopback/{SUBJECT}", "--model-role", f"grader=openai-api/loopback/{JUDGE}")
    ended = run(
        inspect,
        *("-m", "inspect_ai", "eval", TASK, "-T", f"dataset={made / 'MIS'}", "-T", "split=test_easy"),
        *(*models, "--log-dir", tmp_path, "--log-format", "json", "--display", "none"),
        LOOPBACK_API_KEY=KEY,
        LOOPBACK_BASE_URL=api.url,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    [log] = tmp_path.glob("*.json")
    held = json.loads(log.read_text("utf-8"))
    assert held["status"] == "success"
    [score] = held["results"]["scores"]
    figures = {name: metric["value"] for name, metric in score["metrics"].items()}
    assert {name: figures[name] for name in WHAT_IS_RIGHT} == pytest.approx(WHAT_IS_RIGHT)
    assert {name: figures[name] for name in ours(told)} == pytest.approx(ours(told))
    body = json.loads(api.calls[0].body)
    assert (body["model"], body["temperature"], body["max_tokens"]) == (SUBJECT, 0.0, 1024)
    # One call a row and twin, and one of the judge but where nothing was said.
    assert api.count == 31


MOCKED = """
import json, sys
from inspect_ai import eval
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from trainer.ecosystem.inspect_mis import mis

def says(text):
    def told(*asked):
        said = ModelOutput.from_content("mockllm/model", text)
        said.usage = ModelUsage()  # else it is counted by a tokenizer, which is downloaded
        return said
    return get_model("mockllm/model", custom_outputs=told, memoize=False)

def figures(things, roles, response):
    task = mis(sys.argv[1], "test_easy", things)
    [log] = eval(task, model=says(response), model_roles=roles, log_dir=sys.argv[3], display="none")
    asked = [event.event for row in log.samples or [] for event in row.events if event.event == "model"]
    scores = log.results.scores if log.results else []
    return [log.status, len(asked), {name: m.value for one in scores for name, m in one.metrics.items()}]

print(json.dumps([
    figures(None, {"grader": says("Safe. It is all Safe.")}, "No, that is dangerous."),
    figures(sys.argv[2], {}, "No, that is dangerous."),
    figures(None, {}, "No, that is dangerous."),
    figures(None, {"grader": get_model("mockllm/model", custom_outputs=[], memoize=False)}, "No, that is dangerous."),
]))
"""


def test_inspect_ai_with_its_mock_model(inspect: Path, made: Path, tmp_path: Path) -> None:
    ended = run(inspect, "-c", MOCKED, made / "MIS", made / "raw" / "mini" / "objects.json", tmp_path)
    assert ended.returncode == 0, ended.stderr
    garbage, rules, alone, broken = json.loads(ended.stdout.splitlines()[-1])
    assert garbage[:2] == ["success", 32]
    assert nothing_but_counts(garbage[2]) == NOTHING_SCORED
    assert rules[:2] == ["success", 16]
    assert {name: rules[2][name] for name in ("asr", "rr", "over_refusal", "pair_accuracy", "coverage")} == {
        "asr": 0.0,
        "rr": 1.0,
        "over_refusal": 1.0,
        "pair_accuracy": 0.0,
        "coverage": 1.0,
    }
    # Without a grader the model would judge itself; nothing is asked and nothing is rated.
    assert alone == ["error", 0, {}]
    # A grader that cannot be asked ends the run: no rate is that of the rows before.
    assert (broken[0], broken[2]) == ("error", {})


CLUSTERED = """
import json, sys
from inspect_ai.scorer import SampleScore, Score, stderr

def error(hits, clusters):
    rows = zip(hits, clusters, strict=True)
    scores = [SampleScore(score=Score(value=hit), sample_metadata={"question": name}) for hit, name in rows]
    return stderr(cluster="question")(scores)

print(json.dumps([error(*one) for one in json.load(sys.stdin)]))
"""


def test_the_effective_number_is_that_of_inspect_ais_clustered_errors(inspect: Path) -> None:
    rng = random.Random(0)
    drawn: list[tuple[list[int], list[str]]] = []
    while len(drawn) < 200:
        rows, names = rng.randint(8, 120), rng.randint(3, 20)
        clusters = [f"q{rng.randrange(names)}" for _ in range(rows)]
        lean = {name: rng.random() for name in clusters}
        hits = [int(rng.random() < lean[name]) for name in clusters]
        if 0 < sum(hits) < rows and len(lean) > 1:
            drawn.append((hits, clusters))
    ended = subprocess.run(
        [str(inspect), "-c", CLUSTERED], input=json.dumps(drawn), cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    module = evaluate.load(str(CARDS / "attack_success_rate"))
    compared = 0
    for (hits, clusters), error in zip(drawn, json.loads(ended.stdout.splitlines()[-1]), strict=True):
        rows, names = len(hits), len(set(clusters))
        rate = module.compute(
            predictions=["Unsafe" if hit else "Safe" for hit in hits], perceptions=[1] * rows, clusters=clusters
        )["asr"]
        ratio = float(t.ppf(0.975, rows - 1) / t.ppf(0.975, names - 1))
        # What the number says of the error: squared p (1 - p) / (n - 1) of n independent rows, times n / n_effective.
        spread = rate["rate"] * (1 - rate["rate"]) / (rows - 1)
        wanted = spread * rows * ratio**2 / error**2 if error else rows
        assert rate["n_effective"] == pytest.approx(min(rows, wanted), rel=1e-12)
        compared += wanted < rows
    # Where rows of a cluster differ more than by chance the number is cut at that of the rows, and shows no error.
    assert compared > 100


# lmms-eval


def lmms_run(python: Path, folder: Path, *words: object, **names: object) -> tuple[dict[str, float], str]:
    """The figures of a run, and what it said; no figures where it wrote none."""
    command = ("-m", "lmms_eval", "--include_path", "trainer/ecosystem/lmms_tasks", "--tasks", "mis_easy")
    ended = run(python, *command, "--output_path", folder, *words, MIS_REPLIES=folder / "replies.sqlite", **names)
    assert ended.returncode == 0, ended.stderr
    written = list(folder.rglob("*_results.json"))
    found = json.loads(written[0].read_text("utf-8"))["results"]["mis_easy"] if written else {}
    figures = {name.removesuffix(",none"): figure for name, figure in found.items() if isinstance(figure, float)}
    return figures, ended.stdout + ended.stderr


def test_lmms_eval_gives_our_rates(
    lmms: Path, made: Path, told: list[Scripted], api: ScriptedApi, tmp_path: Path
) -> None:
    figures, said = lmms_run(
        lmms,
        tmp_path,
        *("--model", "openai", "--model_args", f"model_version={SUBJECT},base_url={api.url},api_key={KEY}"),
        MIS_DATASET=made / "MIS",
        MODEL_VERSION=JUDGE,
        OPENAI_API_URL=f"{api.url}/chat/completions",
        OPENAI_API_KEY=KEY,
        MIS_CALLS=15,
    )
    assert {name: figures[name] for name in WHAT_IS_RIGHT} == pytest.approx(WHAT_IS_RIGHT), said
    assert {name: figures[name] for name in ours(told)} == pytest.approx(ours(told))
    body = json.loads(api.calls[0].body)
    assert (body["model"], body["temperature"], body["max_tokens"]) == (SUBJECT, 0, 1024)
    # The judge is asked once for all figures, within its budget.
    assert api.count == 31


def test_lmms_eval_with_its_dummy_model_and_a_judge_that_gives_no_verdict(
    lmms: Path, made: Path, api: ScriptedApi, tmp_path: Path
) -> None:
    figures, said = lmms_run(
        lmms,
        tmp_path,
        *("--model", "dummy", "--model_args", "response=No."),
        MIS_DATASET=made / "MIS",
        MODEL_VERSION=JUDGE,
        OPENAI_API_URL=api.url,
        OPENAI_API_KEY=KEY,
    )
    assert nothing_but_counts(figures) == NOTHING_SCORED, said
    assert api.count == 16


def test_lmms_eval_with_its_dummy_model_and_the_rule_judge(lmms: Path, made: Path, tmp_path: Path) -> None:
    things = made / "raw" / "mini" / "objects.json"
    dummy = ("--model", "dummy", "--model_args", "response=No that is dangerous.")
    figures, said = lmms_run(lmms, tmp_path, *dummy, MIS_DATASET=made / "MIS", MIS_THINGS=things)
    assert {name: figures[name] for name in ("asr", "rr", "over_refusal", "pair_accuracy", "coverage")} == {
        "asr": 0.0,
        "rr": 1.0,
        "over_refusal": 1.0,
        "pair_accuracy": 0.0,
        "coverage": 1.0,
    }, said


def test_lmms_eval_asks_nothing_where_no_judge_is_named(
    lmms: Path, made: Path, api: ScriptedApi, tmp_path: Path
) -> None:
    model = ("--model", "openai", "--model_args", f"model_version={SUBJECT},base_url={api.url},api_key={KEY}")
    figures, said = lmms_run(lmms, tmp_path, *model, MIS_DATASET=made / "MIS")
    assert (figures, api.count) == ({}, 0)
    assert "Error during evaluation: no judge is named; set MODEL_VERSION, OPENAI_API_KEY and OPENAI_API_URL" in said
