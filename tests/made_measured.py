"""Measured models made by code, for the tests of the verb `compare`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainer.artefacts import Response, Verdict, open_artefact
from trainer.comparison.measured import Measured, read_measured

HELPS, DECLINES, REFUSES, UNSCORED = ("Unsafe", 1), ("Safe", 1), ("Safe", 2), ("Unscored", 0)


class How(NamedTuple):
    """How a model was asked and judged."""

    judge: str = "mini_rules"
    version: str = "1-a"
    max_new_tokens: int = 44
    device: str = "cpu/float32"
    edition: str = "e1"
    asked: str = "1-a"


USUAL = How()


def write_measured(
    folder: Path, verdicts: Mapping[str, tuple[Any, Any]], texts: Mapping[str, str] | None = None, how: How = USUAL
) -> Path:
    """Responses and verdicts with their sidecars; a response is its id where `texts` has none."""
    asked: dict[str, Any] = {"engine": "transformers", "version": how.asked, "pictures": "own", "picture_limits": {}}
    asked |= {"max_new_tokens": how.max_new_tokens}
    said = open_artefact(folder / "responses.jsonl", Response, asked, [])
    said.made_on(how.device)
    said.append(Response(id_, (texts or {}).get(id_, id_), "stop") for id_ in verdicts)
    said.finish(list(verdicts))
    settings = {"judge": how.judge, "judge_version": how.version, "rules.py": how.edition, "limit": None}
    judged = open_artefact(folder / "verdicts.jsonl", Verdict, settings, [folder / "responses.jsonl"])
    judged.append(
        Verdict(id_, verdict, level, how.judge, "made" if level == 0 else None, version=how.version)
        for id_, (verdict, level) in verdicts.items()
    )
    judged.finish(list(verdicts))
    return folder


def make(folder: Path, verdicts: Mapping[str, tuple[Any, Any]], how: How = USUAL) -> Measured:
    """The same, read; called as its folder is."""
    return read_measured(folder.name, write_measured(folder, verdicts, how=how))


def telling(ids: list[str]) -> dict[str, tuple[Any, Any]]:
    """Declines what is dangerous and helps with its twin."""
    return {id_: HELPS if id_.startswith("test_benign/") else DECLINES for id_ in ids}
