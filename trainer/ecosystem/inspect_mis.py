"""MIS as a task of inspect-ai: `python -m inspect_ai eval trainer/ecosystem/inspect_mis.py@mis`.

The judge is the model role `grader`, asked with our rubric and shown both pictures. A reply without a verdict is
unscored: counted in `coverage`, and in no rate.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessageSystem,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentText,
    GenerateConfig,
    get_model,
)
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver

from mis_dataset.chat import content
from mis_dataset.remote.bodies import data_url
from trainer.ecosystem.shared import figures_of, read_test
from trainer.judges.asking import ASKING_VERSION, INSTRUCTIONS, read_reply
from trainer.judges.base import JUDGE_VERSION, Case, Judgement, unscored
from trainer.judges.endpoint import request_of
from trainer.judges.mini_rules import judge_by_rules
from trainer.questions import RowFacts, read_things, split_of

ROOT = Path(__file__).resolve().parents[2]
_FACTS = ("question", "category", "level", "twin_of")


@task
def mis(dataset: str, split: str = "test_hard", things: str | None = None) -> Task:
    """One test split and its benign twins.

    Args:
        dataset: a built dataset: its folder, seen from the checkout, or its id on the Hub.
        split: test_easy, test_hard or test_real.
        things: RAW/mini/objects.json of MIS-mini: the rule judge then judges, offline, and there is no grader.
    """
    named = read_things(ROOT / things) if things else {}
    # inspect-ai runs a task within the folder of its file.
    folder = ROOT / dataset
    rows = read_test(str(folder) if folder.exists() else dataset, split)
    return Task(
        dataset=MemoryDataset([_asked(row, named.get(row["id"])) for row in rows], name=split),
        setup=None if things else has_grader(),
        solver=generate(),
        scorer=by_rules() if things else by_rubric(),
        config=GenerateConfig(temperature=0.0, max_tokens=1024),
        # A row that failed would be in no rate and in no coverage. So the run fails; `inspect eval-retry` goes on.
        fail_on_error=True,
        version=f"{JUDGE_VERSION}.{ASKING_VERSION}",
    )


def _asked(row: Mapping[str, Any], things: tuple[str, str] | None) -> Sample:
    """One row, its pictures as the bytes that were released."""
    pictures = [ContentImage(image=data_url(picture["bytes"]).decode()) for picture in row["images"]]
    parts: list[Content] = [
        ContentText(text=part) if isinstance(part, str) else part for part in content(row["question"], pictures)
    ]
    facts = {name: row[name] for name in _FACTS}
    return Sample(
        id=row["id"],
        input=[ChatMessageUser(content=parts)],
        metadata={"split": split_of(row["id"]), **facts, "things": things},
    )


@solver
def has_grader() -> Solver:
    """Fails before anything is asked where no grader is named: inspect-ai would let the model judge itself."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        get_model(role="grader", required=True)
        return state

    return solve


@metric(scores="unreduced")
def figures() -> Metric:
    """`trainer.ecosystem.shared.FIGURES`; reads verdicts as they are, as inspect-ai's mean makes numbers of words."""

    def told(scores: list[SampleScore]) -> dict[str, float]:
        rows = [_facts(score) for score in scores]
        if len({row.id for row in rows}) < len(rows):
            raise ValueError("a row was asked more than once; run one epoch")
        return figures_of(rows, {row.id: _judgement(score) for row, score in zip(rows, scores, strict=True)})

    return told


@scorer(metrics=[figures()])
def by_rubric() -> Scorer:
    """The role `grader`, asked as every judge that sees pictures is."""

    async def judge(state: TaskState, target: Target) -> Score:
        case = _case(state)
        if not case.response.strip():
            return _score(unscored("empty"))
        grader = get_model(role="grader", required=True, config=GenerateConfig(temperature=0.0, max_tokens=512))
        said = await grader.generate(
            [
                ChatMessageSystem(content=INSTRUCTIONS),
                ChatMessageUser(content=[_part(part) for part in request_of(case).parts]),
            ]
        )
        # What was left out might have been the last verdict, which binds.
        whole = said.stop_reason == "stop"
        found = (
            read_reply(said.completion, case) if whole else unscored("the judge was cut off, or did not end by itself")
        )
        return _score(found, said.completion)

    return judge


@scorer(metrics=[figures()])
def by_rules() -> Scorer:
    """The rule judge of MIS-mini."""

    async def judge(state: TaskState, target: Target) -> Score:
        case = _case(state)
        assert case.things is not None
        return _score(judge_by_rules(case.question, case.things, case.response))

    return judge


def _case(state: TaskState) -> Case:
    """What the judge is given: the response, and the pictures as the model was shown them."""
    assert not isinstance(state.input, str)
    parts = state.input[0].content
    images = [base64.b64decode(part.image.partition(",")[2]) for part in parts if isinstance(part, ContentImage)]
    facts = state.metadata
    things = tuple(facts["things"]) if facts["things"] else None
    return Case(str(state.sample_id), facts["question"], state.output.completion, things, tuple(images))


def _part(part: str | bytes) -> Content:
    return ContentText(text=part) if isinstance(part, str) else ContentImage(image=data_url(part).decode())


def _score(found: Judgement, reply: str | None = None) -> Score:
    """A verdict as inspect-ai keeps it.

    "Unscored" and not `Score.unscored`: that would be kept from the metrics, which count what was not scored.
    """
    kept = {"perception": found.perception, "reasoning": found.reasoning, "final": found.final}
    reason = None if found.reason is None else "grader_failed" if reply is not None else "scoring_failed"
    explanation = "\n".join(text for text in (found.reason, reply) if text)
    return Score(value=found.verdict, explanation=explanation, reason=reason, metadata=kept)


def _judgement(score: SampleScore) -> Judgement:
    verdict: Any = score.score.value
    return Judgement(verdict, (score.score.metadata or {})["perception"])


def _facts(score: SampleScore) -> RowFacts:
    facts = score.sample_metadata or {}
    return RowFacts(str(score.sample_id), **{name: facts[name] for name in _FACTS})
