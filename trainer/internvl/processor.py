r"""Tokenizer, chat template, tiles and ends of an InternVL2.5 -> what transformers' `AutoProcessor` reads.

A prompt becomes, token by token, what the original makes of ``Image-1: <image>\nImage-2: <image>\nquestion``::

    <s><|im_start|>system\n(its system message)<|im_end|>\n
    <|im_start|>user\nImage-1: <img><IMG_CONTEXT>...</img>\nImage-2: <img>...</img>\nquestion<|im_end|>\n
    <|im_start|>assistant\n

Source: internvl_chat/internvl/conversation.py of OpenGVLab/InternVL at c981100 (template ``internvl2_5``),
modeling_internvl_chat.py there (`chat`, whose end is ``<|im_end|>``), and the tokenizer of InternLM2, which begins
every text with ``<s>``; that of Qwen2 begins with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken

from mis_dataset.files import write_json, write_text
from trainer.files import ArtefactError, read_json
from trainer.internvl.layout import ConvertError, Layout
from trainer.internvl.sentencepiece import make_tokenizer, read_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
"""Its system message, where a conversation begins with none."""
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
"""Of ImageNet."""
_BICUBIC = 3
"""As Pillow counts its filters."""
_IMAGE_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    # transformers' processor wants one. The original has none, and all its embeddings are taken, so an unused one is.
    "video_token": "<quad>",
}
_END = "<|im_end|>"
_NEEDED = {*_IMAGE_TOKENS.values(), "<|im_start|>", _END}
_CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n%s<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def read_tokenizer(source: Path, layout: Layout) -> PreTrainedTokenizerBase:
    """The tokenizer of an original, with the ids that it has there; no code of its folder is run.

    Raises:
        ConvertError: Files are missing or broken, an id would change or has no embedding, or a token that prompts need
            is not there.
    """
    _look_for(source, "tokenizer_config.json")
    try:
        settings = read_json(source / "tokenizer_config.json")
        added = {int(id_): _added(token) for id_, token in settings["added_tokens_decoder"].items()}
    except (ArtefactError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ConvertError(
            f"{source / 'tokenizer_config.json'}: says no added_tokens_decoder ({error}); fetch the tokenizer's files, "
            "or convert with --weights-only"
        ) from error
    missing = sorted(_NEEDED - {token.content for token in added.values()})
    if missing:
        raise ConvertError(f"{source / 'tokenizer_config.json'}: says no {', '.join(missing)}, which prompts need")
    make = _internlm2 if layout.language == "internlm2" else _qwen2
    tokenizer = make(source, settings, added)
    faults = [f"{token.content!r} has id {id_}" for id_, token in added.items() if _id(tokenizer, token) != id_]
    most = max(tokenizer.get_vocab().values())
    if most >= layout.vocabulary:
        faults.append(f"id {most} has no embedding, of which there are {layout.vocabulary}")
    if faults:
        raise ConvertError(f"{source}: its tokenizer is not that of its weights: {'; '.join(faults[:5])}")
    return tokenizer


def write_processor(out: Path, tokenizer: PreTrainedTokenizerBase, config: Mapping[str, Any], tile_tokens: int) -> None:
    """Writes tokenizer and processor beside the weights.

    The processor is written as JSON, since transformers' own class would load torch, and with it half a gigabyte.

    Args:
        out: the folder.
        tokenizer: as `read_tokenizer` gives it.
        config: ``config.json`` of the original, whose tiles it shall have.
        tile_tokens: how many tokens a tile becomes.
    """
    tokenizer.save_pretrained(out)
    side = config["vision_config"]["image_size"]
    look = {"size": {"height": side, "width": side}, "image_mean": _MEAN, "image_std": _STD, "resample": _BICUBIC}
    look |= dict.fromkeys(("do_convert_rgb", "do_resize", "do_rescale", "do_normalize"), True)
    tiles = {
        "image_processor_type": "GotOcr2ImageProcessor",
        "crop_to_patches": True,
        "min_patches": 1,
        "max_patches": config["max_dynamic_patch"] if config["dynamic_image_size"] else 1,
    }
    processor = {
        "processor_class": "InternVLProcessor",
        "image_processor": look | tiles,
        "video_processor": look | {"video_processor_type": "InternVLVideoProcessor"},
        "image_seq_length": tile_tokens,
    }
    write_json(out / "processor_config.json", processor)
    first = "{{ bos_token }}" if tokenizer.bos_token else ""
    write_text(out / "chat_template.jinja", first + _CHAT_TEMPLATE.replace("%s", SYSTEM))


def asked_by(tokenizer: PreTrainedTokenizerBase) -> tuple[int, dict[str, int]]:
    """The id that stands for a token of a picture, and settings of generation.

    A response ends with ``<|im_end|>``, whatever ends a text.
    """
    ids = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    ends = {name: id_ for name, id_ in ids.items() if id_ is not None}
    token, end = tokenizer.convert_tokens_to_ids(["<IMG_CONTEXT>", _END])
    return token, ends | {"eos_token_id": end}


def _internlm2(source: Path, settings: dict[str, Any], added: dict[int, AddedToken]) -> PreTrainedTokenizerBase:
    """SentencePiece, without ``<s>`` before every text: the chat template writes it, so that no prompt has two."""
    from transformers import PreTrainedTokenizerFast

    _look_for(source, "tokenizer.model")
    read = read_pieces(source / "tokenizer.model")
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(read, added),
        unk_token=_named(settings, "unk_token", "<unk>"),
        bos_token=_named(settings, "bos_token", "<s>"),
        eos_token=_named(settings, "eos_token", "</s>"),
        pad_token=_named(settings, "pad_token", "</s>"),
        model_max_length=settings.get("model_max_length"),
        clean_up_tokenization_spaces=False,
        padding_side="left",
        extra_special_tokens=_IMAGE_TOKENS,
    )
    return tokenizer


def _qwen2(source: Path, settings: dict[str, Any], added: dict[int, AddedToken]) -> PreTrainedTokenizerBase:
    from transformers import Qwen2Tokenizer

    _look_for(source, "vocab.json", "merges.txt")
    try:
        tokenizer: PreTrainedTokenizerBase = Qwen2Tokenizer(
            vocab=str(source / "vocab.json"),
            merges=str(source / "merges.txt"),
            added_tokens_decoder=added,
            unk_token=None,
            bos_token=None,
            eos_token=_named(settings, "eos_token", _END),
            pad_token=_named(settings, "pad_token", "<|endoftext|>"),
            model_max_length=settings.get("model_max_length"),
            clean_up_tokenization_spaces=False,
            padding_side="left",
            extra_special_tokens=_IMAGE_TOKENS,
        )
    # What tokenizers raises at a broken file is a plain Exception.
    except Exception as error:
        raise ConvertError(f"{source}: vocab.json or merges.txt is broken ({error}); fetch them again") from error
    return tokenizer


def _look_for(source: Path, *names: str) -> None:
    missing = [name for name in names if not (source / name).is_file()]
    if missing:
        raise ConvertError(
            f"{source}: {missing[0]} is missing; fetch the tokenizer's files, or convert with --weights-only and "
            "--image-token-id N"
        )


def _named(settings: dict[str, Any], name: str, default: str) -> str:
    """A special token, which some versions of transformers wrote as an object."""
    token = settings.get(name) or default
    return str(token["content"] if isinstance(token, dict) else token)


def _added(token: Any) -> AddedToken:
    # Found in the text as it is, as the original's tokenizer does, which is not one of `tokenizers`.
    flags = {name: bool(token.get(name, False)) for name in ("single_word", "lstrip", "rstrip", "special")}
    return AddedToken(str(token["content"]), normalized=False, **flags)


def _id(tokenizer: PreTrainedTokenizerBase, token: AddedToken) -> int | None:
    id_: int | None = tokenizer.get_vocab().get(token.content)
    return id_
