"""The engine `transformers`: greedy and batched, in this process.

Rows of similar length share a batch. Rows that ask the same about the same pictures, such as a row and its twin
without pictures, are asked once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm.auto import tqdm

from mis_dataset.chat import Message, disarm, prompt
from trainer.artefacts import Response
from trainer.prompts import Prompt
from trainer.shares import ALL, Share

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import PreTrainedModel, ProcessorMixin


VERSION = "1-a"
"""The number changes when the same row is asked in other words, or the same model is made to speak in another way."""


class Said(NamedTuple):
    """What a model said to one prompt.

    Attributes:
        text: decoded, special tokens left out.
        ended: whether the model ended by itself; else it was cut off.
        tokens: of prompt and text together, padding left out.
    """

    text: str
    ended: bool
    tokens: int


def generate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    prompts: list[Prompt],
    max_new_tokens: int,
    batch_size: int,
    done: Collection[str] = (),
    share: Share = ALL,
) -> Iterator[list[Response]]:
    """Responses batch by batch, the longest questions first.

    Prompts that are equal but for their ids are asked once, and each of the ids gets the response. Ids in `done` are
    left out, but every batch holds what it would hold without them: in bfloat16 that may decide a near tie, and who
    goes on after an interruption, or with another number of processes, shall get the same responses.

    Args:
        model: as `trainer.models.load` gives it.
        processor: its processor.
        prompts: no id twice.
        max_new_tokens: most tokens of a response.
        batch_size: most different prompts of a batch.
        done: ids that have a response.
        share: which of the batches are made here.
    """
    batches = [batch for place, batch in enumerate(batched(prompts, batch_size)) if share.has(place)]
    missing = [{one.id for group in batch for one in group}.difference(done) for batch in batches]
    total = sum(len(group) for batch in batches for group in batch)
    with tqdm(total=total, initial=total - sum(map(len, missing)), desc="generate", disable=share.number > 0) as bar:
        for batch, wanted in zip(batches, missing, strict=True):
            if not wanted:
                continue
            said = _respond(model, processor, [group[0] for group in batch], max_new_tokens)
            rows = [replace(row, id=one.id) for row, group in zip(said, batch, strict=True) for one in group]
            rows = [row for row in rows if row.id in wanted]
            yield rows
            bar.update(len(rows))


def batched(prompts: list[Prompt], batch_size: int) -> list[list[list[Prompt]]]:
    """Prompts in batches of groups that ask the same.

    Args:
        prompts: no id twice.
        batch_size: most groups of a batch.

    Returns:
        The batches, longest questions first; those without pictures, which cannot share a call of a processor with
        others, last.
    """
    equal: dict[tuple[str, ...], list[Prompt]] = {}
    for one in prompts:
        equal.setdefault(one.content(), []).append(one)
    ordered = sorted(equal.values(), key=lambda group: (len(group[0].pictures), len(group[0].question)), reverse=True)
    parted = [[group for group in ordered if bool(group[0].pictures) == shown] for shown in (True, False)]
    return [part[start : start + batch_size] for part in parted for start in range(0, len(part), batch_size)]


def respond(
    model: PreTrainedModel, processor: Any, asked: list[tuple[list[Message], list[Image]]], max_new_tokens: int
) -> list[Said]:
    """What a model says to a batch of prompts: of all tokens always the likeliest, as they come from the model.

    A checkpoint may name settings of its own, such as a penalty on repetition, which would also fall on the words of
    the prompt; of these only which tokens begin, end and pad a text are heeded. vLLM leaves them alone as well.

    Args:
        model: as loaded.
        processor: its processor, or the tokenizer of a model that takes no pictures.
        asked: messages and the pictures that they name; all with pictures, or none.
        max_new_tokens: at most.

    Raises:
        ModelError: The tokens that begin or end a text, as generation_config.json has them, are none.
    """
    import torch

    from trainer.models import tokenizer_of

    tokenizer, ends = tokenizer_of(processor), _ends(model)
    inputs = encode(processor, asked)
    # On a CPU the default cache is copied whole at every token, an eighth of the time; on a GPU "static" would compile.
    cache = "static" if model.device.type == "cpu" else None
    with torch.inference_mode(), _greedily(model):
        made = model.generate(
            **inputs.to(model.device),
            max_new_tokens=max_new_tokens,
            cache_implementation=cache,
            pad_token_id=tokenizer.pad_token_id,
        )
    said = []
    for mask, ids in zip(inputs["attention_mask"], made[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
        end = next((place for place, token in enumerate(ids, 1) if token in ends), None)
        text = tokenizer.decode(ids, skip_special_tokens=True).strip()
        said.append(Said(text, end is not None, int(mask.sum()) + (end or len(ids))))
    return said


def encode(processor: Any, asked: list[tuple[list[Message], list[Image]]]) -> Any:
    """What a model gets for a batch of prompts: tensors by name, padded on the left.

    Args:
        processor: its processor, or the tokenizer of a model that takes no pictures.
        asked: messages and the pictures that they name; all with pictures, or none.
    """
    from trainer.models import tokenizer_of

    texts = [
        processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) for messages, _ in asked
    ]
    # A template that writes the first token itself shall not get it twice.
    bos = tokenizer_of(processor).bos_token
    begun = bool(bos) and texts[0].lstrip().startswith(bos)
    shown = {"images": [images for _, images in asked]} if asked[0][1] else {}
    return processor(
        text=texts, **shown, add_special_tokens=not begun, padding=True, padding_side="left", return_tensors="pt"
    )


def _respond(model: PreTrainedModel, processor: Any, batch: list[Prompt], max_new_tokens: int) -> list[Response]:
    from trainer.models import control_tokens

    control = control_tokens(processor)
    asked = [
        (prompt(disarm(one.question, control), len(one.pictures)), [each.image() for each in one.pictures])
        for one in batch
    ]
    said = respond(model, processor, asked, max_new_tokens)
    return [
        Response(one.id, found.text, "stop" if found.ended else "length")
        for one, found in zip(batch, said, strict=True)
    ]


@contextmanager
def _greedily(model: PreTrainedModel) -> Iterator[None]:
    """Takes away how a checkpoint would like to speak, but for its tokens, and gives it back: `sft` saves it."""
    from transformers import GenerationConfig

    own = model.generation_config
    tokens = {name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    # Below an adapter lies the model, to which PEFT hands on what its wrapper has, or does not.
    holders = [model, model.get_base_model()] if hasattr(model, "get_base_model") else [model]
    for holder in holders:
        holder.generation_config = GenerationConfig(**tokens, do_sample=False)
    try:
        yield
    finally:
        for holder in holders:
            holder.generation_config = own


def _ends(model: PreTrainedModel) -> set[int]:
    """Tokens that end a text; none where a checkpoint names none."""
    own = model.generation_config
    ends, begins = _as_list(own.eos_token_id), _as_list(own.bos_token_id)
    known = len(model.get_input_embeddings().weight)  # what an adapter puts around embeddings has weights, no number
    wrong = [] if all(type(end) is int and 0 <= end < known for end in ends) else ["eos_token_id"]
    # Which one begins a text is the tokenizer's matter, so -1 for none does no harm.
    wrong += [] if all(type(begin) is int for begin in begins) else ["bos_token_id"]
    if wrong:
        from trainer.families import ModelError

        raise ModelError(f"{model.name_or_path}: generation_config.json: {wrong[0]} is no token; correct it")
    return set(ends)


def _as_list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [] if found is None else [found]
