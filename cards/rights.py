"""LICENSE and NOTICE of what is published: terms of weights and pictures, as the checkout's own NOTICE holds them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cards.reading import CardError

ROOT = Path(__file__).resolve().parents[1]
LICENCE, NOTICE = "LICENSE", "NOTICE"
_PICTURES, _ICONS, _MODELS = "Pictures of MIS-mini", "Icons that MIS-mini's base", "Models"
_OURS = "Licensed under the Apache License, Version 2.0 (see LICENSE), but for what stands below with terms of its own."
_AUTHORS = (
    "MIS (Multi-Image Safety) and MIRage are the work of Yi Ding, Lijun Li, Bing Cao and Jing Shao, arXiv 2501.18533.\n"
    "None of their rows, pictures or weights is in here."
)
_RELEASED = """\
MIS (Multi-Image Safety)
The work of Yi Ding, Lijun Li, Bing Cao and Jing Shao, "Rethinking Bottlenecks in Safety Fine-Tuning of Vision
Language Models", arXiv 2501.18533. They published it on the Hugging Face Hub under the Apache License, Version 2.0
(see LICENSE).

Changed: built into Parquet; image placeholders removed from questions; categories under the names of the paper.
Pictures are byte for byte as released, or made smaller where the name of the config says so (max and a number of
pixels). Benign twins, where there are any, were added by whoever built this.

Pictures
  train, easy, hard  Drawn by Stable Diffusion 3.5 Large for the authors; the terms of that model hold for what it
                     draws.
  real               Found on the web by LAION-2B-en-research-safe. Rights are those of who made or shows each; they are
                     not stated picture by picture and were not cleared.
"""
_PARTS = """\
The parts of this dataset have terms of their own; NOTICE names them. No licence is stated for questions and responses,
which were written by models; the terms of those models hold.
"""
_UNPUBLISHED = "Not part of any released model"


def licence() -> str:
    """Text of LICENSE."""
    return (ROOT / LICENCE).read_text("utf-8")


def dataset_notice(name: str) -> str:
    """Text of NOTICE beside MIS-mini.

    Args:
        name: of the dataset.

    Raises:
        CardError: the checkout's NOTICE lacks what it should say.
    """
    return _notice(name, [_section(_PICTURES)])


def model_notice(name: str, language_model: bool) -> str:
    """Text of NOTICE beside weights.

    Args:
        name: of the model.
        language_model: whether they hold a published language model; those of a run at toy size hold none.

    Raises:
        CardError: the checkout's NOTICE lacks what it should say.
    """
    learnt = f"{_PICTURES}, from which the weights learnt; those of Noto Emoji were only tested with"
    parts = [_section(_PICTURES).replace(_PICTURES, learnt, 1), _section(_ICONS)]
    return _notice(name, [*parts, _published(_section(_MODELS))] if language_model else parts)


def released_notice() -> str:
    """Text of NOTICE beside a build of the authors' release; whose its pictures are, as its card says."""
    return _RELEASED


def constructed_licence() -> str:
    """Text of LICENSE beside a constructed dataset."""
    return _PARTS


def constructed_notice(
    name: str,
    models: Iterable[str],
    seeds: Iterable[tuple[str, str]],
    pictures: Iterable[tuple[str, str]],
    found: bool = False,
) -> str:
    """Text of NOTICE beside a constructed dataset.

    Args:
        name: of the dataset.
        models: that wrote and judged.
        seeds: source and licence of each kind of seed.
        pictures: model and licence of each kind of picture.
        found: whether they are photographs that were found; whose each is stands in provenance/pictures.jsonl.
    """
    by = "found" if found else "drawn"
    whose = "\n  Whose each is: provenance/pictures.jsonl" if found else ""
    parts = [
        f"{name}\nMade by models after the method of MIS (arXiv 2501.18533), and no part of it.",
        "Questions and responses\n" + "\n".join(f"  {model}" for model in models),
        "Texts that they were made from\n" + "\n".join(f"  {source}: {terms}" for source, terms in seeds),
        "Pictures\n" + "\n".join(f"  {by} by {model}: {terms}" for model, terms in pictures) + whose,
    ]
    return "\n\n".join(parts) + "\n"


def _notice(name: str, parts: list[str]) -> str:
    owner = next((line for line in _text().splitlines() if line.startswith("Copyright ")), None)
    if owner is None:
        raise CardError(f"{ROOT / NOTICE}: names no owner (Copyright ...); restore it from the repository")
    return "\n\n".join([f"{name}\n{owner}", _OURS, _AUTHORS, *parts]) + "\n"


def _section(head: str) -> str:
    """The paragraph of the checkout's NOTICE that begins so."""
    found = [part for part in _text().strip().split("\n\n") if part.startswith(head)]
    if len(found) != 1:
        raise CardError(f"{ROOT / NOTICE}: has no one part that begins with {head!r}; restore it from the repository")
    return found[0]


def _published(section: str) -> str:
    """A section without the entries of what is in no released model; an entry begins with two spaces, and no more."""
    head, *lines = section.splitlines()
    entries: list[list[str]] = []
    for line in lines:
        if line[2:3] != " ":
            entries.append([])
        entries[-1].append(line)
    kept = [entry for entry in entries if _UNPUBLISHED not in " ".join(map(str.strip, entry))]
    return "\n".join([head, *(line for entry in kept for line in entry)])


def _text() -> str:
    return (ROOT / NOTICE).read_text("utf-8")
