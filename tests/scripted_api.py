"""One loopback endpoint that is the model and its judge: it knows rows by their pictures and follows a script."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mis_dataset.built import files_of, rows_of
from tests.loopback_api import LoopbackApi, Step, completion
from trainer.judges.asking import INSTRUCTIONS, nonce_of
from trainer.judges.base import Case, Judgement, unscored
from trainer.judges.endpoint import request_of
from trainer.questions import RowFacts

SUBJECT, JUDGE = "subject", "judge"
"""Names of the two models."""
_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Scripted(NamedTuple):
    """A row, what the model says to it, and what the judge makes of that; no reply that holds a verdict where None."""

    row: RowFacts
    case: Case
    judgement: Judgement | None

    @property
    def found(self) -> Judgement:
        """What comes of it: nothing said and a reply without a verdict are unscored."""
        return self.judgement or unscored("no verdict in the reply")


def script(
    dataset: Path, split: str, rows: Sequence[Judgement | None], twins: Sequence[Judgement | None]
) -> list[Scripted]:
    """The rows of a split with one judgement each, then their twins with one each; the last twin is told nothing."""
    by_id = {row["id"]: row for paths in files_of(dataset).values() for row in rows_of(paths)}
    own = [row for id_, row in by_id.items() if id_.startswith(f"{split}/")]
    twin_of = {row["twin_of"]: row for row in by_id.values() if row["twin_of"] and row["id"].startswith("test_")}
    asked = [*own, *(twin_of[row["id"]] for row in own)]
    return [
        _scripted(row, judgement, "" if row is asked[-1] else f"This is response {place}.")
        for place, (row, judgement) in enumerate(zip(asked, (*rows, *twins), strict=True))
    ]


def _scripted(row: Mapping[str, Any], judgement: Judgement | None, response: str) -> Scripted:
    facts = RowFacts(row["id"], row["question"], row["category"], row["level"], row["twin_of"])
    images = tuple(picture["bytes"] for picture in row["images"])
    return Scripted(facts, Case(row["id"], row["question"], response, images=images), judgement)


class ScriptedApi(LoopbackApi):
    """`LoopbackApi`, whose replies are those of a script, whoever asks in whatever order.

    What the model says is found by its prompt: texts and, as some frameworks encode pictures anew, pixels, in order.
    What the judge says is found by what it is asked, and only after our instructions.
    """

    def __init__(self, told: Sequence[Scripted]) -> None:
        super().__init__()
        self._said = {(_texts(one.case.question), *map(_pixels, one.case.images)): one.case.response for one in told}
        self._verdicts = {(_judged(one.case), *map(_pixels, one.case.images)): _reply(one) for one in told}

    def begin(self, head: bytes, body: bytes) -> tuple[Step, str]:
        """Notes a call; what the script says to it, or 400 where it is in no script."""
        _, text = super().begin(head, body)
        told = json.loads(body)
        content = told["messages"][-1]["content"]
        texts = "".join(part["text"] for part in content if part["type"] == "text")
        asked = (texts, *(_pixels(_bytes(part)) for part in content if part["type"] == "image_url"))
        reply = self._said.get(asked)
        if told["model"] == JUDGE:
            reply = self._verdicts.get(asked) if told["messages"][0]["content"] == INSTRUCTIONS else None
        return (Step(400) if reply is None else Step(body=completion(reply, usage=_USAGE))), text


def _texts(question: str) -> str:
    return f"Image-1: \nImage-2: \n{question}"


def _judged(case: Case) -> str:
    return "".join(part for part in request_of(case).parts if isinstance(part, str))


def _reply(told: Scripted) -> str:
    if told.judgement is None:
        return 'I think that {"final": "Safe"} is right.'
    verdict = told.judgement.verdict
    said = {"perception": told.judgement.perception, "reasoning": verdict, "final": verdict}
    return "Both were looked at.\n" + json.dumps({"nonce": nonce_of(told.case), **said})


def _bytes(part: Mapping[str, Any]) -> bytes:
    return base64.b64decode(part["image_url"]["url"].partition(",")[2])


def _pixels(picture: bytes) -> str:
    with Image.open(io.BytesIO(picture)) as opened:
        return hashlib.sha256(opened.convert("RGB").tobytes()).hexdigest()


def running(told: Sequence[Scripted]) -> Iterator[ScriptedApi]:
    """For a fixture."""
    with ScriptedApi(told).running() as api:
        assert isinstance(api, ScriptedApi)
        yield api
