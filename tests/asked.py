"""What the tests of the client ask, and how."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mis_dataset.client import ask
from mis_dataset.remote.messages import Failure, Reply, Request
from mis_dataset.remote.settings import Settings
from tests.loopback_api import LoopbackApi


def tiny(api: LoopbackApi, **changes: Any) -> Settings:
    """Settings for a loopback endpoint: waits between tries take no time."""
    settings = Settings("a-model", "1-a", base_url=api.url, backoff=0.01, timeout=10.0, attempts=3)
    return replace(settings, **changes)


def questions(number: int) -> list[Request]:
    return [Request(f"test_hard/{place}", (f"question {place}",)) for place in range(number)]


def one(settings: Settings, cache: Path, *parts: str | bytes, system: str = "") -> Reply | Failure:
    """What comes of a single request."""
    [(name, told)] = ask([Request("a/1", parts or ("hello",), system)], settings, cache)
    assert name == "a/1"
    return told


def text_of(told: Reply | Failure) -> str:
    assert isinstance(told, Reply), told
    return told.text


def one_is_new(api: LoopbackApi, settings: Settings, cache: Path, *parts: str | bytes, system: str = "") -> bool:
    """Whether a request makes a call."""
    before = api.count
    one(settings, cache, *parts, system=system)
    return api.count > before
