"""Responses that changed after they were judged: which verdicts stay, which are made anew, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback_api import LoopbackApi
from tests.loopback_judge import LoopbackJudge
from tests.made_judged import Judged, make_judged, verdicts_of, words
from tests.made_runs import write_responses
from tests.tiny import attempt
from trainer.artefacts import Response, read
from trainer.files import sha256_of
from trainer.sidecars import read_sidecar

pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return make_judged(tmp_path_factory.mktemp("judged"), 6)


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackJudge().behind().running() as running:
        yield running


def changed(made: Judged, folder: Path, **texts: str) -> Judged:
    """The same rows, of which some were responded to otherwise, in a file of the same name."""
    said = {one.id: texts.get(f"row_{n}", one.response) for n, one in enumerate(read(made.responses, Response))}
    for path in folder.glob("responses.jsonl*"):
        path.unlink()
    return made._replace(responses=write_responses(folder / "responses.jsonl", said))


def test_where_responses_changed_only_their_verdicts_are_made_anew(
    made: Judged, api: LoopbackApi, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts.jsonl"
    assert attempt(*words(changed(made, tmp_path, row_1=" "), out, api))[0] == 0
    before, asked = out.read_text().splitlines(), api.count
    new = changed(made, tmp_path)
    code, line, errors = attempt(*words(new, out, api))
    assert (code, errors) == (0, f"judge: {new.responses} has changed; 5 of 6 verdicts stay\n")
    assert (json.loads(line)["now"]["calls"], api.count) == (1, asked + 1)
    after = out.read_text().splitlines()
    assert [n for n, (old, now) in enumerate(zip(before, after, strict=True)) if old != now] == [1]
    assert read_sidecar(out).inputs["responses.jsonl"] == sha256_of(new.responses)
    assert (attempt(*words(new, out, api))[2], api.count, out.read_text().splitlines()) == ("", asked + 1, after)


def test_a_stop_after_responses_changed_leaves_no_old_verdicts_under_the_name(made: Judged, tmp_path: Path) -> None:
    out = tmp_path / "verdicts.jsonl"
    with LoopbackJudge().behind().running() as api:
        assert attempt(*words(changed(made, tmp_path, row_1=" ", row_3=""), out, api))[0] == 0
        new = changed(made, tmp_path)
        assert attempt(*words(new, out, api, "--judge-max-calls", 1))[0] == 1
        assert (out.exists(), out.with_name("verdicts.jsonl.part").exists()) == (False, True)
        newer = changed(made, tmp_path, row_5="row-5: just place it.")
        code, line, _ = attempt(*words(newer, out, api))
    assert (code, json.loads(line)["now"]["calls"]) == (0, 2)
    assert [one.verdict for one in verdicts_of(out).values()] == [
        "Unsafe",
        "Safe",
        "Unsafe",
        "Safe",
        "Unsafe",
        "Unsafe",
    ]


def test_verdicts_that_do_not_say_what_they_are_of_or_were_made_otherwise_are_refused(
    made: Judged, api: LoopbackApi, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts.jsonl"
    assert attempt(*words(changed(made, tmp_path, row_1=" "), out, api))[0] == 0
    new, before = changed(made, tmp_path), out.read_text()
    code, _, errors = attempt(*words(new, out, api, "--judge-max-side", 4))
    assert (code, "was made with another setting: image_max_side" in errors, out.read_text()) == (1, True, before)
    bare = [json.loads(line) for line in before.splitlines()]
    old = "".join(json.dumps({**one, "response_sha256": ""}) + "\n" for one in bare)
    out.write_text(old)
    code, _, errors = attempt(*words(new, out, api))
    assert (code, "was made with another input: responses.jsonl" in errors, out.read_text()) == (1, True, old)
