"""Tiny checkpoints of judges, made by code: real architectures and tokenizers, weights that say what they are told to.

Nothing is trained. The first layer looks whether a token stands anywhere in the prompt, the head says the reply that
belongs to it, and after a reply the model ends. Chat templates are empty stand-ins of the shape of the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers as hf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers.convert_slow_tokenizer import bytes_to_unicode

LLAMA_3 = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<|python_tag|>", "<|image|>", "<|finetune_right_pad_id|>"),
)
LLAMA_4 = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|header_start|>", "<|header_end|>", "<|eot|>", "<|python_start|>"),
    *("<|image|>", "<|image_start|>", "<|image_end|>", "<|patch|>", "<|tile_x_separator|>", "<|tile_y_separator|>"),
)
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Of Llama 3's tokenizer."""
_WIDTH = 64
_SURE = 1e3


class Says(NamedTuple):
    """What a tiny model replies.

    Attributes:
        default: where no word stands in the prompt.
        words: one sign, or a control token -> what is replied where it stands in the prompt.
        seen: what is replied where a picture is shown, of InternVL only.
    """

    default: str
    words: Mapping[str, str] = {}
    seen: str | None = None


SAFE = Says("safe", {"Z": "unsafe\nS2,S9"})
"""As Llama Guard: a text with a Z is unsafe."""
_BEHIND = "<END OF TALK>\n\nJudge the LAST one.\n - Say safe or unsafe."
TEXT_TEMPLATE = (
    "{{ ' <|begin_of_text|><|start_header_id|>user<|end_header_id|>\\n\\nTask: a stand-in.\\n\\n' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{% set role = 'User' %}{% else %}{% set role = 'Agent' %}{% endif %}"
    "{{ role + ': ' + message['content'].strip() + '\\n\\n' }}{% endfor %}"
    "{{ '" + _BEHIND.replace("\n", "\\n") + "<|eot_id|><|start_header_id|>assistant<|end_header_id|>' }}"
)
"""As Llama Guard 3-8B: contents are texts, and a space stands before the first token."""
PARTS_TEMPLATE = (
    "{{ '<|begin_of_text|>START_user_END\\n\\n' }}"
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<|image|>' }}{% endif %}{% endfor %}{% endfor %}"
    "{{ 'Task: a stand-in.\\n\\n' }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{% set role = 'User' %}{% else %}{% set role = 'Agent' %}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ role + ': ' + part['text'] | trim + '\\n\\n' }}{% endfor %}{% endfor %}"
    "{{ '" + _BEHIND.replace("\n", "\\n") + "STOPSTART_assistant_END' }}"
)
"""As Llama Guard 3-1B, 3-11B-Vision and 4: contents are lists of parts, pictures come first."""


def _parts(start: str, end: str, stop: str) -> str:
    return PARTS_TEMPLATE.replace("START_", start).replace("_END", end).replace("STOP", stop)


GUARD_3_PARTS = _parts("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
GUARD_4_PARTS = _parts("<|header_start|>", "<|header_end|>", "<|eot|>")


def make_tokenizer(special: tuple[str, ...], says: Says, **named: Any) -> hf.PreTrainedTokenizerFast:
    """A byte-level tokenizer without merges, as Llama 3's; a whole reply is one token that no text is split into."""
    alphabet = bytes_to_unicode()
    replies = dict.fromkeys(["".join(alphabet[b] for b in one.encode()) for one in _replies(says)])
    words = [*sorted(alphabet.values()), *replies]
    tokenizer = Tokenizer(models.BPE(vocab={word: place for place, word in enumerate(words)}, merges=[]))
    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])
    if "bos_token" in named:
        bos = named["bos_token"]
        id_ = tokenizer.token_to_id(bos)
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, id_)])
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def make_guard_3(folder: Path, says: Says | None = SAFE, template: str = TEXT_TEMPLATE) -> Path:
    """A Llama Guard 3 that reads words: ``llama``; with random weights where it is not told what to say."""
    tokenizer = _llama_3(says or SAFE, template)
    torch.manual_seed(0)
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**_text(tokenizer)))
    if says:
        teach(model.model, model.lm_head, tokenizer, says)
    return save(folder, model, tokenizer, "<|eot_id|>")


def make_guard_3_vision(folder: Path, says: Says = SAFE) -> Path:
    """A Llama Guard 3 with vision: ``mllama``."""
    tokenizer = _llama_3(says, GUARD_3_PARTS)
    vision = hf.models.mllama.MllamaVisionConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_global_layers=1,
        attention_heads=2,
        intermediate_size=32,
        vision_output_dim=64,
        image_size=28,
        patch_size=14,
        intermediate_layers_indices=[0],
    )
    text = hf.models.mllama.MllamaTextConfig(**_text(tokenizer), cross_attention_layers=[1])
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    model = hf.MllamaForConditionalGeneration(
        hf.MllamaConfig(vision_config=vision, text_config=text, image_token_index=image)
    )
    teach(model.model.language_model, model.lm_head, tokenizer, says)
    pictures = hf.MllamaImageProcessor(size={"height": 28, "width": 28})
    processor = hf.MllamaProcessor(pictures, tokenizer, chat_template=GUARD_3_PARTS)
    return save(folder, model, processor, "<|eot_id|>")


def make_guard_4(folder: Path, says: Says = SAFE) -> Path:
    """A Llama Guard 4: ``llama4`` without experts."""
    named = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot|>"}
    tokenizer = make_tokenizer(LLAMA_4, says, **named)
    vision = hf.Llama4VisionConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        vision_output_dim=32,
        projector_input_dim=32,
        projector_output_dim=32,
        image_size=28,
        patch_size=14,
    )
    sizes = {"intermediate_size_mlp": 32, "head_dim": 64, "moe_layers": []}
    text = hf.Llama4TextConfig(**_text(tokenizer), **sizes)
    image = tokenizer.convert_tokens_to_ids("<|patch|>")
    model = hf.Llama4ForConditionalGeneration(
        hf.Llama4Config(vision_config=vision, text_config=text, image_token_index=image)
    )
    teach(model.language_model.model, model.language_model.lm_head, tokenizer, says)
    torch.nn.init.zeros_(model.multi_modal_projector.linear_1.weight)
    pictures = hf.Llama4ImageProcessor(size={"height": 28, "width": 28}, max_patches=1)
    processor = hf.Llama4Processor(pictures, tokenizer, patch_size=14, chat_template=GUARD_4_PARTS)
    return save(folder, model, processor, "<|eot|>")


def make_internvl(folder: Path, says: Says) -> Path:
    """A judge by our rubric: a native InternVL with ChatML."""
    from trainer.mini_vlm import assemble

    tokenizer = make_tokenizer(CHATML, says, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    language = hf.LlamaForCausalLM(hf.LlamaConfig(**_text(tokenizer)))
    model, processor = assemble(language, tokenizer, 0)
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    model.lm_head = torch.nn.Linear(_WIDTH, len(processor.tokenizer), bias=False)
    projector = model.model.multi_modal_projector
    for weight in projector.parameters():
        torch.nn.init.zeros_(weight)
    teach(model.model.language_model, model.lm_head, processor.tokenizer, says)
    if says.seen is not None:
        with torch.no_grad():
            projector.linear_2.bias[2 + len(says.words)] = 1
    return save(folder, model, processor, "<|im_end|>")


def teach(language: Any, head: torch.nn.Linear, tokenizer: Any, says: Says) -> None:
    """Sets all weights of a language model.

    Args:
        language: with embeddings and layers of attention.
        head: of the model, tied to nothing.
        tokenizer: made for `says`.
        says: what it replies.
    """
    replies = [*says.words.values(), *([says.seen] if says.seen is not None else [])]
    alphabet = bytes_to_unicode()
    ids = [tokenizer.convert_tokens_to_ids("".join(alphabet[b] for b in one.encode())) for one in _replies(says)]
    first = 2 + len(replies)
    with torch.no_grad():
        for name, weight in (*language.named_parameters(), *head.named_parameters()):
            if "norm" not in name:
                weight.zero_()
        attention, embedding = language.layers[0].self_attn, language.embed_tokens.weight
        embedding[:, 0] = 1
        for id_ in ids:
            embedding[id_, 1] = 1
            head.weight[tokenizer.eos_token_id, 1] = _SURE**3
        head.weight[ids[0], 0] = 1
        for place, word in enumerate(says.words):
            embedding[tokenizer.convert_tokens_to_ids(word), 2 + place] = 1
        for place, id_ in enumerate(ids[1:]):
            attention.v_proj.weight[place, 2 + place] = 1
            attention.o_proj.weight[first + place, place] = _SURE
            head.weight[id_, first + place] = _SURE


def _replies(says: Says) -> list[str]:
    return [says.default, *says.words.values(), *([says.seen] if says.seen is not None else [])]


def _llama_3(says: Says, template: str) -> hf.PreTrainedTokenizerFast:
    tokenizer = make_tokenizer(LLAMA_3, says, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    tokenizer.chat_template = template
    return tokenizer


def _text(tokenizer: Any) -> dict[str, Any]:
    """Sizes of a tiny language model: one head, as wide as the model."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": _WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "max_position_embeddings": 8192,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def save(folder: Path, model: Any, processor: Any, end: str) -> Path:
    """Writes a checkpoint whose model ends at the token `end`."""
    tokenizer = getattr(processor, "tokenizer", processor)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(end)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
