"""Stage `release`: rows with their fate, and labels -> a raw release in the authors' layout, with its provenance.

    mis_train.json mis_train_benign.json mis_easy.json mis_hard.json mis_real.json mis_benign.json     those with rows
    images/ easy_image/ hard_image/ real_image/ benign_image/     by number, as in the authors' release
    provenance/rows.jsonl       id in the release -> id here, seed, source, verdicts, spans of the label
    provenance/pictures.jsonl   path in the release -> prompt, model, seed, round, licence, source, sha256
    provenance/construction.json  settings, sources of the seeds, verdicts, and what was made and rejected
    objects.json                id in the release -> names of the things, for `leaks --things`

Rows of tests are sorted by category, train rows as their labels come, both halves of a block side by side; a twin
shares the pictures that were not exchanged, byte for byte. Files are read again for every part; held of a row are
its place and the counts of its balance, a few hundred bytes.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import chain, tee
from pathlib import Path
from typing import IO, Any, NamedTuple

from mis_dataset.balance import Balance
from mis_dataset.construct.filters import EASY, HARD, REAL, Rules, placed
from mis_dataset.construct.rows import Judged, Label, Labelled, Picture, placed_rows, read_rows
from mis_dataset.errors import MISError, UsageError
from mis_dataset.files import sha256_of, write_json
from mis_dataset.processes import alone
from mis_dataset.schema import BENIGN, CATEGORIES, CONSTRUCTION, PICTURES, PROVENANCE, TRAIN

_PREFIX = "<image>\n"
_TESTS = {
    EASY: ("mis_easy.json", "easy_image"),
    HARD: ("mis_hard.json", "hard_image"),
    REAL: ("mis_real.json", "real_image"),
}
"""Split -> its file and the folder of its pictures."""


class Made(NamedTuple):
    """What a construction made.

    Attributes:
        folder: of the construction, below which its pictures lie.
        judged: file of `Judged` rows.
        labelled: file of `Labelled` rows.
        rules: by which rows were placed.
    """

    folder: Path
    judged: Path
    labelled: Path
    rules: Rules


class _Row(NamedTuple):
    """A row of the release, dangerous or a twin."""

    id: str
    folder: str
    row: Judged
    label: Label | None
    twin_of: str | None

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return self.row.row.twin_pictures() if self.twin_of else self.row.row.pictures

    @property
    def objects(self) -> tuple[str, ...]:
        question = self.row.row.row
        return question.twin_objects if self.twin_of else question.objects

    def paths(self) -> list[str]:
        return [f"{self.folder}/object{place}.png" for place in range(1, len(self.pictures) + 1)]


def assemble(
    made: Made, out: Path, about: Mapping[str, Any] | None = None, balance: Balance | None = None
) -> dict[str, int]:
    """Writes the release; what was there under its name is replaced when all is written.

    Args:
        made: what is written.
        out: folder of the release.
        about: how all of it was made, for `provenance/construction.json`; None: nothing is known of that.
        balance: where rows are counted.

    Returns:
        Rows by split, twins of train rows counted in ``train``.

    Raises:
        UsageError: `out` holds something else, or another process writes there; nothing was touched.
        MISError: a file was not written by a construction, or a picture was changed since.
        OSError: a file cannot be read or written.
    """
    refuse_other_release(out)
    counts: Counter[str] = Counter()
    with _whole(out) as release, ExitStack() as opened:
        rows, shown, objects = (
            opened.enter_context((release / name).open("w", encoding="utf-8", newline="\n"))
            for name in (PROVENANCE, PICTURES, "objects.json")
        )
        names = _Listed(objects, "{}")
        for file, found in _files(made):
            first = next(found, None)
            if first is None:
                continue  # a file without a record is no file of a release
            with (release / file).open("w", encoding="utf-8", newline="\n") as records:
                listed = _Listed(records, "[]")
                for row in chain((first,), found):
                    listed.add(json.dumps(_record(row), ensure_ascii=False))
                    names.add(f"{json.dumps(row.id)}: {json.dumps(row.objects, ensure_ascii=False)}")
                    _put(row, made.folder, release, shown)
                    rows.write(_line(_provenance(row)))
                    if balance is not None:
                        _count(row, balance)
                    counts[row.id.split("/")[0]] += 1
                listed.end()
        names.end()
        if about is not None:
            write_json(release / CONSTRUCTION, about)
    return dict(counts)


def refuse_other_release(folder: Path) -> None:
    """Refuses a folder that may not become that of the release, before anything is paid for.

    Raises:
        UsageError: It is none, or holds something else; nothing was touched.
    """
    if folder.exists() and not (folder.is_dir() and not folder.is_symlink()):
        raise UsageError(f"{folder}: is no folder; name a new one")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PROVENANCE).is_file():
        raise UsageError(f"{folder}: is not empty and no release of a construction; name a new folder")


def _files(made: Made) -> Iterator[tuple[str, Iterator[_Row]]]:
    """The files of the release, each with its rows in order."""
    tests = _sorted(made)
    yield "mis_train.json", _train(made)
    yield "mis_train_benign.json", _train_twins(made)
    for split, (file, _) in _TESTS.items():
        yield file, _test(made, split, tests[split])
    rows = chain.from_iterable(_test(made, split, places) for split, places in tests.items())
    yield "mis_benign.json", _test_twins(rows)


def _sorted(made: Made) -> dict[str, list[int]]:
    """Where the rows of each test split stand in their file, by category."""
    ahead, behind = tee(placed_rows(made.judged, Judged))
    found: dict[str, list[tuple[int, int]]] = {split: [] for split in _TESTS}
    for (row, split), (place, _) in zip(placed((row for _, row in ahead), made.rules), behind, strict=True):
        if split in found:
            found[str(split)].append((CATEGORIES.index(row.row.row.category), place))
    return {split: [place for _, place in sorted(places)] for split, places in found.items()}


def _train(made: Made) -> Iterator[_Row]:
    for number, one in enumerate(read_rows(made.labelled, Labelled), start=1):
        yield _Row(f"{TRAIN}/{number}", f"images/{number}", one.row, one.label, None)


def _train_twins(made: Made) -> Iterator[_Row]:
    first = 1 + sum(1 for _ in read_rows(made.labelled, Labelled))
    for number, one in enumerate(read_rows(made.labelled, Labelled)):
        place = first + number
        yield _Row(f"{TRAIN}/{place}", f"images/{place}", one.row, one.twin_label, f"{TRAIN}/{number + 1}")


def _test(made: Made, split: str, places: Sequence[int]) -> Iterator[_Row]:
    for number, row in enumerate(read_rows(made.judged, Judged, places)):
        yield _Row(f"{split}/{number}", f"{_TESTS[split][1]}/{number + 1}", row, None, None)


def _test_twins(rows: Iterable[_Row]) -> Iterator[_Row]:
    for number, row in enumerate(rows):
        yield _Row(f"{BENIGN}/{number}", f"benign_image/{number + 1}", row.row, None, row.id)


def _record(row: _Row) -> dict[str, Any]:
    """One record with the authors' keys in the authors' order, ours behind."""
    question, number, paths = row.row.row.row, int(row.id.split("/")[1]), row.paths()
    record: dict[str, Any] = {"category": question.category, "sub_category": row.row.sub_category}
    if row.label:
        turns = [
            {"from": "human", "value": _PREFIX * len(paths) + question.question},
            {"from": "gpt", "value": row.label.response},
        ]
        record = {"id": number, **record, "image": paths, "conversations": turns}
    else:
        record["question"] = question.question
        record |= {f"image_path{place}": path for place, path in enumerate(paths, start=1)}
        record["id"] = number
    return record | ({"twin_of": row.twin_of, "changed_image": question.changed_image} if row.twin_of else {})


def _count(row: _Row, balance: Balance) -> None:
    balance.add(row.id, row.twin_of, row.row.row.row.question, [one.sha256 for one in row.pictures], row.objects)


def _put(row: _Row, folder: Path, release: Path, shown: IO[str]) -> None:
    """Puts the pictures of a row there and says where each comes from."""
    (release / row.folder).mkdir(parents=True)
    for path, one in zip(row.paths(), row.pictures, strict=True):
        if sha256_of(folder / one.file) != one.sha256:
            text = "is not the picture that experts saw; remove it and run again, as it is kept with the replies"
            raise MISError(f"{folder / one.file}: {text}")
        _link(folder / one.file, release / path)
        told = {name: value for name, value in asdict(one).items() if name != "file"}
        shown.write(_line({"path": path, "id": row.id, **told}))


def _link(picture: Path, path: Path) -> None:
    """Gives a picture, which nobody writes into, a second name, so that it takes no room twice; or copies it."""
    try:
        path.hardlink_to(picture)
    except OSError:  # another disk, or one without such names
        shutil.copyfile(picture, path)


def _provenance(row: _Row) -> dict[str, Any]:
    question = row.row.row.row
    return {
        "id": row.id,
        "row": row.row.id,
        "seed": question.seed,
        "source": question.source,
        "verdicts": [asdict(one) for one in row.row.verdicts],
        "spans": row.label.spans if row.label else None,
    }


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


class _Listed:
    """A JSON list or object that is written one entry after the other."""

    def __init__(self, file: IO[str], marks: str) -> None:
        self._file, self._end = file, marks[1]
        self._file.write(marks[0])
        self._first = True

    def add(self, entry: str) -> None:
        self._file.write(f"{'' if self._first else ','}\n {entry}")
        self._first = False

    def end(self) -> None:
        self._file.write(f"{'' if self._first else chr(10)}{self._end}\n")


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A new folder beside another, whose name and place it gets when the block ends well."""
    folder = folder.resolve()
    temporary = folder.with_name(f".{folder.name}.part")
    with alone(temporary, str(folder), patient=True):  # processes that share a construction all write it
        for path in temporary.iterdir():  # what a killed run left
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        (temporary / "provenance").mkdir()
        before = folder.with_name(f".{folder.name}.old")
        try:
            yield temporary
            shutil.rmtree(before, ignore_errors=True)
            if folder.exists():
                folder.replace(before)
            temporary.replace(folder)
        finally:
            for left in (temporary, before):
                shutil.rmtree(left, ignore_errors=True)
