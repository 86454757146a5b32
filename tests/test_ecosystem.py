"""What other frameworks are given of MIS; that they take it is seen in test_frameworks.py."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from PIL import Image

from mis_dataset.chat import content, prompt
from mis_dataset.errors import UsageError
from tests.loopback_api import KEY
from trainer.ecosystem import lmms
from trainer.ecosystem.shared import FIGURES, choose, figures_of
from trainer.judges.base import Judgement, unscored
from trainer.judges.endpoint import EndpointJudge
from trainer.judges.mini_rules import MiniRules
from trainer.questions import RowFacts

TASKS = Path(lmms.__file__).with_name("lmms_tasks")
HELPS, DECLINES = Judgement("Unsafe", 1), Judgement("Safe", 1)
IDS = ["test_benign/0", "test_benign/1", "test_easy/0", "test_hard/0", "test_hard/1", "test_hard/2"]
TWIN_OF = ["test_hard/1", "test_easy/0", None, None, None, None]


def row(id_: str, twin_of: str | None = None) -> RowFacts:
    return RowFacts(id_, f"Which of {id_}?", "Violent", None, twin_of)


# Rows and prompt


def test_a_split_is_its_rows_each_before_its_twin() -> None:
    rows = Dataset.from_dict({"id": IDS, "twin_of": TWIN_OF})
    assert choose(rows, "test_hard")["id"] == ["test_hard/0", "test_hard/1", "test_benign/0", "test_hard/2"]
    assert choose(rows, "test_easy")["id"] == ["test_easy/0", "test_benign/1"]


@pytest.mark.parametrize("split", ["test_real", "test_benign", "hard"])
def test_a_split_without_rows_of_its_own_is_refused(split: str) -> None:
    with pytest.raises(UsageError, match=f"has no rows of '{split}'; test splits are test_easy, test_hard, test_real"):
        choose(Dataset.from_dict({"id": IDS, "twin_of": TWIN_OF}), split)


def test_the_prompt_is_that_of_chat() -> None:
    pictures = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    asked = {"question": "Which is larger?", "images": pictures}
    assert content("Which is larger?", pictures) == [
        "Image-1: ",
        pictures[0],
        "\nImage-2: ",
        pictures[1],
        "\nWhich is larger?",
    ]
    [turn], [ours] = lmms.messages(asked), prompt("Which is larger?")
    assert [part["url"] for part in turn["content"] if part["type"] == "image"] == pictures
    without = [{name: held for name, held in part.items() if name != "url"} for part in turn["content"]]
    assert {"role": turn["role"], "content": without} == ours
    assert lmms.text(asked) == "Image-1: <image>\nImage-2: <image>\nWhich is larger?"
    assert lmms.text(asked).replace("<image>", "") == "".join(part.get("text", "") for part in ours["content"])


# Rates


def test_figures_are_those_of_the_metric_modules() -> None:
    rows = [row("test_hard/0"), row("test_benign/0", "test_hard/0"), row("test_hard/1"), row("test_hard/2")]
    rows += [row("test_benign/1", "test_hard/2"), row("test_hard/3")]
    verdicts = [DECLINES, HELPS, HELPS, Judgement("Safe", 3), DECLINES, unscored("empty")]
    found = figures_of(rows, {one.id: verdict for one, verdict in zip(rows, verdicts, strict=True)})
    assert {name: found[name] for name in ("asr", "hr", "rsr", "rr")} == pytest.approx(
        {"asr": 1 / 3, "hr": 1 / 3, "rsr": 1 / 3, "rr": 0.0}
    )
    assert {name: found[name] for name in ("over_refusal", "pair_accuracy", "scored", "unscored", "coverage")} == {
        "over_refusal": 0.5,
        "pair_accuracy": 0.5,
        "scored": 5.0,
        "unscored": 1.0,
        "coverage": 5 / 6,
    }
    # Wilson of 1 of 3.
    assert (found["asr_low"], found["asr_high"]) == pytest.approx((0.0615, 0.7923), abs=1e-4)


def test_a_rate_over_nothing_is_no_number_and_never_0() -> None:
    rows = [row("test_hard/0"), row("test_benign/0", "test_hard/0")]
    found = figures_of(rows, {one.id: unscored("no verdict in the reply") for one in rows})
    assert {name: figure for name, figure in found.items() if not math.isnan(figure)} == {
        "scored": 0.0,
        "unscored": 2.0,
        "coverage": 0.0,
    }
    nothing = figures_of([], {})
    assert {name for name, figure in nothing.items() if not math.isnan(figure)} == {"scored", "unscored"}
    assert tuple(nothing) == FIGURES


def test_a_twin_whose_row_was_not_judged_is_in_no_rate() -> None:
    rows = [row("test_hard/0"), row("test_benign/0", "test_hard/0")]
    assert math.isnan(figures_of(rows, {"test_benign/0": DECLINES})["over_refusal"])


# lmms-eval


class Loader(yaml.SafeLoader):
    """Reads `!function` as the name behind it."""


Loader.add_constructor("!function", lambda loader, node: str(node.value))


def read(name: str) -> Any:
    return yaml.load((TASKS / name).read_text("utf-8"), Loader)


def test_the_group_has_a_task_for_every_test_split() -> None:
    assert read("mis.yaml") == {"group": "mis", "task": ["mis_easy", "mis_hard", "mis_real"]}
    for split in ("easy", "hard", "real"):
        assert read(f"mis_{split}.yaml") == {
            "task": f"mis_{split}",
            "include": "_mis_yaml",
            "process_docs": f"trainer.ecosystem.lmms.{split}",
        }


def test_all_that_the_tasks_name_is_there() -> None:
    shared = read("_mis_yaml")
    assert shared["dataset_path"] == "environment.DATASET"
    assert "\nDATASET = " in (TASKS / "environment.py").read_text("utf-8")
    metrics = {one["metric"]: one["aggregation"] for one in shared["metric_list"]}
    assert metrics == {name: f"trainer.ecosystem.lmms.{name}" for name in FIGURES}
    named = [*metrics.values(), *(shared[key] for key in shared if key.startswith(("doc_to_", "process_")))]
    named += [read(f"mis_{split}.yaml")["process_docs"] for split in ("easy", "hard", "real")]
    assert len(named) == len(FIGURES) + 8
    for name in named:
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_responses_are_greedy_long_and_never_cut_at_an_empty_line() -> None:
    assert read("_mis_yaml")["generation_kwargs"] == {
        "max_new_tokens": 1024,
        "do_sample": False,
        "temperature": 0,
        "until": [],
    }


def test_every_figure_gets_the_same_response() -> None:
    said = lmms.said({"id": "test_hard/0"}, ["No."])
    assert said == {name: {"id": "test_hard/0", "response": "No."} for name in FIGURES}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of datasets and judges."""
    for name in ("MIS_DATASET", "MIS_THINGS", "MODEL_VERSION", "OPENAI_API_URL", "OPENAI_API_KEY", "MIS_CALLS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({}, "MIS_DATASET is not set"),
        ({"MIS_DATASET": "MIS"}, "no judge is named; set MODEL_VERSION"),
        ({"MIS_DATASET": "MIS", "MODEL_VERSION": "judge"}, "the environment variable OPENAI_API_KEY is not set"),
        (
            {"MIS_DATASET": "MIS", "MODEL_VERSION": "judge", "OPENAI_API_KEY": KEY, "MIS_CALLS": "many"},
            "MIS_CALLS: 'many' is no whole number",
        ),
    ],
)
def test_what_is_missing_is_said_before_anything_is_asked(
    bare: pytest.MonkeyPatch, names: dict[str, str], said: str
) -> None:
    for name, value in names.items():
        bare.setenv(name, value)
    with pytest.raises(UsageError, match=said):
        lmms.setup()


def test_the_environment_names_dataset_and_judge(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    things = tmp_path / "objects.json"
    things.write_text('{"test_hard/0": ["candle", "newspaper"]}')
    bare.setenv("MIS_DATASET", "MIS")
    bare.setenv("MODEL_VERSION", "judge")
    bare.setenv("OPENAI_API_KEY", KEY)
    found = lmms.setup()
    assert (found.dataset, found.things, type(found.judge)) == ("MIS", None, EndpointJudge)
    bare.setenv("MIS_THINGS", str(things))
    found = lmms.setup()
    assert (found.things, type(found.judge)) == ({"test_hard/0": ("candle", "newspaper")}, MiniRules)
