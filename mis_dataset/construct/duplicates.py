"""Stage `duplicates`: rows that stay apart from each other and from given releases. Row -> row with two verdicts more.

One row after the other, in their order; the first one stays. Rows that other experts reject take no part. Only a row
that has a place in the release pushes others out: none that is over a quota, and with blocks no half of hard without
its other one, for which it waits. The exception is a train row that gets no label later, as nobody knows that yet.

- `other side`: an earlier row of the same seed, or of one whose text is nearly the same, is in train and this one in a
  test, or the other way round: train and tests share no source;
- `shared picture`: a picture is one of the other side, or of a given release, in whatever file; or a photograph that
  was found looks like one of a given release (perceptual hash), as it may be that one, made smaller or compressed
  anew. Drawn pictures may look alike: whoever draws a lamp on white draws many;
- `near duplicate`: its question is nearly that of another row (without `near`: the same words), and so is what its
  pictures show: their names where both rows have them, else their looks. Questions alone tell nothing, as many rows
  of a release ask the same of other things.

What people say of a row (`review`) is put down here too, before a row is compared: what they reject is no row that
others could repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mis_dataset.construct.blocks import are_halves, block_of
from mis_dataset.construct.experts import KEEP
from mis_dataset.construct.filters import UNLIMITED, Places, Rules, fate
from mis_dataset.construct.given import Given
from mis_dataset.construct.near import Looks, Near, folded
from mis_dataset.construct.review import NOBODY, Reviews
from mis_dataset.construct.rows import SEEDS, Judged, Picture, Pictured, Question, Seed, Verdict, placed_rows, read_rows
from mis_dataset.construct.sentences import Sentences
from mis_dataset.construct.sights import Sight, Sights
from mis_dataset.errors import MISError, PictureError
from mis_dataset.files import sha256_of
from mis_dataset.schema import TRAIN

NAME = "duplicates"
OTHER_SIDE, SHARED, DUPLICATE = "other side", "shared picture", "near duplicate"
_TESTS, _GIVEN = "tests", "given"


class Owner(NamedTuple):
    """Who was first.

    Attributes:
        side: train, tests, or a release that was given.
        name: of the row.
    """

    side: str
    name: str


class _Compared(NamedTuple):
    """What is compared of a row.

    Attributes:
        row: of which.
        owner: as whom others meet it.
        seed: the text of its seed.
        texts: its question, and the names of what it shows.
        shown: its pictures, that of its twin included.
    """

    row: Pictured
    owner: Owner
    seed: str
    texts: tuple[str, str]
    shown: tuple[bytes, ...]


class Duplicates:
    """The stage; call it with one row at a time, in their order.

    Args:
        folder: of the construction, with its seeds.
        near: cosine from which on two texts are nearly the same; None: only equal ones are.
        sentences: makes vectors of texts; needed for `near`.
        given: rows of releases to keep apart from.
        reviews: what people said.
        rules: by which rows get their places.
        sights: who looks at pictures, where releases are given.
    """

    def __init__(
        self,
        folder: Path,
        near: float | None = None,
        sentences: Sentences | None = None,
        given: Iterable[Given] = (),
        reviews: Reviews = NOBODY,
        rules: Rules = UNLIMITED,
        sights: Sights | None = None,
    ) -> None:
        self._folder, self._reviews, self._given = folder, reviews, iter(given)
        self._seeds, self._seed_owners = Near(1, near, sentences), list[Owner]()
        self._rows, self._row_names = Near(2, near, sentences), list[str]()
        self._unnamed, self._looks = Near(1, near, sentences), Looks()
        self._unnamed_names = list[str]()
        self._pictures: dict[bytes, Owner] = {}
        self._sights, self._pixels = sights or Sights(), dict[bytes, str]()
        self._given_looks, self._given_names = Looks(), list[str]()
        self._seed_places: Mapping[str, int] | None = None
        self._places, self._waiting = Places(rules), dict[Judged, _Compared]()

    def __call__(self, row: Judged) -> list[Judged]:
        """The row with what people and this expert say of it.

        Raises:
            MISError: A review is of another row, or a file cannot be read.
            OSError: A file cannot be read.
        """
        for one in self._given:  # when the first row comes: a stage that is not run reads no release
            self._add_given(one)
        said = self._reviews.verdict(row.row)
        told = Judged(row.row, row.sub_category, (*row.verdicts, *([said] if said else [])))
        split = fate(told)
        block, self._waiting = self._waiting, {}
        if not isinstance(split, str):
            return [told]
        compared = self._compared(row.row, TRAIN if split == TRAIN else _TESTS)
        judged = Judged(row.row, row.sub_category, (*told.verdicts, self._verdict(compared)))
        if not all(are_halves(one.id, row.id) for one in block):
            block = {}  # its other half did not come
        self._stay(block | {judged: compared})
        return [judged]

    def _stay(self, block: dict[Judged, _Compared]) -> None:
        """Rows that have a place push others out from now on; a half that needs its other one waits for it."""
        if len(block) == 1 and all(map(self._places.waits, block)):
            self._waiting = block
            return
        for row, split in self._places.give(tuple(block)):
            if isinstance(split, str):
                self._add(block[row])

    def _compared(self, row: Pictured, side: str) -> _Compared:
        shown = tuple(bytes.fromhex(one.sha256)[:16] for one in (*row.pictures, row.twin_picture))
        return _Compared(
            row, Owner(side, row.id), self._seed_of(row.row), _texts(row.row.question, row.row.objects), shown
        )

    def _verdict(self, row: _Compared) -> Verdict:
        """Compares a row with those that stayed."""
        for place, _ in self._seeds.find([row.seed]):
            if self._seed_owners[place].side != row.owner.side:
                return Verdict(NAME, OTHER_SIDE, "its seed is that of {1} in {0}".format(*self._seed_owners[place]))
        for one in row.shown:
            if one in self._pictures and self._pictures[one].side != row.owner.side:
                return Verdict(NAME, SHARED, f"with {self._pictures[one].name}")
        if self._pixels and (told := self._of_given(row.row)):
            return Verdict(NAME, SHARED, told)
        for name, near in self._near(row.row, row.texts):
            if block_of(name) != block_of(row.owner.name):
                return Verdict(NAME, DUPLICATE, f"of {name}: {near:.3f}")
        return Verdict(NAME, KEEP)

    def _of_given(self, row: Pictured) -> str:
        """What it shows of a given release; empty for nothing."""
        for picture in (*row.pictures, row.twin_picture):
            seen = self._sight(picture)
            if seen.pixels in self._pixels:
                return f"with {self._pixels[seen.pixels]}"
            place = self._given_looks.with_one_like(seen.look) if picture.found else None
            if place is not None:
                return f"that looks like one of {self._given_names[place]}"
        return ""

    def _add(self, row: _Compared) -> None:
        """Makes a row one of those that stayed."""
        self._seeds.add([row.seed])
        self._seed_owners.append(row.owner)
        self._rows.add(row.texts)
        self._row_names.append(row.owner.name)
        for one in row.shown:
            self._pictures.setdefault(one, row.owner)

    def _near(self, row: Pictured, texts: Sequence[str]) -> Iterator[tuple[str, float]]:
        """Names of rows that it repeats, with how near their texts are."""
        for place, near in self._rows.find(texts):
            yield self._row_names[place], near
        if self._unnamed_names:
            looks = [self._sight(one).look for one in row.pictures]
            for place, near in self._unnamed.find(texts[:1], self._looks.alike(looks)):
                yield self._unnamed_names[place], near

    def _sight(self, picture: Picture) -> Sight:
        try:
            return self._sights((self._folder / picture.file).read_bytes())
        except PictureError as error:
            raise PictureError(f"{self._folder / picture.file} {error}") from error

    def _seed_of(self, question: Question) -> str:
        """The text of a row's seed."""
        if self._seed_places is None:
            self._seed_places = {seed.id: place for place, seed in placed_rows(self._folder / SEEDS, Seed)}
        place = self._seed_places.get(question.seed)
        if place is None:
            raise MISError(f"{self._folder / SEEDS}: has no seed {question.seed}, which {question.id} is made from")
        seed = next(read_rows(self._folder / SEEDS, Seed, [place]))
        # Two questions about different pictures may be the same words.
        return f"{seed.text} {sha256_of(self._folder / seed.picture)}" if seed.picture else seed.text

    def _add_given(self, one: Given) -> None:
        owner = Owner(_GIVEN, one.name)
        for picture in one.row.images:
            self._pictures.setdefault(bytes.fromhex(picture)[:16], owner)
        for pixels in one.pixels:
            self._pixels.setdefault(pixels, one.name)
        if one.row.looks:
            self._given_looks.add(one.row.looks)
            self._given_names.append(one.name)
        if one.row.things:
            self._rows.add(_texts(one.row.text, one.row.things))
            self._row_names.append(one.name)
        elif one.row.looks:
            self._unnamed.add([one.row.text])
            self._looks.add(one.row.looks)
            self._unnamed_names.append(one.name)


def _texts(question: str, objects: Iterable[str]) -> tuple[str, str]:
    """What is compared of a row: its question, and what its pictures show, in any order."""
    return question, "; ".join(sorted(map(folded, objects)))
