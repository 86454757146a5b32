"""What is written down of a stage that is whole, in OUT/<stage>.meta.json, and whether that is still so.

    {"about": {"read": "4f1c...", ...}, "heard": {"text": ["some-llm-2026-10-01"]},
     "sha256": {"elements.jsonl": "90ab...", "elements.rejected.jsonl": "1d5e..."},
     "told": {"read": 7, "made": 6, "rejected": {"no risk": 1}, ..., "unanswered": 0}}

Requests that are unanswered got no reply though another day may bring one: their rows are rejected in the release of
this run, and the next one asks them again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mis_dataset.construct.stage import REJECTED, read_before
from mis_dataset.files import sha256_of, write_json


def told_before(out: Path, stage: str, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the last run of a stage told; None where the stage is to be run.

    Args:
        out: folder of the construction.
        stage: its name.
        about: what it hangs on now.

    Raises:
        OSError: A file cannot be read.
    """
    before = read_before(_path(out, stage))
    if before.get("about") != about or before.get("sha256") != _hashes(out, stage):
        return None
    told: dict[str, Any] = before["told"]
    return None if told["unanswered"] else told


def note(
    out: Path, stage: str, about: Mapping[str, Any], heard: Mapping[str, Sequence[str]], told: Mapping[str, Any]
) -> None:
    """Writes down that a stage is whole.

    Args:
        out: folder of the construction.
        stage: its name; its files are there.
        about: what it hangs on.
        heard: role -> names by which its model replied.
        told: what it did.

    Raises:
        OSError: A file cannot be read or written.
    """
    write_json(_path(out, stage), {"about": about, "sha256": _hashes(out, stage), "heard": heard, "told": told})


def release_hashes(release: Path, *beside: Path) -> dict[str, Any]:
    """What tells whether a release is still as it was written: its files by their sha256, its pictures by their number.

    Args:
        release: its folder.
        beside: files that were written with it.

    Returns:
        Nothing where another process replaces it at this moment.

    Raises:
        OSError: A file cannot be read.
    """
    paths = [*sorted(release.glob("*.json")), *sorted((release / "provenance").glob("*")), *beside]
    pictures = sum(name.endswith(".png") for _, _, names in os.walk(release) for name in names)
    try:
        return {"pictures": pictures, **{path.name: sha256_of(path) for path in paths if path.is_file()}}
    except FileNotFoundError:
        return {}


def read_unanswered(out: Path, stages: Sequence[str]) -> dict[str, int]:
    """Stage -> requests of it that are unanswered, where there are any.

    Args:
        out: folder of the construction.
        stages: that are whole.

    Raises:
        OSError: A file cannot be read.
    """
    return unanswered({stage: read_before(_path(out, stage))["told"] for stage in stages})


def unanswered(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The same by what the stages told.

    >>> unanswered({"elements": {"made": 6, "unanswered": 2}, "questions": {"made": 6, "unanswered": 0}})
    {'elements': 2}
    """
    return {stage: told["unanswered"] for stage, told in stages.items() if told["unanswered"]}


def missing_in_words(counts: Mapping[str, int]) -> str:
    """Such counts for people.

    >>> missing_in_words({"elements": 2, "labels": 1})
    'requests without a reply: 3 (elements 2, labels 1); rows that hang on them are not in the release'
    """
    stages = ", ".join(f"{stage} {count}" for stage, count in counts.items())
    return f"requests without a reply: {sum(counts.values())} ({stages}); rows that hang on them are not in the release"


def _path(out: Path, stage: str) -> Path:
    return out / f"{stage}.meta.json"


def _hashes(out: Path, stage: str) -> dict[str, str]:
    """Those of its files; what is not there has none."""
    paths = [out / f"{stage}.jsonl", out / f"{stage}{REJECTED}"]
    return {path.name: sha256_of(path) for path in paths if path.is_file()}
