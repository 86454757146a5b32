"""What differs between families of vision-language models, by `config.model_type`: where parts lie, what is bounded."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor

from mis_dataset.errors import MISError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

Part = Literal["projector", "vision_tower", "language_model"]
Bound = Literal["tiles", "pixels"]


def chatml(image: str) -> str:
    """A chat template: ChatML without a system message of its own, `image` where a picture stands in the text."""
    return (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '" + image + "' }}{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


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
        language_model: name of the language model inside the model; the head beside it belongs to it too.
        vision_tower: name of what turns pixels into features; of some the projector is a part of it.
        projector: names of what turns features into embeddings of the language model, modules and bare weights.
        bound: by what the processor bounds the size of a picture; None: by nothing that holds for two pictures.
        limits: of the paper's evaluation; None: the family keeps its own settings.
        chat_template: instead of the checkpoint's own; None: its own.
    """

    language_model: str
    vision_tower: str
    projector: tuple[str, ...]
    bound: Bound | None
    limits: Limits | None = None
    chat_template: str | None = None


_MERGER = "model.visual.merger"
FAMILIES: dict[str, Family] = {
    "internvl": Family(
        "model.language_model", "model.vision_tower", ("model.multi_modal_projector",), "tiles", Limits(8192, tiles=4)
    ),
    "qwen2_vl": Family(
        "model.language_model",
        "model.visual",
        (_MERGER,),
        "pixels",
        Limits(4096, pixels=(256 * 28 * 28, 1280 * 28 * 28)),
    ),
    "qwen2_5_vl": Family("model.language_model", "model.visual", (_MERGER,), "pixels"),
    "qwen3_vl": Family(
        "model.language_model", "model.visual", (_MERGER, "model.visual.deepstack_merger_list"), "pixels"
    ),
    "llava_onevision": Family(
        "model.language_model",
        "model.vision_tower",
        ("model.multi_modal_projector", "model.image_newline"),
        None,
        chat_template=chatml("<image>"),
    ),
    "idefics3": Family("model.text_model", "model.vision_model", ("model.connector",), "tiles"),
    "smolvlm": Family("model.text_model", "model.vision_model", ("model.connector",), "tiles"),
}
"""``config.model_type`` -> its family. An unknown type is refused by name.

Source of the limits: evaluation/inference_vllm.py of DripNowhy/MIS at 9cd94ec, where those of Qwen2-VL reach only the
chat template. LLaVA-OneVision's own template puts all pictures before all texts, so that "Image-1: " names nothing, and
begins a response otherwise than it asks for one, so that not what is trained would be asked.
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
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, StrictDataclassError) as error:
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


def part_of(weight: str, family: str) -> Part:
    """Which part of a model a weight belongs to; each belongs to exactly one.

    LLaVA-OneVision's `image_newline`, an embedding that ends each line of a picture, belongs to the projector.

    Args:
        weight: its name in the model, or in PEFT's model around it.
        family: of the model, in `FAMILIES`.

    Raises:
        ModelError: It belongs to none.
    """
    parts = FAMILIES[family]
    places = (parts.projector, (parts.vision_tower,), (parts.language_model, "lm_head"))
    name = weight.removeprefix("base_model.model.") + "."
    # The projector comes first, as it may lie inside the tower.
    for part, inside in zip(get_args(Part), places, strict=True):
        if any(name.startswith(f"{place}.") for place in inside):
            found: Part = part
            return found
    raise ModelError(f"{weight}: is in no part of {family} that is known; name its part in trainer/families.py")


def lora_targets(family: str, layers: str) -> str:
    """What PEFT's `target_modules` wants for linear layers of the language model: an expression for whole names.

    Args:
        family: in `FAMILIES`.
        layers: an expression for the last part of the names, see `trainer.recipe.LORA_LAYERS`.
    """
    inside = FAMILIES[family].language_model.replace(".", r"\.")
    return rf"{inside}\..*\.{layers}"


def modules_to_save(model: PreTrainedModel) -> list[str]:
    """What PEFT's `modules_to_save` wants for a projector that is trained whole.

    PEFT takes no list of modules, so the one of Qwen3-VL is named by its members, and no bare weight, so
    `image_newline` of LLaVA-OneVision stays as it is.

    Args:
        model: not yet PEFT's, of a family in `FAMILIES`.
    """
    from torch.nn import ModuleList

    modules = dict(model.named_modules())
    names: list[str] = []
    for name in FAMILIES[model.config.model_type].projector:
        module = modules.get(name)
        if isinstance(module, ModuleList):
            names += [f"{name}.{place}" for place in range(len(module))]
        elif module is not None:
            names.append(name)
    return names


def picture_tokens(processor: Any, sizes: list[tuple[int, int]]) -> list[int]:
    """How many tokens each picture of a prompt becomes under the settings of its processor, marks around it included.

    Blank pictures are processed and counted: transformers' own formula, `_get_num_multimodal_tokens`, is not there for
    SmolVLM, and knows nothing of several pictures a prompt, of which LLaVA-OneVision makes fewer tokens than of one.

    Args:
        processor: of a family in `FAMILIES`.
        sizes: width and height of all pictures of one prompt, in pixels.
    """
    blank = [Image.new("RGB", size) for size in sizes]
    shown = processor.image_processor([blank], return_tensors="pt", **getattr(processor, "images_kwargs", {}))
    texts = [processor.replace_image_token(shown, place) for place in range(len(sizes))]
    return [len(ids) for ids in processor.tokenizer(texts, add_special_tokens=False)["input_ids"]]


def most_tokens(folder: Path) -> int | None:
    """Most tokens of prompt and response: its family's limit, or what it has positions for; None: no limit is known.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `FAMILIES`.
    """
    limits = parts_of(folder).limits
    text = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    return min(limits.tokens, text.max_position_embeddings) if limits else None


def picture_limits(folder: Path) -> dict[str, Any]:
    """Settings of the checkpoint's image processor that the limits of the paper's evaluation change: name -> value.

    Empty where its own are within them, as those of MIS-mini's models, which have one tile.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `FAMILIES`.
    """
    limits = parts_of(folder).limits
    return _limited(folder, limits) if limits else {}


def training_limits(folder: Path, max_tiles: int | None = None, max_pixels: int | None = None) -> dict[str, Any]:
    """As `picture_limits`, by the bounds that a recipe names; empty where it names none.

    Args:
        folder: the checkpoint.
        max_tiles: most tiles of a picture, its small whole not counted; of InternVL, Idefics3 and SmolVLM. The latter
            two bound rows and columns, so that 8 tiles are as 4 there.
        max_pixels: most pixels of a picture; of Qwen's.

    Raises:
        ModelError: No checkpoint lies there, its family is not in `FAMILIES`, or is bounded by something else.
    """
    family = family_of(folder)
    bound = FAMILIES[family].bound
    for name, most in (("tiles", max_tiles), ("pixels", max_pixels)):
        if most is not None and name != bound:
            use = f"use max_{bound}" if bound else "each of two pictures is one tile already, so leave it out"
            raise ModelError(f"{folder}: max_{name} does not bound the pictures of {family}; {use}")
    return _limited(folder, Limits(0, max_tiles, None if max_pixels is None else (0, max_pixels)))


def _limited(folder: Path, limits: Limits) -> dict[str, Any]:
    with broken(folder):
        own = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
        if limits.pixels is not None:
            return _fewer_pixels(own.size, *limits.pixels)
        if limits.tiles is None:
            return {}
        if hasattr(own, "max_patches"):
            return {"max_patches": limits.tiles} if own.max_patches > limits.tiles else {}
        edge = isqrt(limits.tiles) * own.max_image_size["longest_edge"]
        return {"size": {"longest_edge": edge}} if own.size["longest_edge"] > edge else {}


def _fewer_pixels(own: Any, least: int, most: int) -> dict[str, Any]:
    """Qwen's least and most pixels within others; where both cannot hold, a picture is rather small."""
    edges = (own["shortest_edge"], own["longest_edge"])
    most = min(edges[1], most)
    within = (min(max(edges[0], least), most), most)
    return {} if within == edges else {"size": dict(zip(("shortest_edge", "longest_edge"), within, strict=True))}


def limit_pictures(processor: ProcessorMixin, limits: dict[str, Any]) -> None:
    """Sets what `picture_limits` or `training_limits` gave."""
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
