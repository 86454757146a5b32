"""``config.json`` of an original InternVL2.5 -> that of transformers' own InternVL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.internvl.layout import Layout, native_language

_SAME_VISION = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels", "patch_size"),
    *("image_size", "hidden_act", "layer_norm_eps", "norm_type", "attention_dropout", "initializer_range"),
)
_SAME_TEXT = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "initializer_range"),
    *("attention_dropout", "bos_token_id", "eos_token_id", "pad_token_id"),
)
_SLIDING = ("use_sliding_window", "sliding_window", "max_window_layers")
"""Of Qwen2 alone."""


def native_config(config: Mapping[str, Any], layout: Layout, image_token: int | None, dtype: str) -> dict[str, Any]:
    """The native ``config.json``, of a model that computes what the original does.

    Args:
        config: of the original, checked by `trainer.internvl.layout.layout_of`.
        layout: of its tensors.
        image_token: id that stands for a token of a picture.
        dtype: number format of the weights, e.g. ``bfloat16``.
    """
    vision, text = config["vision_config"], config["llm_config"]
    tower = {name: vision[name] for name in _SAME_VISION if name in vision} | {
        "model_type": "internvl_vision",
        "image_size": [vision["image_size"]] * 2,
        "patch_size": [vision["patch_size"]] * 2,
        "attention_bias": layout.tower_bias,
        "use_qk_norm": layout.tower_qk_norm,
        "projection_dropout": vision.get("dropout", 0.0),
        "layer_scale_init_value": vision.get("initializer_factor", 0.1),
        # The original takes the last layer as it is, and adds its learnt positions.
        "use_mean_pooling": True,
        "use_absolute_position_embeddings": True,
    }
    language = native_language(layout.language)
    own = {"attention_bias": layout.bias} if language == "llama" else {n: text[n] for n in _SLIDING if n in text}
    spoken = (
        {name: text[name] for name in _SAME_TEXT if name in text}
        | own
        | {
            "model_type": language,
            "rope_parameters": _rope(text),
            "tie_word_embeddings": layout.tied,
        }
    )
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "dtype": dtype,
        "image_token_id": image_token,
        "image_seq_length": layout.tile_tokens,
        "downsample_ratio": config["downsample_ratio"],
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": layout.tied,
        "text_config": spoken,
        "vision_config": tower,
    }


def _rope(text: Mapping[str, Any]) -> dict[str, Any]:
    """Where positions turn, e.g. ``{"type": "dynamic", "factor": 2.0}`` with its base."""
    scaling = text.get("rope_scaling")
    kind = {"rope_type": scaling["type"], "factor": float(scaling["factor"])} if scaling else {"rope_type": "default"}
    return kind | {"rope_theta": float(text["rope_theta"])}
