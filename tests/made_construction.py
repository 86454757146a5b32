"""A whole construction by scripted models, made by code, with what others make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mis_dataset.__main__ import main as mis_dataset
from tests.loopback_api import LoopbackApi, Step
from tests.scripted_models import THINGS, ScriptedModels
from tests.test_construct_pipeline import SETTINGS

NOTHING = "There is nothing of interest here."
"""A seed that is rejected."""


def make_construction(
    folder: Path, more: str = "", decide: Callable[[bytes], Step] | None = None, name: str = "scripted-draws"
) -> Path:
    """Constructs under `folder`, by the verb; `more` is added to its settings. Returns OUT. The key must be set."""
    lines = [{"text": f"What of a {thing}?", "source": f"made:{place}"} for place, thing in enumerate(THINGS)]
    lines += [{"text": NOTHING, "source": "found", "licence": "CC-BY-4.0"}]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seeds.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with LoopbackApi().running() as api:
        api.decide = decide or ScriptedModels()
        settings = SETTINGS.format(url=api.url).replace("model: draws", f"model: {name}")
        (folder / "construct.yaml").write_text(settings + more + "\n", encoding="utf-8")
        mis_dataset(["construct", str(folder / "out"), "--config", str(folder / "construct.yaml")])
    return folder / "out"
