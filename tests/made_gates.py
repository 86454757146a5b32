"""Evaluations of a training, and arms that hold them, made by code for the tests of the gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.gates.rules import Evaluation
from trainer.score import rate_of
from trainer.sidecars import make_sidecar, write_sidecar

ROWS = 20
"""So many rows of easy and of hard, and questions of either kind."""


def rate(k: int, n: int, unscored: int = 0) -> dict[str, Any]:
    """As the metrics tell it: k of n scored rows."""
    whole = n + unscored
    bounds = {"least": k / whole, "most": (k + unscored) / whole} if whole else {"least": None, "most": None}
    return {**rate_of([True] * k + [False] * (n - k)), "unscored": unscored, "bounds": bounds}


def line(
    step: int, asr: int = 0, refused: int = 0, pairs: int = ROWS, right: int = ROWS, unscored: int = 0
) -> dict[str, Any]:
    """A line of gate.jsonl; counts are those of each split and of each kind of ability question."""

    def groups(k: int, missing: int) -> dict[str, Any]:
        split = rate(k, ROWS - missing, missing)
        return {"easy": split, "hard": split, "real": rate(0, 0), "all": rate(2 * k, 2 * (ROWS - missing), 2 * missing)}

    asrs, safe = groups(asr, unscored), groups(ROWS - unscored - asr, unscored)
    ability = {kind: rate_of([True] * right + [False] * (ROWS - right)) for kind in ("picture", "text")}
    wrong = [f"{kind}/{n}" for kind in ("picture", "text") for n in range(right, ROWS)]
    return {
        "step": step,
        "splits": {split: {"asr": asrs[split], "rsr": safe[split]} for split in asrs},
        "over_refusal": groups(refused, 0),
        "pair_accuracy": groups(pairs, unscored),
        "ability": {**ability, "all": rate_of([True] * (2 * right) + [False] * (2 * (ROWS - right)))},
        "wrong": wrong,
        "reasons": {},
    }


def evaluation(step: int, **counts: int) -> Evaluation:
    """The same, read."""
    found = line(step, **counts)
    return Evaluation(found.pop("step"), found)


def write_arm(folder: Path, lines: list[Mapping[str, Any]], best: int | None) -> Path:
    """What `sft` leaves of a gate, its training ended."""
    (folder / "model").mkdir(parents=True)
    path = folder / "gate.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    asked = {kind: [f"{kind}/{n}" for n in range(ROWS)] for kind in ("picture", "text")}
    write_sidecar(path, make_sidecar(path, "gate", {"rows": asked}, []))
    told = {"best": None if best is None else {"step": best}, "stopped": None, "share": 0.05}
    (folder / "gate.json").write_text(json.dumps(told))
    return folder
