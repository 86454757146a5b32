"""Checkpoints -> models and processors, every weight from the checkpoint's own files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    BitsAndBytesConfig,
)

from trainer.families import GUARDS, ModelError, broken, family_of, parts_of
from trainer.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

Attention = Literal["sdpa", "flash_attention_2"]
"""torch's own kernels, or those of the package flash-attn, which wants a GPU and 16 bits."""


def load(
    folder: Path,
    adapter: Path | None = None,
    *,
    cpu: bool = False,
    float32: bool = False,
    place: bool = True,
    attention: Attention = "sdpa",
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A checkpoint, ready to be asked.

    Args:
        folder: the checkpoint.
        adapter: a PEFT adapter to put on top.
        cpu: on the CPU also where there is a GPU.
        float32: in float32 also where the device has units for bfloat16, see `has_bfloat16_units`.
        place: put it on the device; else it stays in main memory, and who shares it between GPUs cuts it first.
        attention: what computes it.

    Raises:
        ModelError: No checkpoint or adapter lies there, one that is not whole, or of a family not in `FAMILIES`.
    """
    family_of(folder)
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    halved = has_bfloat16_units(device) and not float32
    with broken(folder):
        dtype = torch.bfloat16 if halved else torch.float32
        model = _read_weights(folder, dtype, AutoModelForImageTextToText, attention=attention)
    processor = load_processor(folder)
    if adapter is not None:
        from peft import PeftModel

        with broken(adapter), warnings.catch_warnings():
            warnings.filterwarnings("error", ".*missing adapter keys")  # PEFT would leave them random
            model = PeftModel.from_pretrained(model, adapter)
    return (model.to(device) if place else model).eval(), processor


def load_in_4_bits(folder: Path) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A checkpoint for QLoRA: the linear layers of its language model are held in 4 bits, all else in bfloat16.

    Needs bitsandbytes. Where there is a GPU it lies there.

    Source: arXiv 2305.14314: NormalFloat of 4 bits, its constants quantised too, multiplied in bfloat16.

    Raises:
        ModelError: No checkpoint lies there, one that is not whole, or of a family not in `FAMILIES`.
    """
    parts = parts_of(folder)
    held = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=[parts.vision_tower, *parts.projector, "lm_head"],
    )
    with broken(folder):
        model = _read_weights(folder, torch.bfloat16, AutoModelForImageTextToText, held)
    return model.eval(), load_processor(folder)


def load_guard(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | ProcessorMixin]:
    """Llama Guard, ready to be asked: with a tokenizer where it takes no pictures, else with a processor.

    Raises:
        ModelError: No checkpoint lies there, one that is not whole, or of a family not in `GUARDS`.
    """
    reads_only = guard_pictures(folder) == 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if has_bfloat16_units(device) else torch.float32
    with broken(folder):
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
    """The processor of a checkpoint, with the chat template of its family where that has one.

    Raises:
        ModelError: It cannot be read, has no chat template, or is of a family not in `FAMILIES`.
    """
    template = parts_of(folder).chat_template
    with broken(folder):
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        if family_of(folder) == "internvl" and processor.image_processor.max_patches > 1:
            # InternVL was trained on tiles that Pillow resized; torchvision, which comes first here, rounds otherwise.
            processor.image_processor = AutoImageProcessor.from_pretrained(
                folder, backend="pil", trust_remote_code=False
            )
        processor.tokenizer.padding_side = "left"
        processor.chat_template = template or processor.chat_template
        processor.apply_chat_template([{"role": "user", "content": "Hello"}])
    return processor


def take_device(number: int) -> None:
    """Makes `load` put models on this GPU of the machine, where there is more than one."""
    if torch.cuda.device_count() > 1:
        torch.cuda.set_device(number)


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether bfloat16 is multiplied in hardware there, and not imitated; of CPUs those with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(torch.cpu.get_capabilities().get(unit) for unit in ("amx_bf16", "avx512_bf16"))


def place_of(model: PreTrainedModel, device: torch.device | None = None) -> str:
    """Device and number format of the weights, such as ``cpu/float32``: what results depend on beside the input.

    Args:
        model: whose weights.
        device: where they will be; None: where they are.
    """
    return f"{(device or model.device).type}/{str(model.dtype).removeprefix('torch.')}"


def _read_weights(
    folder: Path,
    dtype: torch.dtype,
    auto: Any,
    held: BitsAndBytesConfig | None = None,
    attention: Attention = "sdpa",
) -> Any:
    """The model of a checkpoint, every weight from its files: transformers would start a missing one at random."""
    settings = folder / "generation_config.json"
    if settings.is_file():
        read_json(settings)  # transformers would go on without one that is broken, and know no end of a text
    model, found = auto.from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=held,
        use_safetensors=True,
        output_loading_info=True,
        # Without the two, transformers would ask whether to run code of the folder, or fetch a kernel that it names.
        trust_remote_code=False,
        attn_implementation=attention,
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
