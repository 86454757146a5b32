"""A model of texts and images (CLIP, SigLIP): what a text says and what pictures show, among the same vectors."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mis_dataset.construct.checkpoints import device_of_torch, identity_of, local_or_hub, refuse_code
from mis_dataset.errors import MISError, UsageError

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Places texts and pictures among the same vectors."""

    @property
    def name(self) -> str:
        """Which model in which version."""

    def text(self, text: str) -> Vectors:
        """One vector."""

    def pictures(self, pngs: Sequence[bytes]) -> Vectors:
        """One row a picture."""


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
