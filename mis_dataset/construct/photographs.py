"""Photographs that are found by what they show: pictures of the split "real".

A model of texts and images places every picture of a shelf and every thing among the same vectors. The first round
takes the picture nearest to the thing, each later one the next, so that the critic can refuse one.

Vectors are kept in OUT by the sha256 of each file, so that a picture is embedded once. Of files with the same bytes one
is used. Held are the vectors (3 kB a picture with SigLIP base), never the pictures.

Source: arXiv 2501.18533, section 3.2, which found pictures for 100 rows of its tests in LAION-2B-en-research-safe.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
from tqdm import tqdm

from mis_dataset.construct.clip import Clip, Embedder, Vectors
from mis_dataset.construct.drawers import Given, Nothing, Wanted
from mis_dataset.construct.photo_sets import PhotoSet
from mis_dataset.construct.shelves import Photograph, Photographs, Shelf
from mis_dataset.decoding import plain_png
from mis_dataset.errors import MISError, PictureError, Problem
from mis_dataset.files import replace_file, write_json

INDEX, ABOUT = "photographs.npz", "photographs.meta.json"
"""Vectors, and what a run says of where they come from."""
_AT_ONCE, _SAVED_EVERY = 32, 4096
"""Pictures that are embedded at once, and after how many the index is written."""


class PhotographDrawer:
    """Finds pictures; what it has not seen yet is embedded when the block begins. Open it inside `strict_pillow`.

    Args:
        settings: where they lie.
        out: folder of the construction, where the index is kept.
        embedder: None: the model of the settings.

    Raises:
        MISError: as `Clip` and the shelf, when the block begins; or the index is none.
    """

    def __init__(self, settings: Photographs | PhotoSet, out: Path, embedder: Embedder | None = None) -> None:
        self._settings = settings
        self._out = out
        self._embedder = embedder
        self._lock = threading.Lock()
        self.identity = ""

    def __enter__(self) -> PhotographDrawer:
        with ExitStack() as opened:
            self._shelf: Shelf = opened.enter_context(self._settings.shelf())
            embedder = self._embedder = self._embedder or Clip(self._settings.model, self._settings.revision)
            listed = self._shelf.listed()
            index = Index(self._out / INDEX, embedder.name)
            problems = _embed(self._shelf, embedder, index, listed)
            told = self._shelf.judged(list(problems.values()))
            self._photographs = [one for one in listed if one.sha256 not in problems]
            self._vectors = index.of([one.sha256 for one in self._photographs])
            if told:
                write_json(self._out / ABOUT, told)
            self._opened = opened.pop_all()
        self.identity = hashlib.sha256(json.dumps([embedder.name, *self._photographs]).encode()).hexdigest()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def draw(self, wanted: Wanted) -> Given | Nothing:
        """The picture that is as near to the thing as the round says, from the nearest on.

        Raises:
            PictureError: It was changed since the block began.
            MISError: as the shelf.
        """
        if wanted.round > len(self._photographs):
            text = f"the {self._shelf.what} has {len(self._photographs)}, round {wanted.round} wants another"
            return Nothing("no picture", text)
        assert self._embedder is not None
        prompt = f"a photo of {wanted.thing}"
        with self._lock:
            scores = self._vectors @ _unit(self._embedder.text(prompt)[None])[0]
        place = int(np.argsort(-scores, kind="stable")[wanted.round - 1])
        found, score = self._photographs[place], round(float(scores[place]), 4)
        held = self._shelf.read(found.name)
        if hashlib.sha256(held).hexdigest() != found.sha256:
            raise PictureError(f"{found.name}: was changed during the run; run it again")
        source = found.source or found.name
        return Given(held, prompt, self._embedder.name, found.licence, source, score)


class Index:
    """Unit vectors of pictures by the sha256 of their files, as one model places them; kept in one file.

    Args:
        path: of the file; vectors of another model in it are dropped.
        model: name and version.

    Raises:
        MISError: The file is no index.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path, self._model = path, model
        self._places = dict[str, int]()
        self._vectors = list[Vectors]()
        if path.is_file():
            self._read()

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._places

    def add(self, hashes: Sequence[str], vectors: Vectors) -> None:
        """Takes vectors of any length, one a hash."""
        self._places |= {sha256: place for place, sha256 in enumerate(hashes, start=len(self._places))}
        self._vectors.append(_unit(vectors))

    def save(self) -> None:
        """Writes the file."""
        self._vectors = [np.concatenate(self._vectors)]
        with replace_file(self._path) as temporary, temporary.open("wb") as file:
            np.savez(file, model=np.array(self._model), sha256=np.array(list(self._places)), vectors=self._vectors[0])

    def of(self, hashes: Sequence[str]) -> Vectors:
        """One row a hash, in order; all must be there."""
        vectors = self._vectors[0] if len(self._vectors) == 1 else np.concatenate(self._vectors)
        places = [self._places[sha256] for sha256 in hashes]
        return vectors if places == list(range(len(vectors))) else vectors[places]

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as held:
                model, hashes, vectors = str(held["model"]), held["sha256"], held["vectors"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise MISError(f"{self._path}: is no index of photographs; remove it, and it is made anew") from error
        if model == self._model and vectors.ndim == 2 and len(hashes) == len(vectors):
            self._places = {str(sha256): place for place, sha256 in enumerate(hashes)}
            self._vectors = [vectors.astype(np.float32, copy=False)]


def _embed(shelf: Shelf, embedder: Embedder, index: Index, listed: Sequence[Photograph]) -> dict[str, Problem]:
    """Places all that the index does not know; sha256 -> what is wrong with those that are no pictures."""
    new = [one for one in listed if one.sha256 not in index]
    problems: dict[str, Problem] = {}
    if not new:
        return problems
    with tqdm(total=len(new), desc="photographs", unit=" pictures", file=sys.stderr) as bar:
        for first in range(0, len(new), _AT_ONCE):
            chunk = new[first : first + _AT_ONCE]
            pngs = {one.sha256: png for one in chunk if (png := _png(shelf, one, problems))}
            if pngs and (shelf.patient or not problems):
                index.add(list(pngs), embedder.pictures(list(pngs.values())))
                if first // _SAVED_EVERY < (first + _AT_ONCE) // _SAVED_EVERY:
                    index.save()
            bar.update(len(chunk))
    if len(new) > len(problems) and (shelf.patient or not problems):
        index.save()
    return problems


def _png(shelf: Shelf, one: Photograph, problems: dict[str, Problem]) -> bytes | None:
    """Its pixels alone; where it has none, it is a problem more."""
    try:
        return plain_png(shelf.read(one.name))
    except PictureError as error:
        problems[one.sha256] = Problem(one.name, None, f"picture {error}")
        return None


def _unit(vectors: Vectors) -> Vectors:
    """Vectors of length 1."""
    lengths: Vectors = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return np.asarray(vectors / lengths, np.float32)
