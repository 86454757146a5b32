"""Trains the vision tower and projector of MIS-mini's base, without the language model.

An image's tokens learn to land on the language model's own embeddings of the name of what the image shows, so that
to the language model a picture reads like its name. Loss: cross-entropy over the cosine similarity to every name's
embeddings, plus a share of the mean squared distance to the right one. What all names have in common is taken off
before names are compared (their embeddings have a mean cosine of 0.45), and the patch embedding starts as the
principal components of the pictures' patches: both save steps, see docs/decisions.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm.auto import tqdm

from mis_dataset.errors import MISError
from mis_dataset.files import replace_file
from mis_dataset.mini.draw import SIZE, Style, draw, draw_varied
from mis_dataset.mini.objects import THINGS, Thing

if TYPE_CHECKING:
    from transformers import InternVLForConditionalGeneration, InternVLProcessor

_TEMPERATURE = 0.1
_DISTANCE = (0.2, 0.6)
"""Weight of the squared distance beside the cross-entropy, at the first and at the last step."""
_SAVE_EVERY = 200
_VARIED = 1500
"""Pictures whose patches give the first weights, where there are that many."""


@dataclass(frozen=True)
class TowerSettings:
    """How the tower is trained.

    Attributes:
        steps: optimizer steps.
        batch: pictures a step.
        pictures: pictures drawn once and varied afresh at every use.
        learning_rate: peak; linear warm-up over 30 steps, then cosine to 2 % of it.
        seed: of the pictures, their order and their variation.
    """

    steps: int = 2400
    batch: int = 48
    pictures: int = 20_000
    learning_rate: float = 1.2e-3
    seed: int = 0


def train_tower(
    model: InternVLForConditionalGeneration, processor: InternVLProcessor, settings: TowerSettings, state: Path
) -> None:
    """Trains ``vision_tower`` and ``multi_modal_projector`` of `model` in place; everything else stays as it is.

    Args:
        model: as `trainer.mini_vlm.assemble` makes it.
        processor: its processor; normalises the pictures and tokenises the names.
        settings: see `TowerSettings`.
        state: safetensors file to which weights, optimizer and position are written every 200 steps. A rerun goes on
            from it and ends with the same weights.

    Raises:
        MISError: `state` was begun with other settings.
    """
    names = name_embeddings(model, processor)
    pictures, labels = _draw_many(settings)
    _start_from_components(model, processor, pictures, settings.seed)
    weights = _trainable(model)
    optimizer = torch.optim.AdamW(weights.values(), lr=settings.learning_rate, weight_decay=0.05)
    start = _read_state(state, settings, weights, optimizer)
    model.train()
    for step in tqdm(range(start, settings.steps), initial=start, total=settings.steps, desc="tower"):
        # Seeded by step, so that a resumed run sees what the uninterrupted one saw.
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        chosen = torch.randint(len(pictures), (settings.batch,), generator=generator)
        tokens = encode(model, _vary(pictures[chosen], processor, generator))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings.steps)
        optimizer.zero_grad()
        _loss(tokens, labels[chosen], names, step / settings.steps).backward()
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        if (step + 1) % _SAVE_EVERY == 0:
            _write_state(state, settings, step + 1, weights, optimizer)
    model.eval()


def name_embeddings(model: InternVLForConditionalGeneration, processor: InternVLProcessor) -> torch.Tensor:
    """What the image tokens of every thing should be: the embeddings of its name, repeated to fill the tokens.

    Returns:
        Float tensor (things, tokens per image, hidden size).
    """
    embedding = model.get_input_embeddings().weight.detach()
    rows = []
    for thing in THINGS:
        ids = processor.tokenizer.encode(f" {thing.name}", add_special_tokens=False)
        rows.append(embedding[[ids[place % len(ids)] for place in range(processor.image_seq_length)]])
    return torch.stack(rows)


def encode(model: InternVLForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Image tokens of normalised pictures: (n, 3, side, side) -> (n, tokens per image, hidden size)."""
    features: torch.Tensor = model.model.get_image_features(pixel_values=pixels).pooler_output
    return features


def naming_accuracy(
    model: InternVLForConditionalGeneration,
    processor: InternVLProcessor,
    styles: tuple[Style, ...],
    things: Sequence[Thing],
    count: int,
    seed: str,
) -> float:
    """Share of `count` fresh pictures of `things` whose image tokens lie nearest to the right name of all names."""
    random = Random(f"naming/{seed}")
    chosen = [things[number % len(things)] for number in range(count)]
    drawn = [np.asarray(draw(thing, random.choice(styles), random)) for thing in chosen]
    pixels = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)
    names = name_embeddings(model, processor)
    with torch.no_grad():
        tokens = torch.cat([encode(model, _normalise(part / 255, processor)) for part in pixels.split(256)])
    nearest = _similarity(tokens, names).argmax(dim=1).tolist()
    right: list[bool] = [THINGS[place] == thing for place, thing in zip(nearest, chosen, strict=True)]
    return sum(right) / count


def _draw_many(settings: TowerSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (n, 3, side, side) uint8 and the index of the thing that each shows."""
    random = Random(f"tower/{settings.seed}")
    pictures = np.empty((settings.pictures, SIZE, SIZE, 3), np.uint8)
    labels = torch.arange(settings.pictures) % len(THINGS)
    for number in tqdm(range(settings.pictures), desc="pictures"):
        pictures[number] = np.asarray(draw_varied(THINGS[number % len(THINGS)], random))
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), labels


def _vary(pictures: torch.Tensor, processor: InternVLProcessor, generator: torch.Generator) -> torch.Tensor:
    """Changes colours, contrast and shape at random, then normalises."""
    values, count = pictures / 255, len(pictures)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    greyness = random(count, 1, 1, 1) * (random(count, 1, 1, 1) < 0.6)
    values = greyness * values.mean(dim=1, keepdim=True) + (1 - greyness) * values
    order = random(count, 3).argsort(dim=1)[:, :, None, None].expand_as(values)
    values = torch.where(random(count, 1, 1, 1) < 0.3, values.gather(1, order), values)
    values = (values - 0.5) * (0.6 + 0.7 * random(count, 1, 1, 1)) + 0.5 + 0.3 * (random(count, 3, 1, 1) - 0.5)
    values = _warp(values, 2 * random(count, 2, 3) - 1)
    noise = torch.randn(values.shape, generator=generator) * 0.06 * random(count, 1, 1, 1)
    return _normalise((values + noise).clamp(0, 1), processor)


def _warp(values: torch.Tensor, random: torch.Tensor) -> torch.Tensor:
    """Stretches, shears and shifts every picture by (n, 2, 3) numbers of -1..1; sets draw one thing in many shapes."""
    amount = torch.tensor([0.15, 0.15, 0.08])
    grid = nn.functional.affine_grid(torch.eye(2, 3) + random * amount, list(values.shape), align_corners=False)
    return nn.functional.grid_sample(values, grid, padding_mode="border", align_corners=False)


def _normalise(values: torch.Tensor, processor: InternVLProcessor) -> torch.Tensor:
    """0..1 -> what the processor would give the model."""
    mean = torch.tensor(processor.image_processor.image_mean)[:, None, None]
    deviation = torch.tensor(processor.image_processor.image_std)[:, None, None]
    return (values - mean) / deviation


def _start_from_components(
    model: InternVLForConditionalGeneration, processor: InternVLProcessor, pictures: torch.Tensor, seed: int
) -> None:
    """Sets the patch embedding to the leading principal components of patches, each scaled to the same spread."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(pictures), (min(_VARIED, 4 * len(pictures)),), generator=generator)
    weight = model.model.vision_tower.embeddings.patch_embeddings.projection.weight
    side = weight.shape[-1]
    varied = _vary(pictures[chosen], processor, generator)
    patches = nn.functional.unfold(varied, side, stride=side).transpose(1, 2).flatten(0, 1)
    spread, components = torch.linalg.eigh(patches.T.cov())
    scale = 0.3 / (spread[-len(weight) :] + 0.01).sqrt()
    weight.data.copy_((components[:, -len(weight) :] * scale).T.reshape(weight.shape))


def _similarity(tokens: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
    """Cosine similarity (pictures, things) of what is left without the mean of all names."""
    mean = names.mean(dim=0)
    similarity: torch.Tensor = (
        nn.functional.normalize((tokens - mean).flatten(1), dim=1)
        @ nn.functional.normalize((names - mean).flatten(1), dim=1).T
    )
    return similarity


def _loss(tokens: torch.Tensor, labels: torch.Tensor, names: torch.Tensor, done: float) -> torch.Tensor:
    logits = _similarity(tokens, names) / _TEMPERATURE
    weight = _DISTANCE[0] + done * (_DISTANCE[1] - _DISTANCE[0])
    distance = (tokens - names[labels]).square().mean() / (names - names.mean(dim=0)).square().mean()
    return nn.functional.cross_entropy(logits, labels, label_smoothing=0.05) + weight * distance


def _schedule(step: int, steps: int) -> float:
    decay = 0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2
    return min(1.0, (step + 1) / 30) * decay


def _trainable(model: InternVLForConditionalGeneration) -> dict[str, nn.Parameter]:
    parts = ("model.vision_tower.", "model.multi_modal_projector.")
    return {name: weight for name, weight in model.named_parameters() if name.startswith(parts)}


def _write_state(
    path: Path, settings: TowerSettings, step: int, weights: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Weights and both moments of AdamW, under a temporary name first."""
    tensors = {"step": torch.tensor(step)}
    for name, weight in weights.items():
        tensors[f"weight/{name}"] = weight.detach()
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}/{name}"] = optimizer.state[weight][moment]
    with replace_file(path) as temporary:
        save_file(tensors, temporary, {"settings": json.dumps(asdict(settings))})


def _read_state(
    path: Path, settings: TowerSettings, weights: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> int:
    """The step to go on from: 0 where nothing was saved."""
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as saved:
        found = (saved.metadata() or {}).get("settings")
    if found != json.dumps(asdict(settings)):
        raise MISError(f"{path}: a tower begun with {found}, asked for {asdict(settings)}; remove it to begin anew")
    tensors = load_file(path)
    step = int(tensors["step"])
    for name, weight in weights.items():
        weight.data.copy_(tensors[f"weight/{name}"])
        optimizer.state[weight] = {
            "step": torch.tensor(float(step)),
            "exp_avg": tensors[f"exp_avg/{name}"],
            "exp_avg_sq": tensors[f"exp_avg_sq/{name}"],
        }
    return step
