"""Checkpoints -> models and processors; what differs between model families stands in `FAMILIES`."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
)

from mis_dataset.errors import MISError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

FAMILIES: dict[str, dict[str, str]] = {
    "internvl": {
        "language_model": "model.language_model",
        "projector": "model.multi_modal_projector",
        "vision_tower": "model.vision_tower",
    },
}
"""``config.model_type`` -> where its parts lie. An unknown type is refused by name."""
GUARDS: dict[str, int | None] = {"llama": 0, "mllama": 1, "llama4": None}
"""``config.model_type`` of Llama Guard 3, 3 Vision and 4 -> how many pictures it takes; None: any number."""


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


LIMITS: dict[str, Limits] = {
    "internvl": Limits(8192, tiles=4),
    "qwen2_vl": Limits(4096, pixels=(256 * 28 * 28, 1280 * 28 * 28)),
}
"""``config.model_type`` -> its limits; families that are not here keep their own settings.

Source: evaluation/inference_vllm.py of DripNowhy/MIS at 9cd94ec, where those of Qwen2-VL reach only the chat template.
"""


class ModelError(MISError):
    """A model folder is missing, incomplete or of a family that nothing here knows."""


def load(
    folder: Path, adapter: Path | None = None, *, cpu: bool = False, float32: bool = False
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A checkpoint, ready to be asked.

    Args:
        folder: the checkpoint.
        adapter: a PEFT adapter to put on top.
        cpu: on the CPU also where there is a GPU.
        float32: in float32 also where the device has units for bfloat16, see `has_bfloat16_units`.

    Raises:
        ModelError: No checkpoint or adapter lies there, one that is not whole, or of a family not in `FAMILIES`.
    """
    part_of(folder, "language_model")
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    halved = has_bfloat16_units(device) and not float32
    with _broken(folder):
        model = _read_weights(folder, torch.bfloat16 if halved else torch.float32, AutoModelForImageTextToText)
    processor = load_processor(folder)
    if adapter is not None:
        from peft import PeftModel

        with _broken(adapter), warnings.catch_warnings():
            warnings.filterwarnings("error", ".*missing adapter keys")  # PEFT would leave them random
            model = PeftModel.from_pretrained(model, adapter)
    return model.to(device).eval(), processor


def load_guard(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | ProcessorMixin]:
    """Llama Guard, ready to be asked: with a tokenizer where it takes no pictures, else with a processor.

    Raises:
        ModelError: No checkpoint lies there, one that is not whole, or of a family not in `GUARDS`.
    """
    reads_only = guard_pictures(folder) == 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if has_bfloat16_units(device) else torch.float32
    with _broken(folder):
        model = _read_weights(folder, dtype, AutoModelForCausalLM if reads_only else AutoModelForImageTextToText)
        auto = AutoTokenizer if reads_only else AutoProcessor
        processor = auto.from_pretrained(folder, trust_remote_code=False)
        tokenizer = tokenizer_of(processor)
        tokenizer.padding_side = "left"
        # Llama's own tokenizers name none; what is padded is masked, so which token it is does not matter.
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return model.to(device).eval(), processor


def guard_pictures(folder: Path) -> int | None:
    """How many pictures the Llama Guard in `folder` takes; None: any number.

    Raises:
        ModelError: No checkpoint lies there, or it is of a family not in `GUARDS`.
    """
    return GUARDS[family_of(folder, GUARDS)]


def tokenizer_of(processor: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a processor, or what already is one."""
    return getattr(processor, "tokenizer", processor)


def control_tokens(processor: Any) -> tuple[str, ...]:
    """What must not stand in a text of others, see `mis_dataset.chat.disarm`: all added tokens but runs of blanks."""
    added = tokenizer_of(processor).added_tokens_encoder
    return tuple(sorted((token for token in added if len(token.strip()) > 1), key=len, reverse=True))


def load_processor(folder: Path) -> ProcessorMixin:
    """The processor of a checkpoint.

    Raises:
        ModelError: It cannot be read, or has no chat template.
    """
    with _broken(folder):
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        if family_of(folder) == "internvl" and processor.image_processor.max_patches > 1:
            # InternVL was trained on tiles that Pillow resized; torchvision, which comes first here, rounds otherwise.
            processor.image_processor = AutoImageProcessor.from_pretrained(
                folder, backend="pil", trust_remote_code=False
            )
        processor.tokenizer.padding_side = "left"
        processor.apply_chat_template([{"role": "user", "content": "Hello"}])
    return processor


def most_tokens(folder: Path) -> int | None:
    """Most tokens of prompt and response by `LIMITS`, or what the model has positions for; None where it is no matter.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `FAMILIES`.
    """
    limits = LIMITS.get(family_of(folder))
    text = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    return min(limits.tokens, text.max_position_embeddings) if limits else None


def picture_limits(folder: Path) -> dict[str, Any]:
    """Settings of the checkpoint's image processor that `LIMITS` changes: name -> value.

    Empty where its own are within them, as those of MIS-mini's models, which have one tile.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `FAMILIES`.
    """
    limits = LIMITS.get(family_of(folder))
    if limits is None:
        return {}
    with _broken(folder):
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


def take_device(number: int) -> None:
    """Makes `load` put models on this GPU of the machine, where there is more than one."""
    if torch.cuda.device_count() > 1:
        torch.cuda.set_device(number)


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether bfloat16 is multiplied in hardware there, and not imitated; of CPUs those with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(torch.cpu.get_capabilities().get(unit) for unit in ("amx_bf16", "avx512_bf16"))


def place_of(model: PreTrainedModel) -> str:
    """Device and number format of the weights, such as ``cpu/float32``: what results depend on beside the input."""
    return f"{model.device.type}/{str(model.dtype).removeprefix('torch.')}"


@contextmanager
def _broken(folder: Path) -> Iterator[None]:
    """Whatever a library raises while it reads `folder`, which may come from anywhere, is that folder's fault."""
    try:
        yield
    except MISError:
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelError(f"{folder}: cannot be read ({found[:300]}); copy or make it anew") from error


def _read_weights(folder: Path, dtype: torch.dtype, auto: Any) -> Any:
    """The model of a checkpoint, every weight from its files: transformers would start a missing one at random."""
    model, found = auto.from_pretrained(
        folder,
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        # Without the two, transformers would ask whether to run code of the folder, or fetch a kernel that it names.
        trust_remote_code=False,
        attn_implementation="sdpa",
    )
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found[fault]:
            first = sorted(map(str, found[fault]))[0]
            said = f"{len(found[fault])} {fault.replace('_', ' ')} (first: {first})"
            raise ModelError(f"{folder}: its weights are not those of its config.json: {said}; copy or make it anew")
    wrong = next((name for name, weight in model.named_parameters() if not weight.isfinite().all()), None)
    if wrong is not None:
        raise ModelError(f"{folder}: {wrong} holds numbers that are not finite; make it anew")
    return model


def part_of(folder: Path, part: str) -> str:
    """Name of a part (``language_model``, ``projector``, ``vision_tower``) inside the checkpoint in `folder`.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `FAMILIES`.
    """
    return FAMILIES[family_of(folder)][part]


def family_of(folder: Path, known: Collection[str] = FAMILIES) -> str:
    """``config.model_type`` of the checkpoint in `folder`.

    Args:
        folder: the checkpoint.
        known: the types that are allowed.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `known`.
    """
    if not (Path(folder) / "config.json").is_file():
        raise ModelError(f"{folder}: no checkpoint lies there (config.json is missing)")
    try:
        family: str = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder}: config.json names no model that transformers knows ({error})") from error
    if family not in known:
        raise ModelError(f"{folder}: model type {family!r} is not known; known are {', '.join(known)}")
    return family
