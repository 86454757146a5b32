"""What a model or a judge is shown in place of a row's own pictures, to learn whether it looks at them.

Rates that hardly move under a probe were not earned by looking. Pictures are read only when they are wanted: those of
MIS together are larger than the memory of most machines.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mis_dataset.decoding import UNREADABLE, open_picture
from mis_dataset.errors import MISError
from trainer.training.rows import read_split

if TYPE_CHECKING:
    from PIL.Image import Image
    from pyarrow import ChunkedArray

Probe = Literal["own", "black", "both_black", "first_black", "second_black", "swapped", "other", "none"]
"""``own``: no probe. ``black``: all pictures that a row and its twin share are black, so what is left is what the other
one alone can decide. ``both_black``: all pictures are black, be they one, two, three or four. ``first_black``,
``second_black``: that one is black, a third and a fourth stay as they are. ``swapped``: the pictures in reverse order.
``other``: as many pictures of other rows of the split. ``none``: text only; a row and its twin become the same prompt.
A row of one picture has no second and no other order: ``second_black`` and ``swapped`` would show it as it is, which
is an error and no probe."""
PROBES: tuple[Probe, ...] = get_args(Probe)
_OF_TWO: tuple[Probe, ...] = ("second_black", "swapped")


@dataclass(frozen=True)
class Picture:
    """One picture of a row.

    Attributes:
        where: dataset and row, for errors.
        read: gives the bytes of its file.
    """

    where: str
    read: Callable[[], bytes] = field(repr=False, compare=False)

    def sha256(self) -> str:
        """Of the bytes of its file; what tells pictures apart."""
        return sha256(self.read()).hexdigest()

    def image(self) -> Image:
        """Every pixel of it, as `datasets` decodes it.

        Raises:
            MISError: It is broken, which `build` without ``--check`` does not see.
        """
        from datasets import Image as Column

        try:
            image: Image = Column().decode_example({"bytes": self.read(), "path": None})
            image.load()
        except UNREADABLE as error:
            raise _broken(self.where, error) from error
        return image


def drawn(image: Image, where: str) -> Picture:
    """A picture that was drawn here, as the PNG it is sent as."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return Picture(where, stream.getvalue)


class Shown:
    """The pictures of a split's rows as a probe shows them.

    Args:
        dataset: folder of the built dataset.
        split: its name.
        probe: see `Probe`.

    Raises:
        MISError: The split is missing or was changed since it was built, or ``black`` is asked for and the dataset
            has no twins.
    """

    def __init__(self, dataset: Path, split: str, probe: Probe) -> None:
        from pyarrow.compute import list_value_length

        self.rows = read_split(dataset, split)
        # As Arrow holds it: a column that is cast so that it is not decoded would be copied whole to the disk.
        self._column = self.rows.data.column("images")
        self._counts = list_value_length(self._column).to_pylist()
        self._dataset = dataset
        self._probe = probe
        self._exchanged = _exchanged(dataset) if probe == "black" else {}

    def of(self, number: int, id_: str) -> tuple[Picture, ...]:
        """The pictures of a row.

        Args:
            number: its place in the split, from 0.
            id_: its id.

        Returns:
            As many as the row has; none for the probe ``none``.

        Raises:
            MISError: The probe is ``black`` and the row has no twin, or it would show the row's own pictures.
        """
        if self._probe == "none":
            return ()
        places = range(self._counts[number])
        if len(places) < 2 and self._probe in _OF_TWO:
            raise MISError(
                f"{self._dataset}: {id_} has one picture, so {self._probe} would show it as it is; take both_black, "
                "other or none"
            )
        places = places[::-1] if self._probe == "swapped" else places
        read = _read_other if self._probe == "other" else _read
        where = f"{self._dataset}: {id_}"
        pictures = [Picture(where, partial(read, self._column, number, place, where)) for place in places]
        black = self._black(id_, len(pictures))
        return tuple(_blackened(one) if place in black else one for place, one in enumerate(pictures, 1))

    def _black(self, id_: str, count: int) -> Collection[int]:
        """Which of so many pictures are black, from 1."""
        if self._probe == "black":
            if id_ not in self._exchanged:
                raise MISError(
                    f"{self._dataset}: {id_} has no twin, so none of its pictures is shared; take first_black or "
                    "second_black"
                )
            shared = [place for place in range(1, count + 1) if place != self._exchanged[id_]]
            if not shared:
                raise MISError(
                    f"{self._dataset}: {id_} shares no picture with its twin, so black would show it as it is; take "
                    "both_black, other or none"
                )
            return shared
        if self._probe == "both_black":
            return range(1, count + 1)
        return {"first_black": (1,), "second_black": (2,)}.get(self._probe, ())


def _read(column: ChunkedArray, number: int, place: int, where: str) -> bytes:
    found: bytes = column[number][place]["bytes"].as_py()
    return found


def _read_other(column: ChunkedArray, number: int, place: int, where: str) -> bytes:
    """The picture of a row half a split away, or of the first after it that shows neither of the two."""
    own = {one["bytes"].as_py() for one in column[number]}
    for step in range(len(column)):
        other = [one["bytes"].as_py() for one in column[(number + len(column) // 2 + step) % len(column)]]
        if own.isdisjoint(other) and place < len(other):
            found: bytes = other[place]
            return found
    raise MISError(f"{where}: no row of its split has other pictures, so the probe `other` cannot be made")


def _blackened(picture: Picture) -> Picture:
    def read() -> bytes:
        from PIL import Image

        try:
            with open_picture(picture.read()) as own:
                size = own.size
        except UNREADABLE as error:
            raise _broken(picture.where, error) from error
        stream = io.BytesIO()
        Image.new("RGB", size).save(stream, "PNG")
        return stream.getvalue()

    return Picture(picture.where, read)


def _broken(where: str, error: BaseException) -> MISError:
    found = f"{type(error).__name__}: {error}"
    return MISError(f"{where}: a picture is broken ({found}); run `python -m mis_dataset check` on its release")


def _exchanged(dataset: Path) -> dict[str, int]:
    """Id of every twin and of its row -> which picture, from 1, differs between them."""
    twins = read_split(dataset, "test_benign").select_columns(["id", "twin_of", "changed_image"]).to_list()
    return {id_: twin["changed_image"] for twin in twins for id_ in (twin["id"], twin["twin_of"])}
