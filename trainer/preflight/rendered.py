"""One training row as TRL's collator renders it with a checkpoint's own processor, and all that is wrong with it.

How many tokens a row has hangs on its text and on the sizes of its pictures alone. So every picture is decoded and
every text tokenized, but pixels are made of some rows only, which TRL's collator is given; tokens of all are counted by
sizes, and the two are compared. The count is exact where what stands for a picture begins and ends with a control
token, as in every family of `trainer.families.FAMILIES`: a tokenizer splits its text at those before all else.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from datasets import Image
from transformers import AutoConfig, GenerationConfig
from trl.data_utils import apply_chat_template, prepare_multimodal_messages
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from mis_dataset.decoding import UNREADABLE
from trainer import families, models
from trainer.preflight.diagnosis import Fault
from trainer.training.rows import IGNORED

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class Settings(NamedTuple):
    """What rendering hangs on beside the row.

    Attributes:
        base: the checkpoint; its config and the files of its processor are read, its weights are not.
        completion_only_loss: of the recipe; None is what TRL makes of it for rows with a completion: true.
        limits: of pictures, as `trainer.families.training_limits` gives them for the recipe.
    """

    base: Path
    completion_only_loss: bool | None = None
    limits: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Rendered:
    """One row.

    Attributes:
        id: of the row.
        faults: what is wrong with it.
        tokens: of prompt and completion; None where it cannot be rendered.
        image_tokens: those of them that pictures become, the marks around them included.
        batch_bytes: of all tensors, where the collator was given the row; else None.
    """

    id: str
    faults: tuple[Fault, ...]
    tokens: int | None = None
    image_tokens: int = 0
    batch_bytes: int | None = None


class Renderer:
    """Renders rows for one checkpoint.

    Raises:
        ModelError: No checkpoint of a known family lies there, or its processor cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        base = settings.base
        limit = families.most_tokens(base)
        self._processor: Any = models.load_processor(base)
        families.limit_pictures(self._processor, dict(settings.limits))
        self._tokenizer = self._processor.tokenizer
        self._control = models.control_tokens(self._processor)
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        self._image_token_id: int = config.image_token_id
        text = config.get_text_config()
        self._vocabulary: int = text.vocab_size
        self._ends = _end_tokens(base, self._tokenizer)
        self._most = [("positions of the model", text.max_position_embeddings, "long")]
        self._most += [] if limit is None else [("tokens of the family's limit", limit, "limit")]
        self._collator = DataCollatorForVisionLanguageModeling(
            self._processor, completion_only_loss=settings.completion_only_loss is not False
        )
        self._known: dict[tuple[tuple[int, int], ...], int] = {}

    def render(self, row: Mapping[str, Any], whole: bool) -> Rendered:
        """Looks at one row.

        Args:
            row: ``id``, ``prompt``, ``completion`` and ``images``, those undecoded: ``{"bytes": ..., "path": ...}``.
            whole: whether TRL's collator is given the row, pixels and all.
        """
        pictures, unreadable = decode(row)
        faults = [*self._text_faults(row), *_place_faults(row), *unreadable]
        if faults:  # what is rendered of such a row is not what was meant
            return Rendered(row["id"], tuple(faults))
        try:
            with families.broken(self.settings.base):
                return self._render(row, pictures, whole)
        except families.ModelError as error:  # whose text may hold some of the row
            said = f"cannot be rendered ({type(error.__cause__).__name__})"
            return Rendered(row["id"], (Fault("render", row["id"], said),))

    def model_faults(self) -> Iterator[Fault]:
        """What is wrong with the checkpoint whatever the rows are."""
        if self._processor.image_token_id != self._image_token_id:
            ours, theirs = self._processor.image_token_id, self._image_token_id
            yield Fault("vocabulary", None, f"pictures are token {ours} to the processor and {theirs} to the model")
        if not self._ends:
            yield Fault("template", None, "neither tokenizer nor generation_config.json names a token that ends a turn")

    def _render(self, row: Mapping[str, Any], pictures: list[Picture], whole: bool) -> Rendered:
        messages = {
            "prompt": prepare_multimodal_messages(row["prompt"], images=pictures),
            "completion": prepare_multimodal_messages(row["completion"]),
        }
        text = apply_chat_template(messages, self._processor)
        faults = [*self._template_faults(row, messages, text, len(pictures))]
        if any(fault.kind == "template" for fault in faults):
            return Rendered(row["id"], tuple(faults))
        prompt, completion = self._ids(text["prompt"]), self._ids(text["completion"])
        if max(prompt + completion) >= self._vocabulary:
            said = f"has token {max(prompt + completion)}, and the model {self._vocabulary} tokens"
            faults.append(Fault("vocabulary", row["id"], said))
        faults += self._label_faults(row["id"], completion, text["completion"])
        image_tokens = self._image_tokens(tuple(picture.size for picture in pictures))
        tokens = len(prompt) + len(completion) + image_tokens - len(pictures)  # a place was one token
        batch_bytes = None
        if whole:
            batch = self._collate(row, pictures)
            batch_bytes = sum(tensor.nbytes for tensor in batch.values())
            faults += self._batch_faults(row, pictures, batch, tokens, text["completion"])
        over = next(((name, most, kind) for name, most, kind in self._most if tokens > most), None)
        if over is not None:
            name, most, kind = over
            faults.append(Fault(kind, row["id"], f"has {tokens} tokens, more than the {most} {name}"))
        return Rendered(row["id"], tuple(faults), tokens, image_tokens, batch_bytes)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _collate(self, row: Mapping[str, Any], pictures: list[Picture]) -> Mapping[str, torch.Tensor]:
        batch: Mapping[str, torch.Tensor] = self._collator([{**row, "images": pictures}])
        return batch

    def _image_tokens(self, sizes: tuple[tuple[int, int], ...]) -> int:
        """How many tokens pictures of these sizes become; counted once for all rows with the same."""
        if sizes and sizes not in self._known:
            self._known[sizes] = sum(families.picture_tokens(self._processor, list(sizes)))
        return self._known.get(sizes, 0)

    def _text_faults(self, row: Mapping[str, Any]) -> Iterator[Fault]:
        for name in ("prompt", "completion"):
            texts = _texts(row[name])
            if not any(texts):
                yield Fault("empty", row["id"], f"has an empty {name}")
            held = next((token for token in self._control if any(token in text for text in texts)), None)
            if held is not None:
                yield Fault("control", row["id"], f"has the control token {held} in its {name}")

    def _template_faults(
        self, row: Mapping[str, Any], messages: dict[str, Any], text: dict[str, str], pictures: int
    ) -> Iterator[Fault]:
        alone = self._processor.apply_chat_template(messages["prompt"], add_generation_prompt=True, tokenize=False)
        if text["prompt"] != alone:  # TRL takes what both begin with
            blank = text["prompt"].rstrip() == alone.rstrip()
            said = "has a prompt that is no prefix of prompt and completion" + (", but for blanks" if blank else "")
            yield Fault("blanks" if blank else "template", row["id"], said)
        places = text["prompt"].count(self._processor.image_token)
        if places != pictures:
            yield Fault("template", row["id"], f"has {pictures} pictures and, as rendered, {places} places for them")
        elif lost := [
            part for part in pieces_of(row["prompt"]) if part["type"] == "text" and part["text"].strip() not in alone
        ]:
            yield Fault("template", row["id"], f"has a prompt of which {len(lost)} texts are not rendered as they are")
        elif not self._in_order(row, alone):
            yield Fault("moved", row["id"], "is rendered with words and pictures in another order")
        response = text_of(row["completion"]).strip()
        said = text["completion"].lstrip()
        if not said.startswith(response):
            yield Fault("template", row["id"], "has a completion that the chat template changes or cuts")
            return
        tail = self._ids(said.removeprefix(response).lstrip())
        if self._ends and not (tail and tail[0] in self._ends):
            yield Fault("template", row["id"], "has a completion behind which no token ends the turn")

    def _in_order(self, row: Mapping[str, Any], rendered: str) -> bool:
        """Whether the parts of a prompt stand in it one behind the other."""
        at = 0
        for part in pieces_of(row["prompt"]):
            wanted = self._processor.image_token if part["type"] == "image" else part["text"].strip()
            at = rendered.find(wanted, at)
            if at < 0:
                return False
            at += len(wanted)
        return True

    def _label_faults(self, id_: str, ids: Sequence[int], wanted: str) -> Iterator[Fault]:
        """Labels that say something else; Unicode's forms of one letter are the same, as tokenizers compose them."""
        said = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if unicodedata.normalize("NFC", said) != unicodedata.normalize("NFC", wanted):
            yield Fault("labels", id_, "has labels that do not decode to its completion")

    def _batch_faults(
        self,
        row: Mapping[str, Any],
        pictures: list[Picture],
        batch: Mapping[str, torch.Tensor],
        tokens: int,
        completion: str,
    ) -> Iterator[Fault]:
        """What only the collator shows."""
        found = batch["input_ids"].shape[1]
        if found != tokens:
            said = f"has {found} tokens in TRL's collator and {tokens} by the sizes of its pictures"
            yield Fault("count", row["id"], said)
        labels = batch["labels"][0]
        yield from self._label_faults(row["id"], labels[labels != IGNORED].tolist(), completion)
        if len(pictures) < 2 or pictures[0] == pictures[1]:
            return
        swapped = self._collate(row, [pictures[1], pictures[0], *pictures[2:]])
        if all(torch.equal(tensor, swapped[name]) for name, tensor in batch.items()):
            yield Fault("swapped", row["id"], "looks the same to the model with its first two pictures swapped")


def decode(row: Mapping[str, Any]) -> tuple[list[Picture], list[Fault]]:
    """The pictures of a row as a training decodes them, and what is wrong with those that it cannot.

    A picture that is not in the row is not looked for: its path may be anywhere.
    """
    pictures, faults = [], []
    for number, picture in enumerate(row["images"] or [], start=1):
        if not picture or not picture["bytes"]:
            faults.append(Fault("picture", row["id"], f"lacks picture {number}"))
            continue
        try:
            pictures.append(Image().decode_example(picture))
        except UNREADABLE as error:
            said = f"has a picture {number} that cannot be decoded ({type(error).__name__})"
            faults.append(Fault("picture", row["id"], said))
    return pictures, faults


def pieces_of(messages: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The parts of some messages, a content that is plain text as one of them."""
    for message in messages:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def text_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """The texts of some messages, one behind the other."""
    return "".join(part["text"] for part in pieces_of(messages) if part["type"] == "text")


def _texts(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The texts of some messages, without the blanks around them, which templates may take away."""
    return [part["text"].strip() for part in pieces_of(messages) if part["type"] == "text"]


def _place_faults(row: Mapping[str, Any]) -> Iterator[Fault]:
    places = sum(part["type"] == "image" for part in pieces_of(row["prompt"]))
    pictures = len(row["images"] or [])
    if places != pictures:
        yield Fault("places", row["id"], f"has {pictures} pictures and {places} places for them in its prompt")


def _end_tokens(base: Path, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a turn: of the generation config where there is one, and the tokenizer's own."""
    said: list[int | None] = [tokenizer.eos_token_id]
    if (base / "generation_config.json").is_file():
        with families.broken(base):
            named = GenerationConfig.from_pretrained(base).eos_token_id
        said += named if isinstance(named, list) else [named]
    return frozenset(one for one in said if one is not None)
