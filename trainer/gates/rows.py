"""What a model is asked while it trains: small fixed slices of test rows, their twins and ability questions -> rates.

The pictures of the ability questions are of their own seed; test rows and text questions are some of those that other
verbs measure, so whoever chooses a checkpoint by them leaves their ids out of what is published of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from mis_dataset.errors import BudgetError, MISError, RemoteError
from mis_dataset.mini.lessons import ABILITY_FAMILIES, lessons
from mis_dataset.mini.objects import THINGS
from trainer.ability import MAX_NEW_TOKENS, Question, picture_questions, text_to_measure
from trainer.artefacts import Response, Verdict
from trainer.engines.local import generate
from trainer.judge import cases_of, verdict_of
from trainer.judges.base import CALL_FAILED, Judge, Judgement, unscored
from trainer.judges.choice import OF_MINI, Choice
from trainer.prompts import Prompt, read_prompts
from trainer.questions import RowFacts, read_rows, read_things, split_of, twins
from trainer.score import ABILITIES, Metrics, rate_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

SPLITS = ("test_easy", "test_hard")
"""Where the dangerous rows are drawn; the few photographs of ``test_real`` are left to the final measurement."""


class Asking(NamedTuple):
    """How the model is asked.

    Attributes:
        max_new_tokens: most tokens of a response to a test row; those to ability questions have their own limit.
        batch_size: most prompts of a batch.
    """

    max_new_tokens: int
    batch_size: int


class Said(NamedTuple):
    """What the model said.

    Attributes:
        rows: to test rows and twins, in the order of the slices.
        ability: id of an ability question -> whether the response was right.
    """

    rows: list[Response]
    ability: dict[str, bool]


@dataclass(frozen=True)
class Slices:
    """What is asked.

    Attributes:
        rows: every row by its id, dangerous rows and twins.
        pairs: id of a dangerous row -> id of its twin.
        prompts: of both.
        things: id -> names of both things; empty for judges that do not need them.
        ability: id -> question.
    """

    rows: dict[str, RowFacts]
    pairs: dict[str, str]
    prompts: list[Prompt]
    things: dict[str, tuple[str, str]]
    ability: dict[str, Question]

    def ids(self) -> dict[str, list[str]]:
        """The ids of every slice."""
        found: dict[str, list[str]] = {}
        for id_ in (*self.rows, *self.ability):
            found.setdefault(split_of(id_), []).append(id_)
        return found


def draw(dataset: Path, count: int, seed: int, things: Path | None, choice: Choice) -> Slices:
    """The same slices for the same dataset and seed.

    Args:
        dataset: folder of the built dataset.
        count: rows of each of `SPLITS`, picture questions and text questions; at most so many as there are.
        seed: of what is drawn.
        things: RAW/mini/objects.json, for the judges of MIS-mini.
        choice: the judge.

    Raises:
        MISError: No test row has a twin, or the judge needs things and they are not those of the rows.
    """
    known = read_rows(dataset)
    twin_of = twins(known)
    pairs = {id_: twin_of[id_] for split in SPLITS for id_ in _drawn(split, known, twin_of, count, seed)}
    if not pairs:
        raise MISError(
            f"{dataset}: no row of {' or '.join(SPLITS)} has a benign twin, so a model that refuses everything would "
            "look safe; name a dataset with twins by --gate-dataset, such as MIS-mini's, or set gate_every: 0"
        )
    rows = {id_: known[id_] for id_ in (*pairs, *pairs.values())}
    named = read_things(_needed(things, choice)) if choice.name in OF_MINI else {}
    missing = [id_ for id_ in rows if named and id_ not in named]
    if missing:
        raise MISError(f"{things}: lacks {len(missing)} rows (first: {missing[0]}); it belongs to another release")
    splits = list(dict.fromkeys(split_of(id_) for id_ in rows))
    prompts = [one for one in read_prompts(dataset, splits) if one.id in rows]
    return Slices(rows, pairs, prompts, {id_: named[id_] for id_ in rows if named}, _ability(count, seed))


def ask(slices: Slices, model: PreTrainedModel, processor: ProcessorMixin, asking: Asking) -> Said:
    """What a model says to all of it, greedily.

    Args:
        slices: what is asked.
        model: in evaluation mode.
        processor: its processor.
        asking: how.
    """
    rows = _responses(model, processor, slices.prompts, asking.max_new_tokens, asking.batch_size)
    questions = [one.prompt for one in slices.ability.values()]
    told = _responses(model, processor, questions, MAX_NEW_TOKENS, asking.batch_size)
    return Said(rows, {one.id: slices.ability[one.id].is_right(one.response) for one in told})


def judged(slices: Slices, said: Said, judge: Judge, choice: Choice) -> dict[str, Verdict]:
    """Id -> verdict of every row and twin; where the judge could not be asked, unscored: never safe.

    Args:
        slices: what was asked.
        said: what the model said.
        judge: made of `choice`.
        choice: whether it is shown the pictures, and its name.
    """
    shown = {one.id: one.pictures for one in slices.prompts} if choice.sees else {}
    found: dict[str, Judgement] = {}
    lost = unscored(f"{CALL_FAILED}it gave no verdict")
    try:
        for id_, judgement in judge.judge(cases_of(said.rows, slices.rows, slices.things, shown)):
            found[id_] = judgement
    except (BudgetError, RemoteError) as error:
        # A training of hours does not end because a budget of its judge has.
        lost = unscored(f"{CALL_FAILED}{type(error).__name__}")
    return {one.id: verdict_of(one.id, choice.name, found.get(one.id, lost), one.response) for one in said.rows}


def rates(slices: Slices, said: Said, verdicts: Mapping[str, Verdict], metrics: Metrics) -> dict[str, Any]:
    """The figures of one evaluation.

    Args:
        slices: what was asked.
        said: what the model said.
        verdicts: of `judged`.
        metrics: the modules.

    Returns:
        {"splits", "over_refusal", "pair_accuracy"} as `trainer.score.score` has them, each also for "all" rows
        together; "ability": the same for picture, text and "all"; "wrong": ids of the ability questions that were
        answered wrongly; "reasons": why verdicts are unscored -> how many.
    """
    dangerous = [slices.rows[id_] for id_ in slices.pairs]
    marks = {kind: [said.ability[id_] for id_ in slices.ability if split_of(id_) == kind] for kind in ABILITIES}
    together = rate_of(list(said.ability.values()))
    reasons = Counter(one.reason for one in verdicts.values() if one.reason)
    return {
        **metrics.rates(dangerous, slices.pairs, verdicts, together=True),
        "ability": {**{kind: rate_of(right) for kind, right in marks.items()}, "all": together},
        "wrong": [id_ for id_ in slices.ability if not said.ability[id_]],
        "reasons": dict(sorted(reasons.items())),
    }


def _drawn(split: str, rows: Mapping[str, RowFacts], twin_of: Mapping[str, str], count: int, seed: int) -> list[str]:
    """Rows of a split that have a twin, in the dataset's order."""
    paired = [id_ for id_ in rows if id_ in twin_of and split_of(id_) == split]
    chosen = set(Random(f"gate/{seed}/{split}").sample(paired, min(count, len(paired))))
    return [id_ for id_ in paired if id_ in chosen]


def _needed(things: Path | None, choice: Choice) -> Path:
    if things is None:
        raise MISError(f"the judge {choice.name} needs the names of the things; give --things RAW/mini/objects.json")
    return things


def _ability(count: int, seed: int) -> dict[str, Question]:
    text = text_to_measure(None, None)
    chosen = sorted(Random(f"gate/{seed}/text").sample(range(len(text)), min(count, len(text))))
    named = list(text)
    things = tuple(Random(f"gate/{seed}/things").sample(THINGS, len(THINGS)))
    shown = lessons(f"gate/{seed}", ABILITY_FAMILIES, count, things)
    return picture_questions(shown) | {named[place]: text[named[place]] for place in chosen}


def _responses(model: Any, processor: Any, prompts: list[Prompt], max_new_tokens: int, batch: int) -> list[Response]:
    """In the order of the prompts."""
    made = {one.id: one for some in generate(model, processor, prompts, max_new_tokens, batch) for one in some}
    return [made[one.id] for one in prompts]
