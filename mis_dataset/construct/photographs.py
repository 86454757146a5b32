"""Photographs of a folder, found by what they show: pictures of the split "real".

    drawing: {engine: folder, model: google/siglip-base-patch16-224, folder: photographs}

A model of texts and images (CLIP, SigLIP) places every picture and every thing among the same vectors. The first round
takes the picture nearest to the thing, each later one the next, so that the critic can refuse one. Where a picture
comes from and under which licence is read from `metadata.jsonl` beside them, one line a file:

    {"file_name": "lamp.jpg", "licence": "CC-BY-4.0", "source": "https://photos.example/7"}

Vectors are kept in OUT by the sha256 of each file, so that a picture is embedded once. Of files with the same bytes one
is used.

Source: arXiv 2501.18533, section 3.2, which found pictures for 100 rows of its tests in LAION-2B-en-research-safe.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mis_dataset import pictures
from mis_dataset.construct.checkpoints import device_of_torch, identity_of, local_or_hub, refuse_code
from mis_dataset.construct.drawers import Given, Nothing, Wanted
from mis_dataset.decoding import plain_png
from mis_dataset.errors import MISError, PictureError, Problem, ProblemsError, UsageError, plain, refuse_constant
from mis_dataset.files import replace_file

ENGINE = "folder"
INDEX, METADATA = "photographs.npz", "metadata.jsonl"
_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_AT_ONCE, _SAVED_EVERY = 32, 4096
"""Pictures that are embedded at once, and after how many the index is written."""
_MOST_NAME = 300
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Photographs:
    """Where photographs lie and who finds them.

    Attributes:
        model: of texts and images: folder, or repository on the Hub.
        folder: of the pictures, at any depth.
        revision: of that repository.

    Raises:
        UsageError: One is no text, or empty.
    """

    model: str
    folder: str
    revision: str = ""

    def __post_init__(self) -> None:
        texts = (self.model, self.folder, self.revision)
        if not all(isinstance(text, str) for text in texts) or not (self.model and self.folder):
            raise UsageError("model, folder and revision are texts, and the first two are not empty")


class Embedder(Protocol):
    """Places texts and pictures among the same vectors."""

    @property
    def name(self) -> str:
        """Which model in which version."""

    def text(self, text: str) -> Vectors:
        """One vector."""

    def pictures(self, pngs: Sequence[bytes]) -> Vectors:
        """One row a picture."""


class _Photograph(NamedTuple):
    """A file of the folder."""

    name: str
    sha256: str
    licence: str
    source: str


class PhotographDrawer:
    """Finds pictures; what it has not seen yet is embedded when the block begins. Open it inside `strict_pillow`.

    Args:
        settings: where they lie.
        out: folder of the construction, where the index is kept.
        embedder: None: the model of the settings.

    Raises:
        UsageError: The folder is none, or the extra is missing; when the block begins.
        ProblemsError: Files are no pictures, or lead out of the folder; all of them.
        MISError: The model cannot be fetched or is none, or metadata.jsonl is broken.
    """

    def __init__(self, settings: Photographs, out: Path, embedder: Embedder | None = None) -> None:
        self._settings = settings
        self._index = out / INDEX
        self._embedder = embedder
        self._lock = threading.Lock()
        self.identity = ""

    def __enter__(self) -> PhotographDrawer:
        folder = Path(self._settings.folder)
        if not folder.is_dir():
            raise UsageError(f"{folder}: is no folder of photographs")
        self._release = pictures.Pictures(folder)
        self._embedder = self._embedder or Clip(self._settings.model, self._settings.revision)
        self._photographs = self._listed(folder)
        self._vectors = self._embedded(self._embedder)
        told = [self._embedder.name, *self._photographs]
        self.identity = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release.__exit__(kind, error, trace)

    def draw(self, wanted: Wanted) -> Given | Nothing:
        """The picture that is as near to the thing as the round says, from the nearest on."""
        if wanted.round > len(self._photographs):
            return Nothing("no picture", f"the folder has {len(self._photographs)}, round {wanted.round} wants another")
        assert self._embedder is not None
        prompt = f"a photo of {wanted.thing}"
        with self._lock:
            scores = self._vectors @ _unit(self._embedder.text(prompt)[None])[0]
        place = int(np.argsort(-scores, kind="stable")[wanted.round - 1])
        found, score = self._photographs[place], round(float(scores[place]), 4)
        held = self._release.read(found.name)
        if hashlib.sha256(held).hexdigest() != found.sha256:
            raise PictureError(f"{found.name}: was changed during the run; run it again")
        source = found.source or found.name
        return Given(held, prompt, self._embedder.name, found.licence, source, score)

    def _listed(self, folder: Path) -> list[_Photograph]:
        """All pictures of the folder, by name, each once."""
        about, found, problems = _metadata(folder / METADATA), dict[str, _Photograph](), list[Problem]()
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in _ENDINGS or path.is_dir():
                continue
            name = path.relative_to(folder).as_posix()
            try:
                sha256 = hashlib.sha256(self._release.read(name)).hexdigest()
            except PictureError as error:
                problems.append(Problem(name, None, str(error)))
                continue
            found.setdefault(sha256, _Photograph(name, sha256, *about.get(name, ("", ""))))
        if problems:
            raise ProblemsError(problems)
        if not found:
            raise UsageError(f"{folder}: holds no picture; put photographs there")
        return list(found.values())

    def _embedded(self, embedder: Embedder) -> Vectors:
        """One unit vector a photograph, in order; those of the index are not computed again."""
        known, problems = self._kept(embedder.name), list[Problem]()
        new = [one for one in self._photographs if one.sha256 not in known]
        for first in range(0, len(new), _AT_ONCE):
            chunk, pngs = new[first : first + _AT_ONCE], []
            for one in chunk:
                try:
                    pngs.append(plain_png(self._release.read(one.name)))
                except PictureError as error:
                    problems.append(Problem(one.name, None, f"picture {error}"))
            if not problems:
                vectors = _unit(embedder.pictures(pngs))
                known |= {one.sha256: vector for one, vector in zip(chunk, vectors, strict=True)}
                if first // _SAVED_EVERY < (first + _AT_ONCE) // _SAVED_EVERY or first + _AT_ONCE >= len(new):
                    self._keep(embedder.name, known)
        if problems:
            raise ProblemsError(problems)
        return np.stack([known[one.sha256] for one in self._photographs])

    def _kept(self, name: str) -> dict[str, Vectors]:
        """sha256 -> vector of the index, where it is of the same model."""
        if not self._index.is_file():
            return {}
        try:
            with self._index.open("rb") as file, np.load(file, allow_pickle=False) as held:
                model, hashes, vectors = str(held["model"]), held["sha256"], held["vectors"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise MISError(f"{self._index}: is no index of photographs; remove it, and it is made anew") from error
        if model != name or vectors.ndim != 2 or len(hashes) != len(vectors):
            return {}
        return {str(sha256): vector for sha256, vector in zip(hashes, vectors.astype(np.float32), strict=True)}

    def _keep(self, name: str, known: Mapping[str, Vectors]) -> None:
        with replace_file(self._index) as temporary, temporary.open("wb") as file:
            np.savez(file, model=np.array(name), sha256=np.array(list(known)), vectors=np.stack(list(known.values())))


def _unit(vectors: Vectors) -> Vectors:
    """Vectors of length 1."""
    lengths: Vectors = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return np.asarray(vectors / lengths, np.float32)


def _metadata(path: Path) -> dict[str, tuple[str, str]]:
    """File name -> its licence and source."""
    found: dict[str, tuple[str, str]] = {}
    if not path.is_file():
        return found
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=refuse_constant)
            name = row["file_name"]
            told = [row.get(one, row.get(other, "")) for one, other in (("licence", "license"), ("source", "url"))]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise MISError(f'{path.name}:{number}: is no object with a "file_name"') from error
        if not all(isinstance(text, str) for text in (name, *told)):
            raise MISError(f"{path.name}:{number}: file_name, licence and source are texts")
        found[name] = (plain(told[0])[:_MOST_NAME], plain(told[1])[:_MOST_NAME])
    return found


class Clip:
    """A model of texts and images by transformers; its weights are loaded when the first thing is embedded.

    Attributes:
        name: of the model, and its commit or a digest of its files.

    Raises:
        UsageError: The extra is missing, or the model is neither a folder nor a repository.
        MISError: It cannot be fetched, or brings code of its own.
    """

    def __init__(self, model: str, revision: str = "") -> None:
        try:
            import torch
            import transformers
        except ModuleNotFoundError as error:
            raise UsageError(f"finding photographs needs {error.name}; pip install 'mis-dataset[draw]'") from None
        del torch, transformers
        self._folder = local_or_hub(model) or _fetched(model, revision)
        refuse_code(self._folder)
        self.name = f"{Path(model).name}@{identity_of(self._folder)[:12]}"
        self._held: tuple[Any, Any, str] | None = None

    def text(self, text: str) -> Vectors:
        """One vector.

        Raises:
            MISError: The model is none of texts and images.
        """
        model, processor, device = self._loaded()
        most = model.config.text_config.max_position_embeddings
        told = processor(text=[text], return_tensors="pt", padding="max_length", truncation=True, max_length=most)
        vector: Vectors = self._computed(model.get_text_features, told.to(device))[0]
        return vector

    def pictures(self, pngs: Sequence[bytes]) -> Vectors:
        """One row a picture.

        Raises:
            MISError: The model is none of texts and images.
        """
        model, processor, device = self._loaded()
        opened = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
        return self._computed(model.get_image_features, processor(images=opened, return_tensors="pt").to(device))

    def _computed(self, compute: Any, told: Mapping[str, Any]) -> Vectors:
        import torch

        with torch.inference_mode():
            vectors = compute(**told)
        # From version 5 of transformers on it comes with the states of all layers.
        made: Vectors = getattr(vectors, "pooler_output", vectors).float().cpu().numpy()
        return made

    def _loaded(self) -> tuple[Any, Any, str]:
        if self._held is None:
            self._held = _loaded(self._folder)
        return self._held


def _loaded(folder: Path) -> tuple[Any, Any, str]:
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoProcessor

    faults = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError, SafetensorError)
    try:
        model = AutoModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False, local_files_only=True)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except faults as error:
        raise MISError(
            f"{folder.name}: cannot be loaded from safetensors ({type(error).__name__}); fetch it again"
        ) from error
    if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
        raise MISError(f"{folder.name}: is no model of texts and images, such as CLIP or SigLIP; name another")
    device = device_of_torch()
    return model.float().eval().to(device), processor, device


def _fetched(model: str, revision: str) -> Path:
    """The folder of a checkpoint on the Hub, without weights of other frameworks."""
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
    try:
        return Path(snapshot_download(model, revision=revision or None, allow_patterns=patterns))
    except (OSError, ValueError, RuntimeError) as error:
        raise MISError(f"{model}: cannot be fetched ({type(error).__name__})") from error
