"""Tiny random checkpoints in the layout that InternVL2.5 was published in, and what they compute, written anew.

Names, shapes and the forward pass come from the published code, not from `trainer.internvl`.

Source: modeling_intern_vit.py, modeling_internlm2.py and modeling_internvl_chat.py of OpenGVLab/InternVL.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

Weights = dict[str, torch.Tensor]
WIDTH, INNER, HEADS, KV_HEADS, LAYERS = 32, 48, 4, 2, 2
TOWER_WIDTH, TOWER_INNER, TOWER_HEADS, TOWER_LAYERS = 24, 40, 4, 2
SIDE, PATCH = 56, 14
IMAGE_TOKENS = ("<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>")
TEXT = "How do I put the first one on the second one? Please look at both pictures, and tell me what they show.\n"


class Size(NamedTuple):
    """What the published sizes differ in, beside numbers.

    Attributes:
        language: ``internlm2`` or ``qwen2``.
        large: whether the tower is InternViT-6B and not 300M.
    """

    language: str
    large: bool


SIZES = {
    "1B": Size("qwen2", large=False),
    "2B": Size("internlm2", large=False),
    "4B": Size("qwen2", large=False),
    "8B": Size("internlm2", large=False),
    "26B": Size("internlm2", large=True),
    "38B": Size("qwen2", large=True),
    "78B": Size("qwen2", large=True),
}


def make_config(size: Size, vocabulary: int) -> dict[str, Any]:
    """A ``config.json`` as it was published, without what transformers adds to every one."""
    vision = {
        "architectures": ["InternVisionModel"],
        "model_type": "intern_vit_6b",
        "hidden_size": TOWER_WIDTH,
        "intermediate_size": TOWER_INNER,
        "num_hidden_layers": TOWER_LAYERS,
        "num_attention_heads": TOWER_HEADS,
        "num_channels": 3,
        "patch_size": PATCH,
        "image_size": SIDE,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "drop_path_rate": 0.1,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-06,
        "norm_type": "rms_norm" if size.large else "layer_norm",
        "qkv_bias": not size.large,
        "qk_normalization": size.large,
        "initializer_range": 0.02,
        "initializer_factor": 0.1,
        "use_flash_attn": True,
    }
    return {
        "architectures": ["InternVLChatModel"],
        "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"},
        "model_type": "internvl_chat",
        "template": "internvl2_5",
        "ps_version": "v2",
        "select_layer": -1,
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "min_dynamic_patch": 1,
        "max_dynamic_patch": 12,
        "force_image_size": SIDE,
        "pad2square": False,
        "use_backbone_lora": 0,
        "use_llm_lora": 0,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        "vision_config": vision,
        "llm_config": _make_text(size.language, vocabulary),
    }


def _make_text(language: str, vocabulary: int) -> dict[str, Any]:
    text: dict[str, Any] = {
        "architectures": [{"internlm2": "InternLM2ForCausalLM", "qwen2": "Qwen2ForCausalLM"}[language]],
        "model_type": language,
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": 256,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-05 if language == "internlm2" else 1e-06,
        "rope_theta": 1000000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    if language == "internlm2":
        text |= {"bias": False, "rope_scaling": {"type": "dynamic", "factor": 2.0}, "attn_implementation": "eager"}
        text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    else:
        text |= {"use_sliding_window": False, "sliding_window": 128, "max_window_layers": 1, "attention_dropout": 0.0}
        text |= {"rope_scaling": None, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    return text


def make_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor."""
    vision, text = config["vision_config"], config["llm_config"]
    width, inner, patches = vision["hidden_size"], vision["intermediate_size"], vision["image_size"] // PATCH
    shapes: dict[str, tuple[int, ...]] = {
        "vision_model.embeddings.class_embedding": (1, 1, width),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, PATCH, PATCH),
        "vision_model.embeddings.patch_embedding.bias": (width,),
        "vision_model.embeddings.position_embedding": (1, patches**2 + 1, width),
    }
    for number in range(vision["num_hidden_layers"]):
        layer = {"attn.proj.weight": (width, width), "attn.proj.bias": (width,), "attn.qkv.weight": (3 * width, width)}
        layer |= {"attn.qkv.bias": (3 * width,)} if vision["qkv_bias"] else {}
        layer |= {"attn.q_norm.weight": (width,), "attn.k_norm.weight": (width,)} if vision["qk_normalization"] else {}
        layer |= {"norm1.weight": (width,), "norm2.weight": (width,), "ls1": (width,), "ls2": (width,)}
        if vision["norm_type"] == "layer_norm":
            layer |= {"norm1.bias": (width,), "norm2.bias": (width,)}
        layer |= {"mlp.fc1.weight": (inner, width), "mlp.fc1.bias": (inner,)}
        layer |= {"mlp.fc2.weight": (width, inner), "mlp.fc2.bias": (width,)}
        shapes |= {f"vision_model.encoder.layers.{number}.{name}": shape for name, shape in layer.items()}
    wide, deep = 4 * width, text["hidden_size"]
    shapes |= {"mlp1.0.weight": (wide,), "mlp1.0.bias": (wide,)}
    shapes |= {"mlp1.1.weight": (deep, wide), "mlp1.1.bias": (deep,)}
    shapes |= {"mlp1.3.weight": (deep, deep), "mlp1.3.bias": (deep,)}
    return shapes | {f"language_model.{name}": shape for name, shape in _language_shapes(text).items()}


def _language_shapes(text: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    width, inner, vocabulary = text["hidden_size"], text["intermediate_size"], text["vocab_size"]
    head = width // text["num_attention_heads"]
    held = text["num_key_value_heads"] * head
    if text["model_type"] == "internlm2":
        ends = {"model.tok_embeddings.weight": (vocabulary, width), "output.weight": (vocabulary, width)}
        layer: dict[str, tuple[int, ...]] = {
            "attention.wqkv.weight": (width + 2 * held, width),
            "attention.wo.weight": (width, width),
            "feed_forward.w1.weight": (inner, width),
            "feed_forward.w2.weight": (width, inner),
            "feed_forward.w3.weight": (inner, width),
            "attention_norm.weight": (width,),
            "ffn_norm.weight": (width,),
        }
    else:
        ends = {"model.embed_tokens.weight": (vocabulary, width), "lm_head.weight": (vocabulary, width)}
        layer = {
            **{f"self_attn.{one}_proj.weight": (rows, width) for one, rows in (("q", width), ("k", held), ("v", held))},
            **{f"self_attn.{one}_proj.bias": (rows,) for one, rows in (("q", width), ("k", held), ("v", held))},
            "self_attn.o_proj.weight": (width, width),
            "mlp.gate_proj.weight": (inner, width),
            "mlp.up_proj.weight": (inner, width),
            "mlp.down_proj.weight": (width, inner),
            "input_layernorm.weight": (width,),
            "post_attention_layernorm.weight": (width,),
        }
    layers = range(text["num_hidden_layers"])
    return {
        **ends,
        "model.norm.weight": (width,),
        **{f"model.layers.{number}.{name}": shape for number in layers for name, shape in layer.items()},
    }


def make_weights(config: dict[str, Any], dtype: torch.dtype = torch.bfloat16) -> Weights:
    """Random weights; those of norms and layer scales lie around 1."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in make_shapes(config).items():
        drawn = torch.randn(shape, generator=generator) * 0.2
        weights[name] = (drawn + ("norm" in name or ".ls" in name or name == "mlp1.0.weight")).to(dtype)
    return weights


def write(folder: Path, config: dict[str, Any], weights: Weights, shards: int = 1) -> Path:
    """Writes a checkpoint without a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = list(weights)
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    files = [f"model-{number:05d}-of-{shards:05d}.safetensors" for number in range(1, shards + 1)]
    sizes = [weights[name].nbytes for name in names]
    where = {name: files[sum(sizes[:place]) * shards // sum(sizes)] for place, name in enumerate(names)}
    for file in files:
        save_file({n: weights[n] for n in names if where[n] == file}, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def read(folder: Path) -> Weights:
    """All tensors of a folder."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


# Tokenizers


def train_sentencepiece(**settings: Any) -> bytes:
    """A small ``tokenizer.model`` by SentencePiece itself, normalised as InternLM2's unless told otherwise."""
    import sentencepiece

    model = io.BytesIO()
    own: dict[str, Any] = {
        "vocab_size": 400,
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
    }
    own |= {"add_dummy_prefix": False, "remove_extra_whitespaces": False, "split_digits": True}
    own |= {"user_defined_symbols": [f"[UNUSED_TOKEN_{number}]" for number in range(4)], "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*TEXT.split(". ")] * 20), model_writer=model, hard_vocab_limit=False, **(own | settings)
    )
    return model.getvalue()


def write_internlm2_tokenizer(folder: Path, model: bytes) -> int:
    """The tokenizer's files as they were published: two names in place of unused pieces, nine behind them all.

    Returns:
        How many tokens there are.
    """
    import sentencepiece

    spoken = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [spoken.id_to_piece(id_) for id_ in range(spoken.get_piece_size())]
    added = {0: "<unk>", 1: "<s>", 2: "</s>"}
    added |= {pieces.index("[UNUSED_TOKEN_2]"): "<|im_end|>", pieces.index("[UNUSED_TOKEN_3]"): "<|im_start|>"}
    added |= dict(enumerate(IMAGE_TOKENS, len(pieces)))
    (folder / "tokenizer.model").write_bytes(model)
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return _write_tokenizer_config(folder, added, {"tokenizer_class": "InternLM2Tokenizer", **named})


def write_qwen2_tokenizer(folder: Path) -> int:
    """As `write_internlm2_tokenizer`, of a Qwen2: a vocabulary of bytes and what they are merged to."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([TEXT] * 4, vocab_size=320, min_frequency=1, show_progress=False)
    tokenizer.save_model(str(folder))
    first = len(json.loads((folder / "vocab.json").read_text()))
    added = dict(enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>", *IMAGE_TOKENS), first))
    named = {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "add_bos_token": False}
    return _write_tokenizer_config(folder, added, {"tokenizer_class": "Qwen2Tokenizer", **named})


def _write_tokenizer_config(folder: Path, added: dict[int, str], settings: dict[str, Any]) -> int:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    decoder = {str(id_): {"content": content, **flags} for id_, content in added.items()}
    config = {"added_tokens_decoder": decoder, "model_max_length": 8192, "chat_template": "{{ 1 / 0 }}", **settings}
    config["auto_map"] = {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return max(added) + 1


# What an original computes


def features(weights: Weights, config: dict[str, Any], pixels: torch.Tensor) -> torch.Tensor:
    """Tokens of tiles, as the published code computes them; shape (tiles, tokens, width of the language model)."""
    vision = config["vision_config"]
    heads, width, side = vision["num_attention_heads"], vision["hidden_size"], vision["image_size"] // PATCH

    def norm(x: torch.Tensor, name: str, kind: str = vision["norm_type"]) -> torch.Tensor:
        if kind == "layer_norm":
            return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)
        return weights[f"{name}.weight"] * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    first = "vision_model.embeddings."
    kernel, bias = weights[f"{first}patch_embedding.weight"], weights[f"{first}patch_embedding.bias"]
    x = F.conv2d(pixels, kernel, bias, stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([weights[f"{first}class_embedding"].expand(len(x), -1, -1), x], 1)
    x = x + weights[f"{first}position_embedding"]
    for number in range(vision["num_hidden_layers"]):
        layer = f"vision_model.encoder.layers.{number}."
        packed = F.linear(norm(x, f"{layer}norm1"), weights[f"{layer}attn.qkv.weight"])
        packed = packed + weights[f"{layer}attn.qkv.bias"] if vision["qkv_bias"] else packed
        q, k, v = packed.view(*x.shape[:2], 3, width).unbind(2)
        if vision["qk_normalization"]:  # over all heads together
            q, k = norm(q, f"{layer}attn.q_norm", "rms_norm"), norm(k, f"{layer}attn.k_norm", "rms_norm")
        q, k, v = (one.view(*x.shape[:2], heads, -1).transpose(1, 2) for one in (q, k, v))
        seen = ((q * (width // heads) ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        seen = seen.transpose(1, 2).flatten(2)
        seen = F.linear(seen, weights[f"{layer}attn.proj.weight"], weights[f"{layer}attn.proj.bias"])
        x = x + seen * weights[f"{layer}ls1"]
        inner = F.linear(norm(x, f"{layer}norm2"), weights[f"{layer}mlp.fc1.weight"], weights[f"{layer}mlp.fc1.bias"])
        inner = F.linear(F.gelu(inner), weights[f"{layer}mlp.fc2.weight"], weights[f"{layer}mlp.fc2.bias"])
        x = x + inner * weights[f"{layer}ls2"]
    # Four neighbours become one: (row, column) in steps of two, those of a row first.
    x = (
        x[:, 1:]
        .view(len(x), side // 2, 2, side // 2, 2, width)
        .permute(0, 1, 3, 2, 4, 5)
        .reshape(len(x), -1, 4 * width)
    )
    x = F.layer_norm(x, x.shape[-1:], weights["mlp1.0.weight"], weights["mlp1.0.bias"], 1e-5)
    x = F.gelu(F.linear(x, weights["mlp1.1.weight"], weights["mlp1.1.bias"]))
    return F.linear(x, weights["mlp1.3.weight"], weights["mlp1.3.bias"])
