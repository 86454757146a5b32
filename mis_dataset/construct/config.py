"""A file of settings -> how a construction goes: seeds, models, budget, quotas.

    seeds: [seeds.jsonl, {hub: OWNER/NAME, text: prompt}]    # beside this file, or a dataset
    objects: 2                    # pictures of a row
    blocks: true                  # rows come in twos, see `blocks`
    budget: {calls: 10000, money: 20.0}
    quotas: {test_hard: 40}       # rows of one category, at most
    licence: CC0-1.0              # of what the drawing model makes
    text: {model: some-llm, prices: [2.5, 10.0]}
    vision: {model: some-vlm}
    drawing: {model: draws, prices: [0, 0, 0.04]}
    judges: [{model: one}, {model: another}]
    second: {model: another}      # a second opinion of every row, see `experts.Together`
    experts: {nsfw: 0.8, letters: 3, near: 0.9, against: [MIS]}    # those that run here; MIS lies beside this file
    review: review.csv            # what people said of rows, beside this file

Every table of a model takes the fields of `mis_dataset.remote.settings.Settings` but `version` and `budget`; that of
drawing those of its engine where it names one: `engine: diffusers` (`Diffusion`), `engine: folder` (`Photographs`) or
`engine: dataset` (`PhotoSet`). A table of seeds takes those of `HubSeeds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mis_dataset.construct import diffusion, photo_sets, shelves
from mis_dataset.construct.diffusion import Diffusion
from mis_dataset.construct.hub_seeds import HubSeeds, hub_seeds
from mis_dataset.construct.local_experts import Local, read_local
from mis_dataset.construct.photo_sets import PhotoSet
from mis_dataset.construct.prompts import PROMPT_VERSION, digest
from mis_dataset.construct.shelves import Photographs
from mis_dataset.errors import MISError, UsageError
from mis_dataset.flat_yaml import read_flat_yaml
from mis_dataset.remote.settings import Budget, Prices, Settings
from mis_dataset.schema import MOST_IMAGES

_MODELS = ("text", "vision", "drawing")
_WHOLE = {"objects": (2, MOST_IMAGES), "per_seed": (1, 20), "rounds": (1, 10), "seed": (0, 2**31), "at_once": (1, 512)}
"""Setting -> the least and the most that make sense."""
_SPLITS = ("train", "test_easy", "test_hard", "test_real")
_ENGINES: dict[str, type[Diffusion] | type[Photographs] | type[PhotoSet]] = {
    diffusion.ENGINE: Diffusion,
    shelves.ENGINE: Photographs,
    photo_sets.ENGINE: PhotoSet,
}
"""Of drawing here; without one an endpoint draws."""


@dataclass(frozen=True)
class Config:
    """How a construction goes.

    Attributes:
        seeds: files and datasets, see `seeds.read_seeds`.
        text: a language model.
        vision: a model that sees pictures.
        drawing: a model that draws, there or here, or a folder or dataset of photographs.
        judges: two models that see pictures and judge labels; one may be `vision`, see `own_judges`.
        second: a model that sees pictures and judges every row as `vision` does; None: nobody but `vision` does.
        objects: pictures of a row.
        blocks: whether hard rows come in balanced blocks of two, see `blocks`.
        per_seed: ideas of a seed, at most.
        rounds: how often the pictures of a row are drawn, at most.
        size: of a picture.
        seed: another one draws other pictures.
        licence: of the pictures.
        quotas: split -> rows of one category, at most.
        budget: of all models together.
        experts: those that run here.
        review: file of what people said of rows, see `review.read_reviews`.
        at_once: calls that are under way at once, of all models together; of one model, at most its `in_flight`.
    """

    seeds: tuple[Path | HubSeeds, ...]
    text: Settings
    vision: Settings
    drawing: Settings | Diffusion | Photographs | PhotoSet
    judges: tuple[Settings, ...]
    second: Settings | None = None
    objects: int = 2
    blocks: bool = True
    per_seed: int = 2
    rounds: int = 2
    size: str = "512x512"
    seed: int = 0
    licence: str = ""
    quotas: Mapping[str, int] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    experts: Local = field(default_factory=Local)
    review: Path | None = None
    at_once: int = 64


def read_config(path: Path) -> Config:
    """Reads a file of settings.

    Raises:
        MISError: It is none, or a setting is missing, unknown or out of range; the text names all that are.
    """
    found = read_flat_yaml(path)
    names = {one.name for one in fields(Config)}
    faults = [f"{name} is no setting of a construction" for name in found if name not in names]
    faults += [f"{name} is missing" for name in ("seeds", *_MODELS, "judges") if name not in found]
    if not faults:
        faults = [fault for name, value in found.items() if (fault := _fault(name, value))]
    if faults:
        raise UsageError("\n".join(f"{path}: {fault}" for fault in faults))
    if zero := next((name for name, value in found.items() if _has_zero(value)), None):
        raise UsageError(f"{path}: {zero} holds a zero byte, which no name of a file or a model has; take it out")
    try:
        budget = Budget(**found.get("budget", {}))
        text, vision = (_settings(name, found[name], budget) for name in ("text", "vision"))
        drawing = _drawing(found["drawing"], budget, path.parent)
        if isinstance(drawing, Diffusion):
            diffusion.size_of(found.get("size", Config.size))
        judges = tuple(_settings("judges", one, budget) for one in found["judges"])
        _refuse_same(judges, "judges")
        second = _settings("second", found["second"], budget) if "second" in found else None
        if second:
            _refuse_same((vision, second), "vision and second")
        experts = read_local(found.get("experts", {}), path.parent)
    except (TypeError, ValueError, MISError) as error:
        raise UsageError(f"{path}: {error}") from error
    seeds = tuple(_seeds(one, path.parent) for one in found["seeds"])
    review = path.parent / found["review"] if "review" in found else None
    read = {"seeds", "budget", "judges", "second", "experts", "review", *_MODELS}
    others = {name: found[name] for name in names - read if name in found}
    return Config(seeds, text, vision, drawing, judges, second, budget=budget, experts=experts, review=review, **others)


def engine_of(drawing: Settings | Diffusion | Photographs | PhotoSet) -> str:
    """Name of the engine that gives pictures; empty where an endpoint draws."""
    return next((name for name, kind in _ENGINES.items() if isinstance(drawing, kind)), "")


def own_judges(config: Config) -> list[int]:
    """Places of the judges, from 1, that are the model which writes the labels, and so judge words of their own."""
    return [place for place, one in enumerate(config.judges, start=1) if _which(one) == _which(config.vision)]


def _which(model: Settings) -> tuple[str, str]:
    return model.base_url.rstrip("/"), model.model


def _has_zero(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_zero, value.values()))
    return "\0" in value if isinstance(value, str) else isinstance(value, list) and any(map(_has_zero, value))


def _refuse_same(models: tuple[Settings, ...], names: str) -> None:
    """Refuses one model in two places: its second reply would be its first, or hardly another."""
    if len(set(map(_which, models))) < len(models):
        raise ValueError(f"{names}: both are {models[0].model} at one address; name two models")


def _fault(name: str, value: Any) -> str:
    """What is wrong with a setting; empty for nothing."""
    if name in _WHOLE:
        least, most = _WHOLE[name]
        right = type(value) is int and least <= value <= most
        return "" if right else f"{name} is no whole number from {least} to {most}"
    if name == "blocks":
        return "" if isinstance(value, bool) else "blocks is neither true nor false"
    if name in ("size", "licence", "review"):
        return "" if isinstance(value, str) and (value or name != "review") else f"{name} is no text"
    if name in ("seeds", "judges"):
        kind, what = ((str, dict), "names of files and tables") if name == "seeds" else ((dict,), "tables")
        if not isinstance(value, list) or not value or not all(isinstance(one, kind) for one in value):
            return f"{name} is no list of {what}"
        return "judges are two" if name == "judges" and len(value) != 2 else ""
    if not isinstance(value, dict):
        return f"{name} is no table" + ", such as {model: some-vlm}" * (name in (*_MODELS, "second"))
    if name == "quotas":
        wrong = [key for key, most in value.items() if key not in _SPLITS or type(most) is not int or most < 0]
        return f"quotas: {wrong[0]} is none of {', '.join(_SPLITS)}, or its number is none" if wrong else ""
    return ""


def _seeds(one: str | Mapping[str, Any], folder: Path) -> Path | HubSeeds:
    """A file, or a dataset; a local one may stand beside the file of settings."""
    return folder / one if isinstance(one, str) else hub_seeds(_beside(one, "hub", folder))


def _drawing(table: Mapping[str, Any], budget: Budget, folder: Path) -> Settings | Diffusion | Photographs | PhotoSet:
    if "engine" not in table:
        return _settings("drawing", table, budget)
    engine = _ENGINES.get(str(table["engine"]))
    if engine is None:
        raise ValueError(f"drawing: engine is none of {', '.join(_ENGINES)}; leave it out where an endpoint draws")
    told = {name: value for name, value in table.items() if name != "engine"}
    unknown = sorted(set(told) - {one.name for one in fields(engine)})
    if unknown:
        raise ValueError(f"drawing: {unknown[0]} is no setting of the engine {table['engine']}")
    for name in ("model", "folder", "hub"):
        told = _beside(told, name, folder)
    try:
        return engine(**told)
    except (TypeError, MISError) as error:
        raise ValueError(f"drawing: {error}") from error


def _beside(table: Mapping[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """A table in which a folder that stands beside the file of settings has its path."""
    value = table.get(name)
    there = isinstance(value, str) and value and (folder / value).is_dir()
    return dict(table) | ({name: str(folder / str(value))} if there else {})


def _settings(name: str, table: Mapping[str, Any], budget: Budget) -> Settings:
    unknown = sorted(set(table) - {one.name for one in fields(Settings)} | set(table) & {"version", "budget"})
    if unknown:
        raise ValueError(f"{name}: {unknown[0]} is no setting of a model")
    prices = table.get("prices")
    if prices is not None and not (isinstance(prices, list) and 2 <= len(prices) <= 3):
        raise ValueError(f"{name}: prices are two numbers, of a million tokens in and out, and perhaps one of a call")
    told = dict(table) | ({"prices": Prices(*prices)} if prices else {})
    try:
        return Settings(**told, version=f"{PROMPT_VERSION} {digest()[:12]}", budget=budget)
    except (TypeError, MISError) as error:
        raise ValueError(f"{name}: {error}") from error
