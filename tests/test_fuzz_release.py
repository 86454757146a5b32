"""Releases broken at random: a faithful build or one typed error with its file, never a traceback or half a folder."""

from __future__ import annotations

import json
import shutil
import signal
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from mis_dataset.build import Options, build
from mis_dataset.check import check_release
from mis_dataset.errors import ProblemsError
from mis_dataset.schema import SOURCES
from tests.made_release import make_release, zip_images

pytestmark = pytest.mark.slow

ROUNDS = 700
FILES = [source.file for source in SOURCES]
PATHS = ["../../up.png", "/etc/hostname", "C:\\x.png", "http://a/b.png", "images/1/object1.png"]
WILD: list[Any] = [
    *(None, True, -1, 0, 2**31, 10**400, 1e308, float("nan"), float("inf")),
    *("", " ", "x" * 100_000, "\ud800", "\x00", "train/1", "test_hard/0", "Violent", "<image>" * 3, *PATHS),
    *([], [[[[]]]], {}, {"from": "human"}, ["a", "b", "c"]),
]


def _a_json_file(root: Path, random: Random) -> Path:
    return random.choice([root / file for file in FILES if (root / file).is_file()])


def flip_a_byte(root: Path, random: Random) -> None:
    path = random.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    data = bytearray(path.read_bytes())
    for _ in range(random.randint(1, 4)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)


def cut(root: Path, random: Random) -> None:
    path = random.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    path.write_bytes(path.read_bytes()[: random.randrange(path.stat().st_size)])


def lose(root: Path, random: Random) -> None:
    random.choice(sorted(path for path in root.rglob("*") if path.is_file())).unlink()


def change_a_value(root: Path, random: Random) -> None:
    path = _a_json_file(root, random)
    records = json.loads(path.read_text("utf-8"))
    record = random.choice(records)
    key = random.choice([*record, "level", "extra", "twin_of"])
    record[key] = random.choice(WILD)
    path.write_text(json.dumps(records), encoding="utf-8")


def drop_a_key(root: Path, random: Random) -> None:
    path = _a_json_file(root, random)
    records = json.loads(path.read_text("utf-8"))
    record = random.choice(records)
    del record[random.choice(list(record))]
    path.write_text(json.dumps(records), encoding="utf-8")


def twice_a_key(root: Path, random: Random) -> None:
    path = _a_json_file(root, random)
    text = path.read_text("utf-8")
    key = random.choice(["id", "question", "category", "image"])
    path.write_text(text.replace("{", f'{{"{key}": 7, ', random.randint(1, 3)), encoding="utf-8")


def deal_records_anew(root: Path, random: Random) -> None:
    path = _a_json_file(root, random)
    records = json.loads(path.read_text("utf-8"))
    wild = random.choice(
        [records * 2, records[::-1], [records], {"rows": records}, [*records, random.choice(WILD)], []]
    )
    path.write_text(json.dumps(wild), encoding="utf-8")


def encode_otherwise(root: Path, random: Random) -> None:
    path = _a_json_file(root, random)
    text = path.read_text("utf-8")
    encoding = random.choice(["utf-8-sig", "utf-16", "utf-32", "latin-1"])
    path.write_text(text + random.choice(["", "\n", "é", "\x00"]), encoding=encoding)


def nest(root: Path, random: Random) -> None:
    _a_json_file(root, random).write_text("[" * random.choice([10, 100_000]), encoding="utf-8")


def play_with_a_zip(root: Path, random: Random) -> None:
    if not (root / "images.zip").exists():
        zip_images(root, random.choice(["images/", ""]))
    picture = next(iter(sorted((root / "easy_image").rglob("*.png")))).read_bytes()
    with zipfile.ZipFile(
        root / "images.zip", "a", random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    ) as archive:
        info = zipfile.ZipInfo(
            random.choice(["../x.png", "/x.png", "images/1/OBJECT1.png", "x\\y.png", "new.png", "images/"])
        )
        info.external_attr = random.choice([0, 0o120777 << 16, 0o644 << 16])
        archive.writestr(info, random.choice([picture, b"", b"/etc/hostname"]))


def link(root: Path, random: Random) -> None:
    path = random.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    path.unlink()
    path.symlink_to(random.choice(["/etc/hostname", path.name, "..", "nowhere", str(root.parent)]))


# Those that need what the others break come first, and are applied first.
MUTATORS: list[Callable[[Path, Random], None]] = [
    *(change_a_value, drop_a_key, twice_a_key, deal_records_anew, play_with_a_zip, encode_otherwise, nest),
    *(flip_a_byte, cut, lose, link),
]


def faithful(raw: Path, out: Path) -> None:
    """Asserts that a build holds the ids, questions and very bytes of its release, read here without our reader."""
    for split in dict.fromkeys(source.split for source in SOURCES):
        files = [raw / source.file for source in SOURCES if source.split == split and (raw / source.file).is_file()]
        records = [record for file in files for record in json.loads(file.read_text("utf-8-sig"))]
        if not records:
            continue
        rows = pq.read_table(out / "data" / f"{split}-00000-of-00001.parquet").to_pylist()
        assert [row["id"] for row in rows] == [f"{split}/{record['id']}" for record in records]
        for row, record in zip(rows, records, strict=True):
            paths = record["image"] if "image" in record else [record["image_path1"], record["image_path2"]]
            assert [picture["bytes"] for picture in row["images"]] == [held(raw, path) for path in paths]
            asked = record["question"] if "question" in record else record["conversations"][0]["value"]
            assert row["question"] in asked


def held(raw: Path, path: str) -> bytes:
    """A picture's bytes, from the folder or a zip."""
    if (raw / path).is_file():
        return (raw / path).read_bytes()
    with zipfile.ZipFile(raw / "images.zip") as archive:
        names = archive.namelist()
        return archive.read(path if path in names else path.removeprefix("images/"))


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Ends what takes longer with a TimeoutError."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    earlier = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def outcome(raw: Path, out: Path, decode: bool) -> str:
    """``"built"`` after a faithful build, ``"refused"`` after one typed error that names files."""
    problems = check_release(raw).problems
    try:
        build(raw, out, Options(decode=decode))
    except ProblemsError as error:
        named = bool(error.problems) and all(problem.file for problem in error.problems)
        return "refused" if named and problems and not out.exists() else f"not told well: {error!r}"
    faithful(raw, out)
    # What only decoding shows is not looked for by a build that does not decode.
    unseen = [problem for problem in problems if decode or problem.file.endswith(".zip")]
    return f"built with problems: {unseen}" if unseen else "built"


@pytest.mark.parametrize("start", range(0, ROUNDS, 100))
def test_a_broken_release_is_a_faithful_build_or_one_typed_error(tmp_path: Path, start: int) -> None:
    source = make_release(tmp_path / "source")
    ended: Counter[str] = Counter()
    for seed in range(start, start + 100):
        random = Random(seed)
        raw, out = tmp_path / "raw", tmp_path / "MIS"
        shutil.copytree(source, raw)
        if random.random() < 0.3:
            zip_images(raw)
        for mutate in sorted(random.sample(MUTATORS, random.choice([0, 1, 1, 1, 2, 2])), key=MUTATORS.index):
            mutate(raw, random)
        with within(30):
            ended[outcome(raw, out, decode=random.random() < 0.5)] += 1
        assert set(ended) <= {"built", "refused"}, (seed, ended)
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
        shutil.rmtree(raw)
        shutil.rmtree(out, ignore_errors=True)
    assert min(ended["built"], ended["refused"]) > 5
