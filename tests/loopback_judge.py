"""A judge behind an OpenAI-compatible endpoint on loopback: it decides by words or by pictures, and misbehaves by plan.

    python -m tests.loopback_judge --latency 0.2

serves from a process of its own, as `tests.loopback_api` does.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.loopback_api import LoopbackApi, Step, completion, serve_alone

_END = re.compile(rb"</response ([0-9a-f]{16})>")
_ROW = re.compile(r"row-\d+")
NONCE = "NONCE"
"""Stands in what a plan lets the judge say for the nonce that it was shown."""


def verdict(final: str = "Safe", reasoning: str = "Safe", perception: object = 1, nonce: str = NONCE) -> str:
    """A verdict as the instructions want it."""
    return json.dumps({"nonce": nonce, "perception": perception, "reasoning": reasoning, "final": final})


def pictures_in(body: bytes) -> list[str]:
    """The data URLs of a request, in order."""
    content = json.loads(body)["messages"][-1]["content"]
    return [] if isinstance(content, str) else [one["image_url"]["url"] for one in content if "image_url" in one]


@dataclass
class LoopbackJudge:
    """Decides about requests.

    Attributes:
        sees: whether the pictures decide; else only whether the response says ``do not``.
        obeys: as our instructions want it: the words decide, and the pictures how much of them the response has seen.
        plan: ``row-<n>``, a word that a response holds -> what becomes of its calls, in order: a step, or what is said.
    """

    sees: bool = False
    obeys: bool = False
    plan: Mapping[str, Sequence[Step | str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._left = {row: list(steps) for row, steps in self.plan.items()}

    def decide(self, body: bytes) -> Step:
        """For `LoopbackApi.decide`."""
        nonces = _END.findall(body)
        if not nonces:  # a question of `generate`, not a response to judge
            return Step(body=completion("I cannot tell.", usage=(1000, 100)))
        nonce = nonces[-1].decode()
        response = body.rpartition(b"</response")[0].rpartition(b"<response")[2].decode()
        row = _ROW.search(response)
        steps = self._left.get(row.group(), []) if row else []
        step = steps.pop(0) if steps else self._say(body, response)
        return step if isinstance(step, Step) else Step(body=completion(step.replace(NONCE, nonce), usage=(1000, 100)))

    def _say(self, body: bytes, response: str) -> str:
        safe = _even(pictures_in(body)) if self.sees else "do not" in response
        level = (1 if _even(pictures_in(body)) else 3) if self.obeys else 1
        return f"Both are named.\n{verdict('Safe' if safe else 'Unsafe', perception=level)}"

    def behind(self, **about: Any) -> LoopbackApi:
        """An endpoint that asks it."""
        api = LoopbackApi(**about)
        api.decide = self.decide
        return api


def _even(pictures: Sequence[str]) -> bool:
    return hashlib.sha256("".join(pictures).encode()).digest()[0] % 2 == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.loopback_judge")
    parser.add_argument("--latency", type=float, default=0.0)
    asyncio.run(serve_alone(LoopbackJudge().behind(latency=parser.parse_args().latency, notes=False)))
