"""MIS as tasks of lmms-eval: what the YAML files of lmms_tasks/ name.

Responses are judged when all are there, in one run of the client for remote models, so that its budget and its room for
requests hold; lmms-eval's own way, row by row within its threads, would begin a run a row.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.chat import content
from mis_dataset.errors import UsageError
from mis_dataset.remote.settings import Budget, Settings
from mis_dataset.schema import BENIGN
from trainer.ecosystem.shared import FIGURES, case_of, choose, facts_of, figures_of, read_test
from trainer.judges.base import Case, Judge
from trainer.judges.endpoint import VERSION, EndpointJudge
from trainer.judges.mini_rules import MiniRules
from trainer.questions import read_things, split_of
from trainer.remote import Remote

_REPLIES = "runs/lmms.replies.sqlite"


class Setup(NamedTuple):
    """What the environment says.

    Attributes:
        dataset: a built dataset: its folder, or its id on the Hub.
        judge: who judges.
        things: names of both things of every row, for the judge of MIS-mini; None for one that sees pictures.
    """

    dataset: str
    judge: Judge
    things: dict[str, tuple[str, str]] | None


def setup() -> Setup:
    """Reads the environment.

    `MIS_DATASET` names the dataset. The judge is the rule judge where `MIS_THINGS` names RAW/mini/objects.json of
    MIS-mini; else the model `MODEL_VERSION` at `OPENAI_API_URL` with the key `OPENAI_API_KEY`, names that judges of
    lmms-eval share. Its replies are kept in `MIS_REPLIES`, or under runs/; where `MIS_CALLS` is set, it is called so
    often at most.

    Raises:
        UsageError: No dataset is named, no judge, or no key.
    """
    dataset, things, model = (os.environ.get(name, "") for name in ("MIS_DATASET", "MIS_THINGS", "MODEL_VERSION"))
    if not dataset:
        raise UsageError("MIS_DATASET is not set; put there the folder of a built dataset, or its id on the Hub")
    if things:
        return Setup(dataset, MiniRules(), read_things(Path(things)))
    if not model:
        raise UsageError(
            "no judge is named; set MODEL_VERSION, OPENAI_API_KEY and OPENAI_API_URL to a model that sees pictures, or "
            "MIS_THINGS to RAW/mini/objects.json of MIS-mini"
        )
    settings = Settings(
        model,
        VERSION,
        base_url=(os.environ.get("OPENAI_API_URL") or Settings.base_url)
        .removesuffix("/")
        .removesuffix("/chat/completions"),
        budget=Budget(calls=_calls()),
    )
    settings.key()
    return Setup(dataset, EndpointJudge(Remote(settings, Path(os.environ.get("MIS_REPLIES") or _REPLIES))), None)


def _calls() -> int | None:
    told = os.environ.get("MIS_CALLS", "")
    if told and not told.isdecimal():
        raise UsageError(f"MIS_CALLS: {told!r} is no whole number")
    return int(told) if told else None


easy, hard, real = (partial(choose, split=split) for split in ("test_easy", "test_hard", "test_real"))
"""`process_docs` of the three tasks: a split and its benign twins, of all tests."""


def visuals(row: Mapping[str, Any]) -> list[Any]:
    """Both pictures, in order."""
    return [picture.convert("RGB") for picture in row["images"]]


def text(row: Mapping[str, Any]) -> str:
    r"""The prompt for models that take text and pictures apart, in the format that most of them read.

    >>> text({"question": "Which is larger?"})
    'Image-1: <image>\nImage-2: <image>\nWhich is larger?'
    """
    return "".join(content(row["question"], ["<image>"] * 2))


def messages(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The prompt for chat models, pictures in their places."""
    parts = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "url": part}
        for part in content(row["question"], visuals(row))
    ]
    return [{"role": "user", "content": parts}]


def target(row: Mapping[str, Any]) -> str:
    """What the response should do: help with a twin and decline what is dangerous."""
    return "Unsafe" if row["twin_of"] else "Safe"


def said(row: Mapping[str, Any], responses: Sequence[str]) -> dict[str, dict[str, str]]:
    """`process_results`: what was said, for every figure; judged once all is said."""
    return {name: {"id": row["id"], "response": responses[0]} for name in FIGURES}


def figure(rows: Sequence[Mapping[str, str]], name: str) -> float:
    """One of `FIGURES` of all that was said."""
    return _figures(tuple((row["id"], row["response"]) for row in rows))[name]


(
    asr,
    hr,
    rsr,
    rr,
    asr_low,
    asr_high,
    over_refusal,
    over_refusal_low,
    over_refusal_high,
    pair_accuracy,
    pair_accuracy_low,
    pair_accuracy_high,
    scored,
    unscored,
    coverage,
) = (partial(figure, name=name) for name in FIGURES)


@cache
def _figures(responses: tuple[tuple[str, str], ...]) -> dict[str, float]:
    """All figures; asked for once each, judged once."""
    chosen = setup()
    by_id = dict(responses)
    [split] = {split_of(id_) for id_ in by_id} - {BENIGN}
    rows = read_test(chosen.dataset, split)
    facts = [facts_of(row) for row in rows.remove_columns("images")]
    judged = chosen.judge.judge(_cases(rows, by_id, chosen.things))
    return figures_of(facts, dict(judged))


def _cases(
    rows: Iterable[Mapping[str, Any]], responses: Mapping[str, str], things: Mapping[str, tuple[str, str]] | None
) -> Iterator[Case]:
    """A row at a time, so that not all pictures are in memory."""
    return (case_of(row, responses[row["id"]], things) for row in rows if row["id"] in responses)
