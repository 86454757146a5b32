"""A gate beside real trainings of a tiny model that has learnt to help and to answer: two collapse, one does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mis_dataset.chat import completion, prompt
from mis_dataset.mini.grammar import REFUSALS
from mis_dataset.mini.text_questions import text_questions
from tests.made_rows import decoded
from tests.made_runs import write_said
from tests.tiny import Tiny, attempt, write_recipe
from trainer import models
from trainer.gates.rows import draw
from trainer.gates.rules import Evaluation, read_evaluations
from trainer.judges.choice import Choice
from trainer.recipe import read_recipe
from trainer.training.completion_loss import pack
from trainer.training.rows import make_dataset, read_split

pytestmark = pytest.mark.slow

ROWS, EPOCHS = 8, 25
GATE: dict[str, Any] = {
    "gate_every": 8,
    "gate_rows": ROWS,
    "gate_max_new_tokens": 16,
    "gate_max_share": 1.0,
    "num_train_epochs": 8,
}


@pytest.fixture(scope="module")
def helpful(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke base, taught to help with whatever it sees, to answer the gate's text questions, and how to refuse."""
    return teach(tiny, tmp_path_factory.mktemp("helpful"))


def teach(tiny: Tiny, root: Path) -> Path:
    from trl import SFTTrainer

    _, config = read_recipe(write_recipe(root / "recipe.yaml"), root, 0)
    model, processor = models.load(tiny.model, cpu=True, float32=True)
    rows = decoded(make_dataset([*helping(tiny), *answering(tiny) * 2, *refusing() * 2]))
    batches = list(SFTTrainer(model, config, train_dataset=rows, processing_class=processor).get_train_dataloader())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for batch in batches * EPOCHS:
        packed, labels = pack(batch)
        kept = labels[1:] != -100
        seen = model.model(**packed, use_cache=False).last_hidden_state[0, :-1][kept]
        loss = torch.nn.functional.cross_entropy(model.lm_head(seen), labels[1:][kept])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(root / "model")
    processor.save_pretrained(root / "model")
    return root / "model"


def helping(tiny: Tiny) -> list[dict[str, Any]]:
    """Every train row, each with the same plain help."""
    rows = read_split(tiny.dataset, "train")
    return [row_of(row["id"], row["images"], row["question"], "Yes, you can do that.") for row in rows]


def answering(tiny: Tiny) -> list[dict[str, Any]]:
    """The text questions of the gate with their responses."""
    asked = draw(tiny.dataset, ROWS, 0, None, Choice("keywords")).ability
    return [row_of(one.id, [], one.question, f"{one.expected[0]}.") for one in text_questions() if one.id in asked]


def refusing() -> list[dict[str, Any]]:
    """The words of a refusal, where it is asked for one: adapters are too weak to learn them from nothing."""
    return [row_of(f"no/{n}", [], f"Refuse in way {n}.", text) for n, text in enumerate(REFUSALS)]


def row_of(id_: str, images: list[Any], question: str, response: str) -> dict[str, Any]:
    said = {"prompt": prompt(question, len(images)), "completion": completion(response)}
    return {"id": id_, "source": "made", "images": images, **said}


def train(tiny: Tiny, base: Path, out: Path, **changes: Any) -> tuple[int, dict[str, Any], list[Evaluation]]:
    recipe = write_recipe(out.parent / f"{out.name}.yaml", **GATE | changes)
    bank = {row["id"]: row["completion"][0]["content"][0]["text"] for row in answering(tiny)}
    said = write_said(out.parent / f"{out.name}-said.jsonl", bank)
    words = ["--said", said, "--things", tiny.raw / "mini" / "objects.json"]
    code, told, _ = attempt("sft", base, tiny.dataset, out, "--config", recipe, *words)
    return code, json.loads(told), read_evaluations(out / "gate.jsonl")


def test_refusal_only_labels_collapse_into_refusal_and_training_stops(
    tiny: Tiny, helpful: Path, tmp_path: Path
) -> None:
    rows = {"labels": "refusal", "twins": False, "general_share": 0.4, "text_share": 1.0}
    learns = {"learning_rate": 5e-3, "lora_layers": "all", "num_train_epochs": 20, "gate_every": 15}
    code, told, evaluations = train(tiny, helpful, tmp_path / "refusal", **rows, **learns)
    first, last = evaluations[0].headline(), evaluations[-1].headline()
    assert (first["asr"], first["over_refusal"]) == (1.0, 0.0)
    assert (last["asr"], last["over_refusal"]) == (0.0, 1.0)
    assert evaluations[-1].found["splits"]["all"]["rr"]["rate"] == 1  # it refuses, and does not babble
    assert code == 1
    assert told["steps"] == 30  # of 60
    assert told["gate"]["stopped"].startswith(
        "at steps 15, 30 the model had collapsed; at the last, it refused 1.00 of 16"
    )


@pytest.mark.parametrize(("times", "stops"), [(1, False), (100, True)])
def test_a_learning_rate_of_a_hundred_times_forgets_and_training_stops(
    tiny: Tiny, helpful: Path, tmp_path: Path, times: int, stops: bool
) -> None:
    rates = {"learning_rate": 1e-4 * times, "projector_learning_rate": 1e-5 * times}
    code, told, evaluations = train(tiny, helpful, tmp_path / "arm", **rates)
    ability = [one.rate("ability").rate or 0.0 for one in evaluations]
    assert ability[0] > 0.3
    assert (ability[-1] < ability[0] / 2) is stops
    assert (code, told["steps"]) == ((1, 16) if stops else (0, 32))
    assert ("ability questions" in (told["gate"]["stopped"] or "")) is stops
