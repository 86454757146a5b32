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

from trainer.files import ArtefactError, read_json
from trainer.internvl.layout import Layout
from trainer.internvl.sentencepiece import make_tokenizer, read_pieces
from trainer.models import ModelError

if TYPE_CHECKING:
    from transformers import InternVLProcessor, PreTrainedTokenizerBase

SYSTEM = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
"""Its system message, where a conversation begins with none."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet."""
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
        ModelError: Files are missing or broken, an id would change or has no embedding, or a token that prompts need
            is not there.
    """
    try:
        settings = read_json(source / "tokenizer_config.json")
        added = {int(id_): _added(token) for id_, token in settings["added_tokens_decoder"].items()}
    except (ArtefactError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{source / 'tokenizer_config.json'}: says no added_tokens_decoder ({error}); fetch the tokenizer's files, "
            "or convert with --weights-only"
        ) from error
    make = _internlm2 if layout.language == "internlm2" else _qwen2
    tokenizer = make(source, settings, added)
    faults = [f"{token.content!r} has id {id_}" for id_, token in added.items() if _id(tokenizer, token) != id_]
    faults += [f"{token!r} is missing" for token in sorted(_NEEDED - tokenizer.get_vocab().keys())]
    most = max(tokenizer.get_vocab().values())
    if most >= layout.vocabulary:
        faults.append(f"id {most} has no embedding, of which there are {layout.vocabulary}")
    if faults:
        raise ModelError(f"{source}: its tokenizer is not that of its weights: {'; '.join(faults[:5])}")
    return tokenizer


def write_processor(
    out: Path, tokenizer: PreTrainedTokenizerBase, config: Mapping[str, Any], tile_tokens: int
) -> InternVLProcessor:
    """Writes tokenizer and processor beside the weights.

    Args:
        out: the folder.
        tokenizer: as `read_tokenizer` gives it.
        config: ``config.json`` of the original, whose tiles it shall have.
        tile_tokens: how many tokens a tile becomes.

    Returns:
        The processor, as it can be read again.
    """
    from transformers import AutoTokenizer, GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    tokenizer.save_pretrained(out)
    # Read back with the image tokens named: the processor asks its tokenizer for them by name.
    tokenizer = AutoTokenizer.from_pretrained(out, extra_special_tokens=_IMAGE_TOKENS, trust_remote_code=False)
    vision = config["vision_config"]
    size = {"height": vision["image_size"], "width": vision["image_size"]}
    look = {"size": size, "image_mean": list(_MEAN), "image_std": list(_STD)}
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(
            **look,
            crop_to_patches=True,
            min_patches=1,
            max_patches=config["max_dynamic_patch"] if config["dynamic_image_size"] else 1,
        ),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(**look),
        image_seq_length=tile_tokens,
        chat_template=("{{ bos_token }}" if tokenizer.bos_token else "") + _CHAT_TEMPLATE.replace("%s", SYSTEM),
    )
    processor.save_pretrained(out)
    return processor


def ends_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Settings of generation: a response ends with ``<|im_end|>``, whatever ends a text."""
    ids = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return {name: id_ for name, id_ in ids.items() if id_ is not None} | {
        "eos_token_id": tokenizer.convert_tokens_to_ids(_END)
    }


def image_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that stands for a token of a picture."""
    id_: int = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    return id_


def _internlm2(source: Path, settings: dict[str, Any], added: dict[int, AddedToken]) -> PreTrainedTokenizerBase:
    """SentencePiece, without ``<s>`` before every text: the chat template writes it, so that no prompt has two."""
    from transformers import PreTrainedTokenizerFast

    read = read_pieces(source / "tokenizer.model")
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(read, added),
        unk_token=settings.get("unk_token", "<unk>"),
        bos_token=settings.get("bos_token", "<s>"),
        eos_token=settings.get("eos_token", "</s>"),
        pad_token=settings.get("pad_token", "</s>"),
        model_max_length=settings.get("model_max_length"),
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    return tokenizer


def _qwen2(source: Path, settings: dict[str, Any], added: dict[int, AddedToken]) -> PreTrainedTokenizerBase:
    from transformers import Qwen2Tokenizer

    missing = [name for name in ("vocab.json", "merges.txt") if not (source / name).is_file()]
    if missing:
        raise ModelError(f"{source}: {missing[0]} is missing; fetch the tokenizer's files, or use --weights-only")
    try:
        tokenizer: PreTrainedTokenizerBase = Qwen2Tokenizer(
            vocab=str(source / "vocab.json"),
            merges=str(source / "merges.txt"),
            added_tokens_decoder=added,
            unk_token=None,
            bos_token=None,
            eos_token=settings.get("eos_token", _END),
            pad_token=settings.get("pad_token", "<|endoftext|>"),
            model_max_length=settings.get("model_max_length"),
            clean_up_tokenization_spaces=False,
            padding_side="left",
        )
    # What tokenizers raises at a broken file is a plain Exception.
    except Exception as error:
        raise ModelError(f"{source}: vocab.json or merges.txt is broken ({error}); fetch them again") from error
    return tokenizer


def _added(token: Any) -> AddedToken:
    # Found in the text as it is, as the original's tokenizer does, which is not one of `tokenizers`.
    flags = {name: bool(token.get(name, False)) for name in ("single_word", "lstrip", "rstrip", "special")}
    return AddedToken(str(token["content"]), normalized=False, **flags)


def _id(tokenizer: PreTrainedTokenizerBase, token: AddedToken) -> int | None:
    id_: int | None = tokenizer.get_vocab().get(token.content)
    return id_
