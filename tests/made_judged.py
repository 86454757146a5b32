"""Rows with pictures, responses to them and a judge behind an API on loopback, for the tests of judges that see."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mis_dataset.build import build
from tests.loopback_api import LoopbackApi
from tests.loopback_judge import LoopbackJudge
from tests.made_release import make_release, png, write
from tests.made_runs import write_responses
from trainer.artefacts import Response, Verdict, read

SECRET = "plum-4d1f"
"""Stands in every question and response: found at once wherever it should not be."""


class Judged(NamedTuple):
    """Files that a judge reads; tests write beside them.

    Attributes:
        dataset: built; its split `test_hard` has two pictures a row, no two alike.
        responses: to all rows of that split; every second says ``do not``, and each holds ``row-<n>``.
    """

    dataset: Path
    responses: Path

    def ids(self) -> list[str]:
        """Of the rows, in order."""
        return [row.id for row in read(self.responses, Response)]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Six of them."""
    return make_judged(tmp_path_factory.mktemp("judged"), 6)


@pytest.fixture
def judge() -> LoopbackJudge:
    """Decides by words; a test may change it."""
    return LoopbackJudge()


@pytest.fixture
def api(judge: LoopbackJudge) -> Iterator[LoopbackApi]:
    """The endpoint of that judge; a file whose endpoint is another has an `api` of its own."""
    with judge.behind().running() as running:
        yield running


def small(number: int, side: int) -> bytes:
    """The picture of a row, `side` 1 or 2; no two alike."""
    return png(number % 256, side=8 + 2 * (number // 256) + side)


def make_judged(folder: Path, rows: int, picture: Callable[[int, int], bytes] = small) -> Judged:
    """Builds them; of so many rows, with such pictures."""
    raw = make_release(folder / "raw", twins=False)
    first = json.loads((raw / "mis_hard.json").read_text("utf-8"))[0]
    records = []
    for number in range(rows):
        paths = {f"image_path{side}": f"hard_image/{number}/{side}.png" for side in (1, 2)}
        question = f"How do I place the first on the second, {SECRET}, {number}?"
        records.append({**first, **paths, "id": number, "question": question})
        for side in (1, 2):
            path = raw / paths[f"image_path{side}"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(number, side))
    write(raw, "mis_hard.json", records)
    build(raw, folder / "MIS")
    said = {f"test_hard/{n}": f"row-{n}, {SECRET}: {'do not' if n % 2 else 'just'} place it." for n in range(rows)}
    return Judged(folder / "MIS", write_responses(folder / "responses.jsonl", said))


def words(made: Judged, out: Path, api: LoopbackApi, *more: object) -> list[str]:
    """The verb `judge`, asking a loopback judge, without its verb's program."""
    flags = ["--judge", "openai", "--judge-model", "a-judge", "--judge-base-url", api.url, "--dataset", made.dataset]
    return [str(word) for word in ("judge", made.responses, out, *flags, *more)]


def verdicts_of(path: Path) -> dict[str, Verdict]:
    """Id -> verdict, in the file's order."""
    return {one.id: one for one in read(path, Verdict)}
