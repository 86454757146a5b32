"""What differs between families of vision-language models, by `config.model_type`: where parts lie, what is bounded."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers import AutoConfig, AutoImageProcessor

from mis_dataset.errors import MISError

if TYPE_CHECKING:
    from transformers import ProcessorMixin


class Limits(NamedTuple):
    """How large prompts may become when a family is asked, so that models are compared on the same pictures.

    Attributes:
        tokens: of prompt and response together.
        tiles: most tiles of a picture, its small whole not counted.
        pixels: least and most of a picture.
    """

    tokens: int
    tiles: int | None = None
    pixels: tuple[int, int] | None = None


class Family(NamedTuple):
    """One family.

    Attributes:
        language_model: name of the language model inside the model.
        vision_tower: name of what turns pixels into features; of some the projector is a part of it.
        projector: names of what turns features into embeddings of the language model.
        limits: of the paper's evaluation; None: the family keeps its own settings.
    """

    language_model: str
    vision_tower: str
    projector: tuple[str, ...]
    limits: Limits | None = None


FAMILIES: dict[str, Family] = {
    "internvl": Family(
        "model.language_model", "model.vision_tower", ("model.multi_modal_projector",), Limits(8192, tiles=4)
    ),
    "qwen2_vl": Family(
        "model.language_model",
        "model.visual",
        ("model.visual.merger",),
        Limits(4096, pixels=(256 * 28 * 28, 1280 * 28 * 28)),
    ),
    "qwen2_5_vl": Family("model.language_model", "model.visual", ("model.visual.merger",)),
    "qwen3_vl": Family(
        "model.language_model", "model.visual", ("model.visual.merger", "model.visual.deepstack_merger_list")
    ),
    "llava_onevision": Family("model.language_model", "model.vision_tower", ("model.multi_modal_projector",)),
    "idefics3": Family("model.text_model", "model.vision_model", ("model.connector",)),
    "smolvlm": Family("model.text_model", "model.vision_model", ("model.connector",)),
}
"""``config.model_type`` -> its family. An unknown type is refused by name.

Source of the limits: evaluation/inference_vllm.py of DripNowhy/MIS at 9cd94ec, where those of Qwen2-VL reach only the
chat template.
"""
GUARDS: dict[str, int | None] = {"llama": 0, "mllama": 1, "llama4": None}
"""``config.model_type`` of Llama Guard 3, 3 Vision and 4 -> how many pictures it takes; None: any number."""
_REMOTE = {
    "internvl_chat": "its code comes with the checkpoint; turn it into a native one with `python -m trainer convert`",
    "minicpmv": "its code comes with the checkpoint, which is not run; MiniCPM-V 2.6 has no native counterpart",
}
"""``model_type`` of checkpoints whose code is remote -> what to do."""


class ModelError(MISError):
    """A model folder is missing, incomplete or of a family that nothing here knows."""


def parts_of(folder: Path) -> Family:
    """The family of the checkpoint in `folder`.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `FAMILIES`.
    """
    return FAMILIES[family_of(folder)]


def family_of(folder: Path, known: Collection[str] = FAMILIES) -> str:
    """``config.model_type`` of the checkpoint in `folder`.

    Args:
        folder: the checkpoint.
        known: the types that are allowed.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `known`.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ModelError(f"{folder}: no checkpoint lies there (config.json is missing)")
    said = _said_family(path)
    if said in _REMOTE:
        raise ModelError(f"{folder}: model type {said!r} is not native: {_REMOTE[said]}")
    try:
        family: str = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder}: config.json names no model that transformers knows ({error})") from error
    if family not in known:
        raise ModelError(f"{folder}: model type {family!r} is not known; known are {', '.join(known)}")
    return family


def _said_family(path: Path) -> str | None:
    """What the file itself says; None where it says nothing that can be read, which transformers then tells."""
    try:
        said = json.loads(path.read_text("utf-8")).get("model_type")
    except (ValueError, AttributeError, RecursionError):
        return None
    return said if isinstance(said, str) else None


def most_tokens(folder: Path) -> int | None:
    """Most tokens of prompt and response: its family's limit, or what it has positions for; None: no limit is known.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `FAMILIES`.
    """
    limits = parts_of(folder).limits
    text = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    return min(limits.tokens, text.max_position_embeddings) if limits else None


def picture_limits(folder: Path) -> dict[str, Any]:
    """Settings of the checkpoint's image processor that its family's limits change: name -> value.

    Empty where its own are within them, as those of MIS-mini's models, which have one tile.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `FAMILIES`.
    """
    limits = parts_of(folder).limits
    if limits is None:
        return {}
    with broken(folder):
        own = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
        if limits.tiles is not None and own.max_patches > limits.tiles:
            return {"max_patches": limits.tiles}
        if limits.pixels is not None:
            edges = (own.size["shortest_edge"], own.size["longest_edge"])
            most = min(edges[1], limits.pixels[1])
            within = (min(max(edges[0], limits.pixels[0]), most), most)
            return (
                {} if within == edges else {"size": dict(zip(("shortest_edge", "longest_edge"), within, strict=True))}
            )
    return {}


def limit_pictures(processor: ProcessorMixin, limits: dict[str, Any]) -> None:
    """Sets what `picture_limits` gave."""
    for name, value in limits.items():
        setattr(processor.image_processor, name, value)


@contextmanager
def broken(folder: Path) -> Iterator[None]:
    """Whatever a library raises while it reads `folder`, which may come from anywhere, is that folder's fault."""
    try:
        yield
    except MISError:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelError(f"{folder}: cannot be read ({found[:300]}); copy or make it anew") from error
