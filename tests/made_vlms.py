"""Tiny checkpoints of every family in `trainer.families`, made by code: real architectures, random weights.

A picture of 64 px becomes 4 to 24 tokens. Sizes are a tenth of the real ones; what is peculiar to a family is there:
tiles, grids of any shape, rotary positions in three dimensions, features put into several layers. Nothing is trained,
so what such a model says means nothing. Chat templates are stand-ins of the shape of the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from tests.made_checkpoints import CHATML, Says, make_tokenizer, save
from trainer.families import chatml

END, UTTERANCE_END = "<|im_end|>", "<end_of_utterance>"
"""What ends a turn: of ChatML, and of Idefics3 and SmolVLM."""
QWEN = (*CHATML, "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
LLAVA = (*CHATML, "<image>", "<video>")
IDEFICS = (
    *("<image>", "<fake_token_around_image>", "<global-img>", UTTERANCE_END),
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)
INTERNVL = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
QWEN_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nA stand-in.<|im_end|>\\n' }}{% endif %}"
) + chatml("<|vision_start|><|image_pad|><|vision_end|>")
"""A system message where none is given."""
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ '\\n' + part['text'] }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Pictures before all texts, and a space before a response that the prompt for one lacks, as in the released one."""
IDEFICS_TEMPLATE = (
    "{{ 'BEGIN' }}{% for message in messages %}{{ message['role'] | capitalize + ':' }}"
    "{% if message['content'][0]['type'] != 'image' %}{{ ' ' }}{% endif %}"
    "{% for part in message['content'] %}{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "{{ '<end_of_utterance>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_SPREAD = 0.2
"""Of the weights: ten times that of an untrained model, so that two prompts have clearly different logits."""


def make_vlm(folder: Path, family: str, seed: int = 0) -> Path:
    """A checkpoint as `trainer.models.load` reads it, with all its files.

    Args:
        folder: to write.
        family: of `trainer.families.FAMILIES`.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    model, processor = _MAKERS[family]()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, _SPREAD)
    tokenizer = processor.tokenizer
    model.generation_config = hf.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return save(folder, model, processor, UTTERANCE_END if UTTERANCE_END in tokenizer.get_vocab() else END)


def _internvl() -> tuple[Any, Any]:
    """InternVL2.5 and 3: up to 4 tiles of 28 px and the small whole, a token each."""
    tokenizer = _chatml(CHATML, extra_special_tokens=INTERNVL)
    size = {"height": 28, "width": 28}
    processor = hf.InternVLProcessor(
        hf.GotOcr2ImageProcessor(size=size, min_patches=1, max_patches=4, crop_to_patches=True),
        tokenizer,
        hf.InternVLVideoProcessor(size=size),
        image_seq_length=1,
        chat_template=chatml("<IMG_CONTEXT>"),
    )
    vision = hf.InternVLVisionConfig(**_TOWER, image_size=[28, 28], patch_size=[14, 14], layer_scale_init_value=1.0)
    config = hf.InternVLConfig(
        vision_config=vision,
        text_config=hf.Qwen2Config(**_text(tokenizer)),
        image_token_id=processor.image_token_id,
        image_seq_length=1,
        tie_word_embeddings=False,
    )
    return hf.InternVLForConditionalGeneration(config), processor


def _qwen2_vl() -> tuple[Any, Any]:
    """Rotary positions in three dimensions; a token for 16 x 16 pixels, 4 at most."""
    processor = hf.Qwen2VLProcessor(*_qwen_parts(8), chat_template=QWEN_TEMPLATE)
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8}
    text = _text(processor.tokenizer, rope_parameters={"rope_type": "default", "mrope_section": [2, 3, 3]})
    config = hf.Qwen2VLConfig(vision_config=vision, text_config=text, **_qwen_ids(processor.tokenizer))
    return hf.Qwen2VLForConditionalGeneration(config), processor


def _qwen2_5_vl() -> tuple[Any, Any]:
    """As Qwen2-VL, with a tower that looks through windows."""
    processor = hf.Qwen2_5_VLProcessor(*_qwen_parts(8), chat_template=QWEN_TEMPLATE)
    vision: dict[str, Any] = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 8}
    vision |= {"out_hidden_size": 32, "window_size": 16, "fullatt_block_indexes": [1]}
    text = _text(processor.tokenizer, rope_parameters={"rope_type": "default", "mrope_section": [2, 3, 3]})
    config = hf.Qwen2_5_VLConfig(vision_config=vision, text_config=text, **_qwen_ids(processor.tokenizer))
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


def _qwen3_vl() -> tuple[Any, Any]:
    """Features of two layers of the tower go into the first two of three layers of the language model; a tied head."""
    processor = hf.Qwen3VLProcessor(*_qwen_parts(16, hf.Qwen3VLVideoProcessor), chat_template=QWEN_TEMPLATE)
    vision: dict[str, Any] = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 16}
    vision |= {"out_hidden_size": 32, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
    rope = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True, "rope_theta": 5e6}
    text = _text(processor.tokenizer, num_hidden_layers=3, head_dim=16, rope_parameters=rope, tie_word_embeddings=True)
    config = hf.Qwen3VLConfig(
        vision_config=vision, text_config=text, tie_word_embeddings=True, **_qwen_ids(processor.tokenizer)
    )
    return hf.Qwen3VLForConditionalGeneration(config), processor


def _llava_onevision() -> tuple[Any, Any]:
    """One picture is cut into a grid of tiles with an embedding at each line's end; of several, each is one tile."""
    tokenizer, size = _chatml(LLAVA), {"height": 28, "width": 28}
    grids = [[28, 28], [28, 56], [56, 28], [56, 56]]
    processor = hf.LlavaOnevisionProcessor(
        hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grids),
        tokenizer,
        hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=LLAVA_TEMPLATE,
    )
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**_TOWER, image_size=28, patch_size=14, vision_use_head=False),
        text_config=hf.Qwen2Config(**_text(tokenizer)),
        image_token_index=processor.image_token_id,
        video_token_index=processor.video_token_id,
        image_grid_pinpoints=grids,
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


def _idefics3() -> tuple[Any, Any]:
    """Tiles of 28 px, one token each, named by row and column; a picture has 2 x 2 and its small whole."""
    tokenizer = _utterances("<|begin_of_text|>", "<|end_of_text|>")
    processor = hf.Idefics3Processor(
        hf.Idefics3ImageProcessor(size={"longest_edge": 56}, max_image_size={"longest_edge": 28}),
        tokenizer,
        image_seq_len=1,
        chat_template=IDEFICS_TEMPLATE.replace("BEGIN", "<|begin_of_text|>"),
    )
    vision = hf.Idefics3VisionConfig(**_TOWER, image_size=28, patch_size=14)
    text = hf.LlamaConfig(**_text(tokenizer))
    config = hf.Idefics3Config(vision_config=vision, text_config=text, image_token_id=processor.image_token_id)
    return hf.Idefics3ForConditionalGeneration(config), processor


def _smolvlm() -> tuple[Any, Any]:
    """As Idefics3, with a tied head and a ChatML token as the first."""
    tokenizer, largest = _utterances("<|im_start|>", "<|im_end|>"), {"longest_edge": 28}
    processor = hf.SmolVLMProcessor(
        hf.SmolVLMImageProcessor(size={"longest_edge": 56}, max_image_size=largest),
        tokenizer,
        hf.SmolVLMVideoProcessor(size={"longest_edge": 56}, max_image_size=largest),
        image_seq_len=1,
        chat_template=IDEFICS_TEMPLATE.replace("BEGIN", "<|im_start|>"),
    )
    vision = hf.SmolVLMVisionConfig(**_TOWER, image_size=28, patch_size=14)
    text = hf.LlamaConfig(**_text(tokenizer), tie_word_embeddings=True)
    image = processor.image_token_id
    config = hf.SmolVLMConfig(vision_config=vision, text_config=text, image_token_id=image, tie_word_embeddings=True)
    return hf.SmolVLMForConditionalGeneration(config), processor


_MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "internvl": _internvl,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "llava_onevision": _llava_onevision,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
}


def _chatml(special: tuple[str, ...], **named: Any) -> hf.PreTrainedTokenizerFast:
    return make_tokenizer(special, Says("Yes."), eos_token=END, pad_token="<|endoftext|>", **named)


def _utterances(begin: str, pad: str) -> hf.PreTrainedTokenizerFast:
    """A tokenizer that puts `begin` first."""
    special = (begin, pad, *IDEFICS)
    return make_tokenizer(special, Says("Yes."), bos_token=begin, eos_token=UTTERANCE_END, pad_token=pad)


def _qwen_parts(patch: int, video: Any = hf.Qwen2VLVideoProcessor) -> tuple[Any, Any, Any]:
    """Image processor, tokenizer and video processor: 4 tokens for a picture of 64 px, as at most."""
    token = (2 * patch) ** 2
    size = {"patch_size": patch, "size": {"shortest_edge": token, "longest_edge": 4 * token}}
    return hf.Qwen2VLImageProcessor(**size), _chatml(QWEN), video(**size)


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    named = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in named.items()}


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    """Sizes of a tiny language model with grouped heads."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    } | more
