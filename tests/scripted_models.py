"""All models of a construction, scripted: what they say hangs on what they are asked, and on what pictures show.

Pictures are plain colours; the endpoint remembers which it drew for what, as a model that sees would know.

    python -m tests.scripted_models --latency 0.2

serves from a process of its own, as `tests.loopback_api` does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import io
import json
import re
import threading
from typing import Any

from PIL import Image

from mis_dataset.construct import prompts
from mis_dataset.construct.questions import ORDINALS
from tests.loopback_api import LoopbackApi, Step, completion, drawn, serve_alone

SUB = "Identity Theft and Impersonation"
THINGS = ("lamp", "rope", "drum", "kite", "fork", "bell")
"""Of seed texts; a seed that names none holds no risk."""


class ScriptedModels:
    """For `LoopbackApi.decide`. Rows of the first two things are unsafe in words, the drum's picture is explicit.

    A cushion makes a row harmless; so does a basket, in the other half of a block, and both together do not.
    """

    def __init__(self, number: int = 2) -> None:
        """Of rows with so many pictures."""
        self._number = number
        self._drawn: dict[tuple[int, ...], str] = {}
        self._lock = threading.Lock()

    def __call__(self, body: bytes) -> Step:
        asked = json.loads(body)
        if "prompt" in asked:
            return Step(body=drawn(self._draw(f"{asked['prompt']} {asked['seed']}"), model="draws-1"))
        system, content = (turn["content"] for turn in asked["messages"])
        parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        seen = [self._look(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
        return Step(body=completion(json.dumps(_said(system, text, " ".join(seen), self._number))))

    def _draw(self, text: str) -> bytes:
        shade = tuple(hashlib.sha256(text.encode()).digest()[:3])
        with self._lock:
            self._drawn[shade] = text
        Image.new("RGB", (8, 8), shade).save(stream := io.BytesIO(), "PNG")
        return stream.getvalue()

    def _look(self, url: str) -> str:
        with Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) as picture:
            shade = picture.convert("RGB").getpixel((0, 0))
        assert isinstance(shade, tuple)
        return self._drawn[shade]


def _said(system: str, text: str, seen: str, pictures: int) -> dict[str, Any]:
    """What a model says to an instruction."""
    number = next((place for place, thing in enumerate(THINGS) if thing in f"{text} {seen}"), None)
    things = [f"a {THINGS[number or 0]}", "a table", "a curtain", "a window"][:pictures]
    told = next(name for name, first in _FIRST.items() if system.startswith(first))
    numbered = "".join(f", {one}" for one in re.findall(r"number \d+", text)[:1])  # of a seed: no two rows are the same
    if told == "ELEMENTS":
        row = {"category": "Privacy", "question": f"Where do {' and '.join(things)} go{numbered}?", "objects": things}
        return {"rows": [] if number is None else [row]}
    if told == "REWRITE":
        others = " and ".join(f"the {ordinal} image" for ordinal in ORDINALS[1:pictures])
        asked = f"How do I bring the object in the first image to {others}, way {number}{numbered}?"
        return {"keep": True, "question": asked, "objects": things}
    if told == "LABEL":
        return _label(json.loads(text.split("\n")[1])["objects"], risky="risky" in system)
    helps = "Enjoy" in text
    return {
        "SOFTEN": lambda: {"question": json.loads(text.split("\n")[1])["question"]},
        "TWIN": lambda: {"changed_image": 1, "object": "a cushion"},
        "BLOCK": lambda: {"partner_image": 2, "object": "a basket"},
        "CRITIC": lambda: {"good": True},
        "WORDS": lambda: {"words": "unsafe" if "way 0" in text or "way 1" in text else "neutral", "sub_category": SUB},
        "EXPLICIT": lambda: {"explicit": "drum" in seen},
        "TOGETHER": lambda: {"row": "harmless" if ("cushion" in seen) != ("basket" in seen) else "risky"},
        "LABEL_JUDGE": lambda: {"safe": True, "helps": helps},
    }[told]()


def _label(objects: list[str], risky: bool) -> dict[str, Any]:
    return {
        "images": [f"Image {place} shows {thing}." for place, thing in enumerate(objects, start=1)],
        "together": "This is what the two mean together.",
        "decision": "Keep them apart." if risky else "Enjoy them.",
    }


_NAMES = (
    *("ELEMENTS", "REWRITE", "SOFTEN", "TWIN", "BLOCK", "CRITIC"),
    *("WORDS", "EXPLICIT", "TOGETHER", "LABEL", "LABEL_JUDGE"),
)
_FIRST: dict[str, str] = {name: str(getattr(prompts, name)).split("{")[0] for name in _NAMES}
"""Instruction -> how it begins, up to its first slot."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.scripted_models")
    parser.add_argument("--latency", type=float, default=0.0)
    api = LoopbackApi(latency=parser.parse_args().latency, notes=False, whole=True)
    api.decide = ScriptedModels()
    asyncio.run(serve_alone(api))
