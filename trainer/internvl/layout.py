"""Which tensors an InternVL2.5 has: as it was published (`internvl_chat`), and as transformers' own InternVL has them.

One table, `pieces`, says both, so that converting and going back cannot disagree. Native names are those that
`save_pretrained` writes. What is packed there is apart here::

    original  vision_model.encoder.layers.0.attn.qkv.weight              (3 * 1024, 1024)
    native    vision_tower.encoder.layer.0.attention.q_proj.weight (1024, 1024), k_proj, v_proj

    original  language_model.model.layers.0.attention.wqkv.weight        (8 * (4 + 2) * 128, 4096)
    native    language_model.model.layers.0.self_attn.q_proj.weight      (4096, 4096), k_proj and v_proj (1024, 4096)

Source: modeling_intern_vit.py, modeling_internlm2.py and modeling_internvl_chat.py of OpenGVLab/InternVL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mis_dataset.errors import MISError

TEMPLATE = "internvl2_5"
"""The one conversation template that InternVL2.5 has in all sizes."""
_LANGUAGES = {"internlm2": "llama", "qwen2": "qwen2"}
"""``model_type`` of the original's language model -> that of transformers."""
_FIXED: dict[str, tuple[Any, ...]] = {
    "template": (TEMPLATE,),
    "ps_version": ("v2",),
    "select_layer": (-1,),
    "pad2square": (False, None),
    "use_backbone_lora": (0, None),
    "use_llm_lora": (0, None),
    "min_dynamic_patch": (1,),
}
"""What the native model or its processor does in one way only -> the values that mean that way."""
_VISION_COUNTS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels"),
    *("patch_size", "image_size"),
)
_VISION = ("hidden_act", "layer_norm_eps", "norm_type", "qkv_bias", "qk_normalization")
_LANGUAGE_COUNTS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("vocab_size", "max_position_embeddings"),
)
_LANGUAGE = ("hidden_act", "rms_norm_eps", "rope_theta")
_NUMBERS = ("layer_norm_eps", "rms_norm_eps", "rope_theta")
_TEXTS, _SWITCHES = ("hidden_act",), ("qkv_bias", "qk_normalization")
_MOST_LAYERS = 1000
"""Ten times those of the largest: a table of all tensors that a broken file asks for would fill the memory."""
_NO_SIZES = ("language", "bias", "tied", "tower_bias", "tower_qk_norm", "tower_norm_bias")
_QK_NORM_EPS = 1e-6
"""Of the native tower's norms of queries and keys, whatever `layer_norm_eps` is."""


class ConvertError(MISError):
    """A checkpoint cannot be converted; the message says which file, what was found and what to do."""


class Piece(NamedTuple):
    """One tensor of the original, and what of it the native checkpoint has.

    Attributes:
        original: its name.
        natives: one name, or three: of queries, keys and values.
        shape: of the original.
        rows: of three, how many rows of a group each has; of one, all.
        groups: how often that repeats along the first dimension.
    """

    original: str
    natives: tuple[str, ...]
    shape: tuple[int, ...]
    rows: tuple[int, ...]
    groups: int = 1

    def native_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the native tensors."""
        shapes = [(self.groups * rows, *self.shape[1:]) for rows in self.rows]
        return dict(zip(self.natives, shapes, strict=True))


@dataclass(frozen=True)
class Layout:
    """All sizes that shapes hang on.

    Attributes:
        language: ``model_type`` of the original's language model, ``internlm2`` or ``qwen2``.
        width: of the language model; its layers, heads, key-value heads, inner width and vocabulary follow.
        bias: whether InternLM2's attention has biases; that of Qwen2 has them on queries, keys and values.
        tied: whether the head is the embedding.
        tower_width: of the vision tower; its layers, inner width, patches of a tile, patch and channels follow.
        tower_bias: whether its queries, keys and values have biases.
        tower_qk_norm: whether queries and keys are normed, as in InternViT-6B.
        tower_norm_bias: whether its norms have biases: LayerNorm has, RMSNorm has not.
        shuffle: how many patches become one token.
    """

    language: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    bias: bool
    tied: bool
    tower_width: int
    tower_layers: int
    tower_inner: int
    patches: int
    patch: int
    channels: int
    tower_bias: bool
    tower_qk_norm: bool
    tower_norm_bias: bool
    shuffle: int

    @property
    def tile_tokens(self) -> int:
        """How many tokens a tile becomes."""
        return self.patches // self.shuffle


def layout_of(config: Mapping[str, Any], name: str) -> Layout:
    """The layout of an original.

    Args:
        config: its ``config.json``.
        name: of that file, for errors.

    Raises:
        ConvertError: It is no InternVL2.5, or asks for what the native model cannot do; every fault is named.
    """
    family = config.get("model_type")
    if family != "internvl_chat":
        raise ConvertError(f"{name}: model type {family!r} is not that of an original InternVL2.5, 'internvl_chat'")
    faults = _faults(config)
    if faults:
        raise ConvertError(f"{name}: {'; '.join(faults)}; only InternVL2.5 as it was published is converted")
    vision, text = config["vision_config"], config["llm_config"]
    return Layout(
        language=text["model_type"],
        width=text["hidden_size"],
        layers=text["num_hidden_layers"],
        heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        inner=text["intermediate_size"],
        vocabulary=text["vocab_size"],
        bias=bool(text.get("bias", False)),
        tied=bool(text.get("tie_word_embeddings", False)),
        tower_width=vision["hidden_size"],
        tower_layers=vision["num_hidden_layers"],
        tower_inner=vision["intermediate_size"],
        patches=(vision["image_size"] // vision["patch_size"]) ** 2,
        patch=vision["patch_size"],
        channels=vision["num_channels"],
        tower_bias=vision["qkv_bias"],
        tower_qk_norm=vision["qk_normalization"],
        tower_norm_bias=vision["norm_type"] == "layer_norm",
        shuffle=int(1 / config["downsample_ratio"]) ** 2,
    )


def native_layout_of(config: Mapping[str, Any], name: str) -> Layout:
    """The layout of a native checkpoint.

    Args:
        config: its ``config.json``.
        name: of that file, for errors.

    Raises:
        ConvertError: It is no native InternVL, or its language model is neither Llama nor Qwen2.
    """
    family = config.get("model_type")
    if family != "internvl":
        raise ConvertError(f"{name}: model type {family!r} is not that of a converted checkpoint, 'internvl'")
    languages = {native: original for original, native in _LANGUAGES.items()}
    try:
        vision, text = config["vision_config"], config["text_config"]
        if text["model_type"] not in languages:
            raise ConvertError(f"{name}: its language model is {text['model_type']!r}, no InternVL2.5 has that")
        found = Layout(
            language=languages[text["model_type"]],
            width=text["hidden_size"],
            layers=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            kv_heads=text["num_key_value_heads"],
            inner=text["intermediate_size"],
            vocabulary=text["vocab_size"],
            bias=bool(text.get("attention_bias", False)),
            tied=bool(config["tie_word_embeddings"]),
            tower_width=vision["hidden_size"],
            tower_layers=vision["num_hidden_layers"],
            tower_inner=vision["intermediate_size"],
            patches=(vision["image_size"][0] // vision["patch_size"][0]) ** 2,
            patch=vision["patch_size"][0],
            channels=vision["num_channels"],
            tower_bias=vision["attention_bias"],
            tower_qk_norm=vision["use_qk_norm"],
            tower_norm_bias=vision["norm_type"] == "layer_norm",
            shuffle=int(1 / config["downsample_ratio"]) ** 2,
        )
        _check_sizes(found)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ConvertError(f"{name}: says no sizes of an InternVL ({error!r}); copy or make it anew") from error
    return found


def _check_sizes(layout: Layout) -> None:
    """Fails with a ValueError on sizes that no model has, of which no table of tensors can be made."""
    sizes = {name: value for name, value in vars(layout).items() if name not in _NO_SIZES}
    if wrong := [name for name, value in sizes.items() if type(value) is not int or value < 1]:
        raise ValueError(f"no counts: {', '.join(wrong)}")
    if max(layout.layers, layout.tower_layers) > _MOST_LAYERS:
        raise ValueError(f"more than {_MOST_LAYERS} layers")
    if layout.width % layout.heads or layout.heads % layout.kv_heads:
        raise ValueError(f"{layout.width} and {layout.heads} heads, {layout.kv_heads} for keys, do not fit together")


def native_language(language: str) -> str:
    """``model_type`` of the language model in transformers.

    >>> native_language("internlm2")
    'llama'
    """
    return _LANGUAGES[language]


def pieces(layout: Layout) -> list[Piece]:
    """Every tensor of the original, in the order of the model."""
    return [*_tower(layout), *_projector(layout), *_language(layout)]


def _tower(layout: Layout) -> Iterator[Piece]:
    width, inner = layout.tower_width, layout.tower_inner
    old, new = "vision_model.embeddings.", "vision_tower.embeddings."
    yield _same(f"{old}class_embedding", f"{new}cls_token", 1, 1, width)
    yield _same(f"{old}position_embedding", f"{new}position_embeddings", 1, layout.patches + 1, width)
    kernel = (width, layout.channels, layout.patch, layout.patch)
    yield from _linear(f"{old}patch_embedding", f"{new}patch_embeddings.projection", *kernel)
    for number in range(layout.tower_layers):
        old, new = f"vision_model.encoder.layers.{number}.", f"vision_tower.encoder.layer.{number}."
        for kind, shape in (("weight", (3 * width, width)), ("bias", (3 * width,))):
            if kind == "weight" or layout.tower_bias:
                natives = tuple(f"{new}attention.{one}_proj.{kind}" for one in "qkv")
                yield Piece(f"{old}attn.qkv.{kind}", natives, shape, (width, width, width))
        yield from _linear(f"{old}attn.proj", f"{new}attention.projection_layer", width, width)
        for one in ("q_norm", "k_norm") if layout.tower_qk_norm else ():
            yield _same(f"{old}attn.{one}.weight", f"{new}attention.{one}.weight", width)
        for one, called in (("norm1", "layernorm_before"), ("norm2", "layernorm_after")):
            yield from _linear(f"{old}{one}", f"{new}{called}", width, bias=layout.tower_norm_bias)
        yield from _linear(f"{old}mlp.fc1", f"{new}mlp.fc1", inner, width)
        yield from _linear(f"{old}mlp.fc2", f"{new}mlp.fc2", width, inner)
        for scale in (1, 2):
            yield _same(f"{old}ls{scale}", f"{new}lambda_{scale}", width)


def _projector(layout: Layout) -> Iterator[Piece]:
    seen = layout.tower_width * layout.shuffle
    yield from _linear("mlp1.0", "multi_modal_projector.layer_norm", seen)
    yield from _linear("mlp1.1", "multi_modal_projector.linear_1", layout.width, seen)
    yield from _linear("mlp1.3", "multi_modal_projector.linear_2", layout.width, layout.width)


def _language(layout: Layout) -> Iterator[Piece]:
    old, new = "language_model.model.", "language_model.model."
    layer, ends = (
        (_internlm2_layer, ("tok_embeddings", "output"))
        if layout.language == "internlm2"
        else (
            _qwen2_layer,
            ("embed_tokens", "lm_head"),
        )
    )
    size = (layout.vocabulary, layout.width)
    yield _same(f"{old}{ends[0]}.weight", f"{new}embed_tokens.weight", *size)
    for number in range(layout.layers):
        yield from layer(layout, f"{old}layers.{number}.", f"{new}layers.{number}.")
    yield _same(f"{old}norm.weight", f"{new}norm.weight", layout.width)
    if not layout.tied:
        yield _same(f"language_model.{ends[1]}.weight", "language_model.lm_head.weight", *size)


def _internlm2_layer(layout: Layout, old: str, new: str) -> Iterator[Piece]:
    """Each key-value head's group of `wqkv` holds the rows of its queries' heads, then its keys' and its values'."""
    width, inner, head = layout.width, layout.inner, layout.width // layout.heads
    rows = (layout.heads // layout.kv_heads * head, head, head)
    packed = sum(rows) * layout.kv_heads
    for kind, shape in (("weight", (packed, width)), ("bias", (packed,))):
        if kind == "weight" or layout.bias:
            natives = tuple(f"{new}self_attn.{one}_proj.{kind}" for one in "qkv")
            yield Piece(f"{old}attention.wqkv.{kind}", natives, shape, rows, layout.kv_heads)
    yield from _linear(f"{old}attention.wo", f"{new}self_attn.o_proj", width, width, bias=layout.bias)
    yield _same(f"{old}feed_forward.w1.weight", f"{new}mlp.gate_proj.weight", inner, width)
    yield _same(f"{old}feed_forward.w3.weight", f"{new}mlp.up_proj.weight", inner, width)
    yield _same(f"{old}feed_forward.w2.weight", f"{new}mlp.down_proj.weight", width, inner)
    yield _same(f"{old}attention_norm.weight", f"{new}input_layernorm.weight", width)
    yield _same(f"{old}ffn_norm.weight", f"{new}post_attention_layernorm.weight", width)


def _qwen2_layer(layout: Layout, old: str, new: str) -> Iterator[Piece]:
    width, inner = layout.width, layout.inner
    held = layout.kv_heads * (width // layout.heads)
    for one, rows in (("q", width), ("k", held), ("v", held)):
        yield from _linear(f"{old}self_attn.{one}_proj", f"{new}self_attn.{one}_proj", rows, width)
    yield _same(f"{old}self_attn.o_proj.weight", f"{new}self_attn.o_proj.weight", width, width)
    for one, shape in (("gate", (inner, width)), ("up", (inner, width)), ("down", (width, inner))):
        yield _same(f"{old}mlp.{one}_proj.weight", f"{new}mlp.{one}_proj.weight", *shape)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield _same(f"{old}{norm}.weight", f"{new}{norm}.weight", width)


def _linear(old: str, new: str, *shape: int, bias: bool = True) -> Iterator[Piece]:
    """The weight of a layer, and its bias, which has one number a row."""
    yield _same(f"{old}.weight", f"{new}.weight", *shape)
    if bias:
        yield _same(f"{old}.bias", f"{new}.bias", shape[0])


def _same(old: str, new: str, *shape: int) -> Piece:
    return Piece(old, (new,), shape, (shape[0],))


def _faults(config: Mapping[str, Any]) -> list[str]:
    """Why an `internvl_chat` cannot be converted."""
    vision, text = config.get("vision_config"), config.get("llm_config")
    if not isinstance(vision, Mapping) or not isinstance(text, Mapping):
        return ["vision_config or llm_config is missing"]
    language = text.get("model_type")
    if language not in _LANGUAGES:
        return [f"its language model {language!r} is not known; known are {', '.join(_LANGUAGES)}"]
    faults = [f"{key} is missing" for key in ("downsample_ratio", "dynamic_image_size") if key not in config]
    parts = (
        (vision, "vision_config", _VISION_COUNTS, _VISION),
        (text, "llm_config", _LANGUAGE_COUNTS, _LANGUAGE),
    )
    for part, called, counts, others in parts:
        faults += [f"{called}.{key} is missing" for key in (*counts, *others) if part.get(key) is None]
        held = {key: part[key] for key in counts if part.get(key) is not None}
        faults += [f"{called}.{key} is {n!r}, no count" for key, n in held.items() if type(n) is not int or n < 1]
        if type(layers := held.get("num_hidden_layers")) is int and layers > _MOST_LAYERS:
            faults.append(f"{called}.num_hidden_layers is {layers}, more than {_MOST_LAYERS}")
        faults += [f"{called}.{key} is no text" for key in _TEXTS if type(part.get(key, "")) is not str]
        faults += [
            f"{called}.{key} is neither true nor false" for key in _SWITCHES if type(part.get(key, True)) is not bool
        ]
    for key, value in ((key, part.get(key)) for part in (vision, text) for key in _NUMBERS):
        if value is not None and type(value) not in (int, float):
            faults.append(f"{key} is {value!r}, no number")
    for key, means in _FIXED.items():
        # `in` alone would take True for 1.
        if not any(type(config.get(key)) is type(one) and config.get(key) == one for one in means):
            faults.append(f"{key} is {config.get(key)!r}, must be {means[0]!r}")
    return faults or _clashes(config, vision, text)


def _clashes(config: Mapping[str, Any], vision: Mapping[str, Any], text: Mapping[str, Any]) -> list[str]:
    """What is there, and cannot be together, or not in the native model."""
    faults = []
    side, patch, ratio = vision["image_size"], vision["patch_size"], config["downsample_ratio"]
    if config.get("force_image_size") not in (None, side):
        faults.append(f"force_image_size is {config['force_image_size']!r}, but the tower is made for {side}")
    if type(ratio) not in (int, float) or not 0 < ratio <= 1 or side % patch or (side // patch * ratio) % 1:
        faults.append(f"{side} px in patches of {patch} px cannot be made smaller by {ratio!r}")
    if type(config["dynamic_image_size"]) is not bool:
        faults.append("dynamic_image_size is neither true nor false")
    if config["dynamic_image_size"] and config.get("use_thumbnail") is not True:
        faults.append("use_thumbnail is off")
    most = config.get("max_dynamic_patch")
    if config["dynamic_image_size"] and (type(most) is not int or most < 1):
        faults.append("max_dynamic_patch is no count")
    if vision["norm_type"] not in ("layer_norm", "rms_norm"):
        faults.append(f"norm_type {vision['norm_type']!r} is not known")
    if vision["qk_normalization"] and vision["layer_norm_eps"] != _QK_NORM_EPS:
        faults.append(
            f"layer_norm_eps is {vision['layer_norm_eps']!r}, with qk_normalization it must be {_QK_NORM_EPS}"
        )
    for part, heads in ((vision, vision["num_attention_heads"]), (text, text["num_attention_heads"])):
        if part["hidden_size"] % heads:
            faults.append(f"{part['hidden_size']} cannot be shared by {heads} heads")
    if text["num_attention_heads"] % text["num_key_value_heads"]:
        faults.append("key-value heads do not divide the heads")
    rope = text.get("rope_scaling")
    if rope is not None and (not isinstance(rope, Mapping) or rope.get("type") not in ("dynamic", "linear")):
        faults.append(f"rope_scaling {rope!r} is not known")
    elif rope is not None and (type(rope.get("factor")) not in (int, float) or rope["factor"] < 1):
        faults.append(f"rope_scaling {rope!r} has no factor from 1 on")
    return faults
