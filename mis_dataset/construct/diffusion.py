"""A pipeline of diffusers that draws here.

    drawing: {engine: diffusers, model: stabilityai/stable-diffusion-3.5-large, steps: 28, guidance: 4.5}

Any folder or repository that `AutoPipelineForText2Image` knows, from safetensors alone and without code of its own. One
picture is drawn at a time, from noise by its own seed, so that a second run on the same machine draws the same; each is
in the cache of replies before anybody sees it, so that a run which is killed draws none twice. What a process is about
to draw it claims there; others draw something else meanwhile, or wait.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import threading
import time
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from mis_dataset.construct.checkpoints import device_of_torch, identity_of, local_or_hub, refuse_code
from mis_dataset.construct.drawers import Given, Nothing, Wanted
from mis_dataset.errors import CacheError, MISError, RemoteError, UsageError
from mis_dataset.remote.cache import LOOK, Cache
from mis_dataset.remote.messages import Reply

ENGINE = "diffusers"
_DTYPES = ("auto", "float32", "bfloat16", "float16")
_SIZE = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})")
_ASIDE = ("dtype",)
"""Settings that the key of a picture does not hang on as they are written: it has the one that "auto" became."""


@dataclass(frozen=True)
class Diffusion:
    """How a pipeline draws.

    Attributes:
        model: folder, or repository on the Hub.
        revision: of that repository; a commit makes a run that can be repeated.
        steps: of denoising.
        guidance: how closely the prompt is followed.
        negative: what is not to be seen; empty for nothing.
        dtype: of the weights; "auto" is bfloat16 on a GPU and float32 elsewhere.

    Raises:
        UsageError: A value is out of range.
    """

    model: str
    revision: str = ""
    steps: int = 28
    guidance: float = 4.5
    negative: str = ""
    dtype: str = "auto"

    def __post_init__(self) -> None:
        texts = (self.model, self.revision, self.negative)
        if not all(isinstance(text, str) for text in texts) or not self.model:
            raise UsageError("model, revision and negative are texts, and the first is not empty")
        if type(self.steps) is not int or not 1 <= self.steps <= 1000:
            raise UsageError("steps is no whole number from 1 to 1000")
        if type(self.guidance) not in (int, float) or not 0 <= self.guidance < math.inf:
            raise UsageError("guidance is no number from 0 on")
        if self.dtype not in _DTYPES:
            raise UsageError(f"dtype is none of {', '.join(_DTYPES)}")


class DiffusionDrawer:
    """That pipeline; its weights are loaded when the first picture is drawn.

    Args:
        settings: how it draws.
        cache: file of replies; made where it is missing.
        replay: whether nothing is drawn and the Hub not asked: what is not in the cache is an error. The model must be
            there, as its files, or its commit, say which it is; it is not loaded.

    Raises:
        UsageError: The extra is missing, or the model is neither a folder nor a repository; when the block begins.
        MISError: The model cannot be fetched, brings code, or is none; when the block begins or the first is drawn.
    """

    def __init__(self, settings: Diffusion, cache: Path, replay: bool = False) -> None:
        self._settings = settings
        self._path, self._replay = cache, replay
        self._lock = threading.Lock()  # a GPU draws one after the other
        self._closed = False
        self._pipeline: Any = None
        self.identity = ""

    def __enter__(self) -> DiffusionDrawer:
        self._folder = _folder_of(self._settings, self._replay)
        refuse_code(self._folder)
        self.identity = identity_of(self._folder)
        self._device, self._dtype = _placed(self._settings.dtype)
        with ExitStack() as opened:
            self._cache = opened.enter_context(Cache(self._path))
            opened.enter_context(self._cache.renewing())
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        with self._lock:  # the one that is being drawn is kept; those that wait are given up
            self._opened.close()
            self._pipeline = None

    def draw(self, wanted: Wanted) -> Given | Nothing:
        """The picture, or why there is none.

        Raises:
            RemoteError: It is a replay, and nobody drew it.
            MISError: The pipeline cannot be loaded, or a picture of that size does not fit into memory.
            CancelledError: The block ended meanwhile.
        """
        key, size = self._key(wanted), size_of(wanted.size)
        if self._replay and not self._kept(key):
            text = f"{self._name} never drew this for {wanted.id}, or with other settings"
            raise RemoteError(f"{self._path}: {text}; run it without a replay")
        while (reply := self._kept(key) or self._made(key, wanted, size)) is None:
            time.sleep(LOOK)
        if not reply.picture:
            return Nothing("refused", reply.finish)
        return Given(reply.picture, wanted.prompt, reply.model)

    @property
    def _name(self) -> str:
        return f"{Path(self._settings.model).name}@{self.identity[:12]}"

    def _made(self, key: str, wanted: Wanted, size: tuple[int, int]) -> Reply | None:
        """The picture, drawn here unless it has come meanwhile; None where another process is about to draw it."""
        with self._lock:
            kept = self._kept(key)
            if kept or not self._cache.claim(key):  # claimed by whoever draws it next, not by all who wait to
                return kept
            try:
                return self._kept(key) or self._cache.put(key, self._drawn(wanted, *size))
            finally:
                self._cache.give_up(key)

    def _kept(self, key: str) -> Reply | None:
        """What the cache has."""
        try:
            if not self._closed:
                return self._cache.get(key)
        except CacheError:
            if not self._closed:
                raise
        raise CancelledError

    def _key(self, wanted: Wanted) -> str:
        """sha256 of all that a picture hangs on, but for the machine."""
        settings = {name: value for name, value in asdict(self._settings).items() if name not in _ASIDE}
        about = settings | {
            **{"engine": ENGINE, "model": self.identity, "revision": "", "dtype": self._dtype},
            **{"prompt": wanted.prompt, "size": wanted.size, "seed": wanted.seed},
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def _drawn(self, wanted: Wanted, width: int, height: int) -> Reply:
        import torch

        self._pipeline = self._pipeline or _loaded(self._folder, self._dtype, self._device)
        words = {"negative_prompt": self._settings.negative} if self._settings.negative else {}
        try:
            # Noise from the CPU is the same whatever draws from it.
            told = self._pipeline(
                prompt=wanted.prompt,
                width=width,
                height=height,
                num_inference_steps=self._settings.steps,
                guidance_scale=float(self._settings.guidance),
                generator=torch.Generator("cpu").manual_seed(wanted.seed),
                output_type="pil",
                **words,
            )
        except torch.OutOfMemoryError as error:
            raise MISError(f"a picture of {wanted.size} does not fit into memory; draw smaller ones") from error
        date = datetime.now(UTC).date().isoformat()
        if any(getattr(told, "nsfw_content_detected", None) or ()):
            return Reply("", "content_filter", model=self._name, date=date)
        told.images[0].save(stream := io.BytesIO(), "PNG")
        return Reply("", "stop", model=self._name, date=date, picture=stream.getvalue())


def size_of(size: str) -> tuple[int, int]:
    """Width and height in pixels.

    >>> size_of("512x768")
    (512, 768)

    Raises:
        UsageError: It is none that a pipeline draws.
    """
    found = _SIZE.fullmatch(size)
    if not found or int(found[1]) % 8 or int(found[2]) % 8:
        raise UsageError(f"size: {size} is no WIDTHxHEIGHT of pixels, both a multiple of 8")
    return int(found[1]), int(found[2])


def _folder_of(settings: Diffusion, replay: bool) -> Path:
    """The folder of the pipeline, which is fetched where it is on the Hub."""
    if not replay:
        _refuse_missing()
    folder = local_or_hub(settings.model)
    if folder is None:
        folder = _kept_of(settings) if replay else _fetched(settings)
    if not (folder / "model_index.json").is_file():
        raise MISError(f"{settings.model}: has no model_index.json, so it is no pipeline of diffusers; name another")
    return folder


def _refuse_missing() -> None:
    try:
        from diffusers import DiffusionPipeline
    except ModuleNotFoundError as error:
        raise UsageError(f"drawing here needs {error.name}; pip install 'mis-dataset[draw]'") from None
    del DiffusionPipeline


def _fetched(settings: Diffusion) -> Path:
    from diffusers import DiffusionPipeline

    try:
        # Of a repository, only what the pipeline reads.
        revision = settings.revision or None
        return Path(DiffusionPipeline.download(settings.model, revision=revision, use_safetensors=True))
    except (OSError, ValueError, RuntimeError) as error:
        raise MISError(f"{settings.model}: cannot be fetched as a pipeline ({type(error).__name__})") from error


def _kept_of(settings: Diffusion) -> Path:
    """What was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(settings.model, "model_index.json", revision=settings.revision or None)
    if not isinstance(index, str):
        text = "was not fetched before, and a replay does not ask the Hub; run it without a replay"
        raise MISError(f"{settings.model}: {text}")
    return Path(index).parent


def _placed(dtype: str) -> tuple[str, str]:
    """Where to draw, and in which format of numbers."""
    device = device_of_torch()
    return device, {"cuda": "bfloat16"}.get(device, "float32") if dtype == "auto" else dtype


def _loaded(folder: Path, dtype: str, device: str) -> Any:
    import torch
    from diffusers import AutoPipelineForText2Image
    from safetensors import SafetensorError

    faults = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError, SafetensorError)
    try:
        pipeline = AutoPipelineForText2Image.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, local_files_only=True, dtype=getattr(torch, dtype)
        )
    except faults as error:
        raise MISError(
            f"{folder.name}: is no pipeline that draws from a text, in safetensors ({type(error).__name__}); "
            "fetch it again or name another"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
