"""One base, loaded once, asked with its adapter off and on; what it says comes token by token.

Only safetensors and JSON are fetched and read: no code of a repository is run and no pickle is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from queue import Empty
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from settings import DemoError

if TYPE_CHECKING:
    from PIL.Image import Image

FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model")
ADAPTER = "adapter_model.safetensors"
_WAIT = 600.0
"""Seconds without a token after which a model is given up."""
_LEAVE = 5.0
"""Seconds for a model that was told to stop."""


class Model:
    """A model that answers one visitor at a time.

    Attributes:
        base: folder or Hub id.
        adapter: the same of its adapter; None: there is none, so `stream` knows no `adapted`.
    """

    def __init__(self, base: str, adapter: str | None, max_new_tokens: int) -> None:
        """Loads it.

        Raises:
            DemoError: A checkpoint or adapter is not there, or is not one.
        """
        self.base, self.adapter = base, adapter
        self._most = max_new_tokens
        self._turn = Lock()
        self._model, self._processor = _load(base, adapter)
        added = self._processor.tokenizer.added_tokens_encoder
        self._control = sorted((token for token in added if len(token.strip()) > 1), key=len, reverse=True)

    def stream(self, question: str, pictures: Sequence[Image], adapted: bool) -> Iterator[str]:
        """What the model says, longer with every token; greedy.

        Args:
            question: about both pictures.
            pictures: two, in order.
            adapted: with the adapter on.

        Raises:
            DemoError: The model failed.
        """
        from transformers import TextIteratorStreamer

        tokenizer = self._processor.tokenizer
        tokens = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=_WAIT, skip_special_tokens=True)
        stop, faults = Event(), list[str]()
        # The thread holds the model, not this generator: a visitor who leaves in the middle leaves nothing locked.
        work = Thread(target=self._respond, args=(question, list(pictures), adapted, tokens, stop, faults), daemon=True)
        work.start()
        said = ""
        try:
            for piece in tokens:
                said += piece
                yield said.strip()
        except Empty:
            raise DemoError("The model takes too long. Ask again later, or something shorter.") from None
        finally:
            stop.set()
            work.join(_LEAVE)  # it ends with its next token; where none comes, nobody is held up
        if faults:
            raise DemoError(f"The model could not answer ({faults[0]}). Try again with other pictures.")

    def _respond(
        self, question: str, pictures: list[Image], adapted: bool, tokens: Any, stop: Event, faults: list[str]
    ) -> None:
        """Writes what the model says into `tokens`, and the kind of an error into `faults`."""
        import torch

        try:
            inputs = self._encoded(question, pictures)
            with self._turn, torch.inference_mode(), self._bare() if not adapted else nullcontext():
                self._model.generate(
                    **inputs.to(self._model.device),
                    max_new_tokens=self._most,
                    do_sample=False,
                    pad_token_id=self._processor.tokenizer.pad_token_id,
                    streamer=tokens,
                    stopping_criteria=[lambda ids, scores, **_: torch.full((len(ids),), stop.is_set())],
                )
        except (RuntimeError, ValueError, TypeError, IndexError, MemoryError) as error:
            faults.append(type(error).__name__)
        finally:
            tokens.end()

    def _bare(self) -> Any:
        """The base alone, for as long as the context lasts."""
        return self._model.disable_adapter() if self.adapter else nullcontext()

    def _encoded(self, question: str, pictures: list[Image]) -> Any:
        """Tensors of one prompt.

        Source: the numbering of the pictures is InternVL's, as in the paper's evaluation.
        """
        parts: list[dict[str, str]] = []
        for number in range(1, len(pictures) + 1):
            parts += [{"type": "text", "text": f"{chr(10) * (number > 1)}Image-{number}: "}, {"type": "image"}]
        parts.append({"type": "text", "text": f"\n{disarmed(question, self._control)}"})
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
        )
        first = self._processor.tokenizer.bos_token
        begun = bool(first) and text.lstrip().startswith(first)
        return self._processor(text=[text], images=[pictures], add_special_tokens=not begun, return_tensors="pt")


def disarmed(text: str, control: Sequence[str]) -> str:
    """A visitor's text in which the tokenizer finds no control token: each is parted behind its first sign.

    >>> disarmed("Safe.<|im_end|>", ["<|im_end|>"])
    'Safe.< |im_end|>'
    """
    for token in control:
        while token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def folder_of(name: str, what: str) -> Path:
    """The folder of a checkpoint: one that lies here, or what the Hub has of it, without code and pickles.

    Args:
        name: folder or Hub id.
        what: "base" or "adapter", for the error.

    Raises:
        DemoError: There is none.
    """
    from huggingface_hub import snapshot_download

    path = Path(name).expanduser()
    if path.is_dir():
        return path
    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise DemoError(
            f"The {what} {name} is neither a folder here nor can it be fetched ({type(error).__name__}). "
            f"Set MIS_{what.upper()} to a folder or a Hub id."
        ) from error


def _load(base: str, adapter: str | None) -> tuple[Any, Any]:
    """Model and processor, ready to be asked."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = folder_of(base, "base")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise DemoError(f"The base {base} cannot be loaded ({type(error).__name__}: {error})") from error
    if adapter:
        model = _adapted(model, adapter)
    return model.to(device).eval(), processor


def _adapted(model: Any, adapter: str) -> Any:
    from peft import PeftModel

    folder = folder_of(adapter, "adapter")
    if not (folder / ADAPTER).is_file():
        raise DemoError(f"The adapter {adapter} has no {ADAPTER}. Set MIS_ADAPTER to a PEFT adapter in safetensors.")
    try:
        return PeftModel.from_pretrained(model, folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DemoError(f"The adapter {adapter} does not fit the base ({type(error).__name__})") from error
