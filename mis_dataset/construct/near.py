"""Which earlier rows have texts that mean nearly the same? Found in a few hundred bytes a row, and hardly one missed.

A text is kept as a signature of 256 bits, on which side of as many random planes its vector lies; what may be near by
its bits is compared by the vectors themselves, which are on the disk. Every row is held against the signatures of all
before it, so that the time of all comparisons grows with the square of the rows.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mis_dataset.construct.sentences import SIZE, Sentences
from mis_dataset.schema import MOST_IMAGES

if TYPE_CHECKING:
    import numpy as np

_BITS, _WORD = 256, 64
_SPREADS = 4.0
"""Standard deviations beyond the bits that are expected to differ: of texts at the limit one in 30,000 is missed."""
_ROUNDED = 1e-6
"""Of the product of a vector with itself."""


class Near:
    """Texts by row, so many of each, in the order in which they were added.

    Args:
        columns: texts of a row.
        near: cosine from which on two texts are near; None: only equal ones are, letter case and spaces evened out.
        sentences: makes their vectors; needed for `near`.
    """

    def __init__(self, columns: int, near: float | None = None, sentences: Sentences | None = None) -> None:
        self._columns, self._near, self._sentences = columns, near, sentences
        self._equal: defaultdict[bytes, list[int]] = defaultdict(list)
        self._keys = bytearray()
        # By column and word, so that a pass over all rows reads what lies side by side.
        self._signs = [[bytearray() for _ in range(_BITS // _WORD)] for _ in range(columns)]
        self._count = 0
        if near is not None:
            import numpy as np

            self._planes = np.random.default_rng(0).standard_normal((SIZE, _BITS), np.float32)
            share = math.acos(near) / math.pi
            self._most = _BITS * share + _SPREADS * math.sqrt(_BITS * share * (1 - share))

    def add(self, texts: Sequence[str]) -> int:
        """Adds a row; its place, from 0."""
        assert len(texts) == self._columns
        if self._near is None:
            self._equal[_key(texts)].append(self._count)
        else:
            for text, signs in zip(map(folded, texts), self._signs, strict=True):
                self._keys += hashlib.sha256(text.encode()).digest()
                for held, word in zip(signs, self._sign(self._vector(text)), strict=True):
                    held += word.tobytes()
        self._count += 1
        return self._count - 1

    def find(self, texts: Sequence[str], among: Sequence[int] | None = None) -> Iterator[tuple[int, float]]:
        """The rows that are near in every text, in their order, each with the least cosine of its texts.

        Args:
            texts: of a row.
            among: places that are looked at; None: all.
        """
        if self._near is None:
            yield from ((place, 1.0) for place in self._equal.get(_key(texts), ()) if among is None or place in among)
            return
        vectors = [self._vector(folded(text)) for text in texts]
        for place in self._candidates(vectors) if among is None else among:
            least = min(float(vector @ self._kept(place, column)) for column, vector in enumerate(vectors))
            if least >= self._near - _ROUNDED:
                yield place, min(least, 1.0)

    def _candidates(self, vectors: Sequence[np.ndarray[Any, Any]]) -> list[int]:
        """Rows that may be near by their signatures; their last texts, which tell most apart, are looked at first."""
        import numpy as np

        places = np.arange(self._count)
        for signs, vector in reversed(list(zip(self._signs, vectors, strict=True))):
            among = places if len(places) < self._count else slice(None)
            differ = np.zeros(len(places), np.uint16)
            for held, word in zip(signs, self._sign(vector), strict=True):
                differ += np.bitwise_count(np.frombuffer(held, np.uint64)[among] ^ word)
            places = places[differ <= self._most]
        return [int(place) for place in places]

    def _sign(self, vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.packbits(vector @ self._planes > 0).view(np.uint64)

    def _vector(self, text: str) -> np.ndarray[Any, Any]:
        assert self._sentences is not None
        return self._sentences(text)

    def _kept(self, place: int, column: int) -> np.ndarray[Any, Any]:
        assert self._sentences is not None
        at = 32 * (place * self._columns + column)
        return self._sentences.kept(bytes(self._keys[at : at + 32]).hex())


def folded(text: str) -> str:
    """A text with letter case and spaces evened out.

    >>> folded("How  Do I?")
    'how do i?'
    """
    return " ".join(text.casefold().split())


def _key(texts: Sequence[str]) -> bytes:
    return hashlib.sha256("\0".join(map(folded, texts)).encode()).digest()[:16]


class Looks:
    """Perceptual hashes of the pictures of rows, 64 bits each: 32 bytes a row."""

    def __init__(self) -> None:
        self._looks = bytearray()

    def add(self, looks: Sequence[int]) -> None:
        """Adds a row, its pictures in any order."""
        for look in (*looks, *[looks[0]] * (MOST_IMAGES - len(looks))):
            self._looks += look.to_bytes(8, sys.byteorder)

    def alike(self, looks: Sequence[int]) -> list[int]:
        """The rows of whose pictures each looks like one of these, and the other way round; their places in order."""
        import numpy as np

        from mis_dataset.leaks import NEAR_IMAGE

        held = np.frombuffer(self._looks, np.uint64).reshape(-1, MOST_IMAGES, 1)
        near = np.bitwise_count(held ^ np.array(looks, np.uint64)) <= NEAR_IMAGE
        return [int(place) for place in np.flatnonzero(near.any(axis=2).all(axis=1) & near.any(axis=1).all(axis=1))]

    def with_one_like(self, look: int) -> int | None:
        """The first row one of whose pictures looks like this; None where there is none."""
        import numpy as np

        from mis_dataset.leaks import NEAR_IMAGE

        near = np.bitwise_count(np.frombuffer(self._looks, np.uint64) ^ np.uint64(look)) <= NEAR_IMAGE
        return int(near.argmax()) // MOST_IMAGES if near.any() else None
