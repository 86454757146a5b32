"""How fast the dataset room is, and how much memory it takes, side by side with what a user would run instead.

    .venv/bin/python -m benchmarks.dataset_room [--rows 640] [--folder DIR]

Makes a release of 1024 px PNGs (640 rows are 2.1 GB), runs ours and theirs in turn, each in a process of its own, and
prints one line of JSON: `ratio` by name, with the least seconds of each side, and the peak memory of our verbs in MB.
The limits that they are held against stand in ``benchmarks/dataset_bars.toml``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
import zlib
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from tests.made_release import write

BARS = Path(__file__).with_name("dataset_bars.toml")
ROUNDS = 3
SHORT = 4
_ALONE = {**os.environ, "USE_TORCH": "0"}
"""`datasets` streams through torch where that is installed, and takes seconds to load it; this room needs no torch."""
_PICTURES = 60
_SIDE = 1024

COPY = """
import hashlib, os, sys, zipfile
from pathlib import Path
raw, out = map(Path, sys.argv[1:])
def pictures():
    for path in sorted(raw.rglob("*.png")):
        yield path.read_bytes()
    with zipfile.ZipFile(raw / "images.zip") as archive:
        for info in archive.infolist():
            yield archive.read(info)
with out.open("wb") as file:
    for data in pictures():
        hashlib.sha256(data).digest()
        file.write(data)
    file.flush()
    os.fsync(file.fileno())
"""
DECODE = """
import io, multiprocessing, sys, zipfile
from pathlib import Path
from PIL import Image
raw = Path(sys.argv[1])
def decode(name):
    data = (raw / name).read_bytes() if (raw / name).exists() else archive().read(name)
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
opened = []
def archive():
    opened or opened.append(zipfile.ZipFile(raw / "images.zip"))
    return opened[0]
if __name__ == "__main__":
    names = [path.relative_to(raw).as_posix() for path in sorted(raw.rglob("*.png"))] + archive().namelist()
    opened.clear()
    with multiprocessing.Pool(2) as pool:
        pool.map(decode, names, chunksize=8)
"""
IMAGE_FOLDER = """
import sys, datasets
builder = datasets.load_dataset_builder("imagefolder", data_dir=sys.argv[1], cache_dir=sys.argv[2] + ".cache")
builder.download_and_prepare(sys.argv[2], file_format="parquet")
"""
STREAM = """
import sys, datasets
next(iter(datasets.load_dataset(sys.argv[1], split="train", streaming=True)))
"""
ONE_ROW = """
import sys, datasets, pyarrow.parquet as pq
from pathlib import Path
path = sorted((Path(sys.argv[1]) / "data").glob("train-*"))[0]
next(pq.ParquetFile(path).iter_batches(batch_size=1)).to_pylist()
"""
TEXT = """
import sys, time, datasets
loaded = datasets.load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2])
started = time.perf_counter()
for row in loaded.select_columns(["id", "question", "response"]):
    pass
text = time.perf_counter() - started
started = time.perf_counter()
for row in loaded.select(range(40)):
    [image.load() for image in row["images"]]
print(text / len(loaded), (time.perf_counter() - started) / 40)
"""


class Clock:
    """Runs commands and keeps the least seconds and the most memory of each name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.memory: dict[str, float] = {}

    def run(self, name: str, *words: str) -> str:
        """Runs one command; returns what it printed."""
        started = time.perf_counter()
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_ALONE
        ) as process:
            shown = process.stdout.read() if process.stdout else ""
            process.wait()
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(f"{name}: exit {process.returncode}")
        self.seconds[name] = min(seconds, self.seconds.get(name, seconds))
        return shown

    def watch(self, name: str, *words: str) -> None:
        """Runs one command untimed and keeps the most memory that it and its processes held together."""
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                self.memory[name] = max(_memory(watched), self.memory.get(name, 0.0))
                time.sleep(0.02)
        if process.returncode:
            raise SystemExit(f"{name}: exit {process.returncode}")


def _memory(process: psutil.Process) -> float:
    """Bytes that a process and its children hold; what they share counts once each."""
    try:
        return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True))))
    except psutil.NoSuchProcess:
        return 0.0


def make_release(root: Path, rows: int) -> int:
    """Writes a release: half of the rows in train, their pictures in a zip, the others in easy. Returns bytes."""
    root.mkdir(parents=True)
    pictures = [picture(number) for number in range(_PICTURES)]
    train, easy = range(1, rows // 2 + 1), range(rows - rows // 2)
    write(root, "mis_train.json", [_record(number) for number in train])
    write(root, "mis_easy.json", [_test("easy", number) for number in easy])
    for name in ("hard", "real"):
        write(root, f"mis_{name}.json", [_test("easy", 0)])
    written = 0
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for number in train:
            for side in (1, 2):
                data = varied(pictures[(2 * number + side) % _PICTURES], f"train {number} {side}")
                archive.writestr(f"images/{number}/object{side}.png", data)
                written += len(data)
    for number in easy:
        for side in (1, 2):
            data = varied(pictures[(2 * number + side) % _PICTURES], f"easy {number} {side}")
            path = root / f"easy_image/{number + 1}/object{side}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            written += len(data)
    os.sync()
    return written


def unpack(root: Path, folder: Path) -> None:
    """Puts all pictures of a release into one folder, as ImageFolder wants them."""
    shutil.copytree(root / "easy_image", folder / "easy_image")
    with zipfile.ZipFile(root / "images.zip") as archive:
        archive.extractall(folder)
    os.sync()


def _record(number: int) -> dict[str, object]:
    turns = (
        {"from": "human", "value": f"<image>\n<image>\nWhich goes first, {number}?"},
        {"from": "gpt", "value": "Any."},
    )
    paths = [f"images/{number}/object{side}.png" for side in (1, 2)]
    return {"id": number, "category": "Violent", "sub_category": "Cybercrime", "image": paths, "conversations": turns}


def _test(name: str, number: int) -> dict[str, object]:
    paths = {f"image_path{side}": f"{name}_image/{number + 1}/object{side}.png" for side in (1, 2)}
    text = {"category": "Violent", "sub_category": "Cybercrime", "question": f"Which goes first, {name} {number}?"}
    return {**text, **paths, "id": number}


def picture(number: int, side: int = _SIDE) -> bytes:
    """A PNG that compresses about as a photograph does."""
    base = Image.effect_mandelbrot((side, side), (-2 + number / 40, -1, 1, 1.5), 60)
    layers = [Image.blend(base, Image.effect_noise((side, side), 2 + channel), 0.5) for channel in range(3)]
    stream = io.BytesIO()
    Image.merge("RGB", layers).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def varied(encoded: bytes, text: str) -> bytes:
    """The same picture in other bytes: with a text chunk before its end."""
    body = b"tEXt" + b"Title\x00" + text.encode()
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return encoded[:-12] + chunk + encoded[-12:]


def measure(folder: Path, rows: int) -> dict[str, object]:
    """Times everything in turn.

    Args:
        folder: empty, with room for five times the release.
        rows: of the release.

    Returns:
        Ratios, seconds, and memory in MB.
    """
    raw, out, python = folder / "raw", folder / "MIS", sys.executable
    size = make_release(raw, rows)
    unpack(raw, folder / "pictures")
    clock = Clock()
    (folder / "decode.py").write_text(DECODE, encoding="utf-8")
    for turn in range(ROUNDS):
        clock.run("copy", python, "-c", COPY, str(raw), str(folder / "copy"))
        (folder / "copy").unlink()
        subprocess.run(["rm", "-rf", str(out)], check=True)
        clock.run("build", python, "-m", "mis_dataset", "build", str(raw), str(out))
        clock.run("decode", python, str(folder / "decode.py"), str(raw))
        clock.run("check", python, "-m", "mis_dataset", "check", str(raw), "--num-proc", "2")
        clock.run("verify", python, "-m", "mis_dataset", "verify", str(out))
        clock.run("image_folder", python, "-c", IMAGE_FOLDER, str(folder / "pictures"), str(folder / f"theirs{turn}"))
        subprocess.run(["rm", "-rf", str(folder / f"theirs{turn}"), str(folder / f"theirs{turn}.cache")], check=True)
        # What is short is run more often, and not beside what the disk still has to write.
        os.sync()
        for _ in range(SHORT):
            clock.run("stream", python, "-c", STREAM, str(out))
            clock.run("one_row", python, "-c", ONE_ROW, str(out))
            clock.run("help", python, "-m", "mis_dataset", "--help")
            clock.run("import", python, "-c", "import mis_dataset")
            clock.run("nothing", python, "-c", "pass")
    subprocess.run(["rm", "-rf", str(out)], check=True)
    clock.watch("build", python, "-m", "mis_dataset", "build", str(raw), str(out))
    clock.watch("check", python, "-m", "mis_dataset", "check", str(raw))
    clock.watch("verify", python, "-m", "mis_dataset", "verify", str(out))
    told = clock.run("columns", python, "-c", TEXT, str(out), str(folder / "cache"))
    text, decoded = map(float, told.split())
    seconds = clock.seconds
    return {
        "rows": rows,
        "bytes": size,
        "ratios": {
            "build throughput to copying": seconds["copy"] / seconds["build"],
            "check throughput to decoding in two processes": seconds["decode"] / seconds["check"],
            "build throughput to ImageFolder": seconds["image_folder"] / seconds["build"],
            "first streamed row to one row by pyarrow, time": seconds["stream"] / seconds["one_row"],
            "pass over decoded pictures to pass over text, time": decoded / text,
        },
        "seconds": {**seconds, "import alone": seconds["import"] - seconds["nothing"]},
        "peak_mb": {name: clock.memory[name] / 1e6 for name in ("build", "check", "verify")},
    }


def held(measured: dict[str, dict[str, float]], bars: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Lines of a table, one a limit, with what was measured and whether it holds."""
    lines = []
    for group, limits in bars.items():
        for name, limit in limits.items():
            value = measured[group][name]
            good = value >= limit["least"] if "least" in limit else value <= limit["most"]
            wanted = f">= {limit['least']}" if "least" in limit else f"<= {limit['most']}"
            lines.append(f"{'holds' if good else 'MISSED':8}{value:10.3g}  {wanted:10}{group}: {name}")
    return lines


def told(measured: dict[str, Any], bars: Path) -> int:
    """How every benchmark ends: the table of its limits on stderr, one line of JSON on stdout.

    Args:
        measured: what `held` reads, and more.
        bars: file of the limits.

    Returns:
        1 where a limit is missed, else 0.
    """
    lines = held(measured, tomllib.loads(bars.read_text("utf-8")))
    print("\n".join(lines), file=sys.stderr)
    print(json.dumps(measured))
    return 1 if any(line.startswith("MISSED") for line in lines) else 0


def main() -> int:
    """Measures, prints the table to stderr and one line of JSON to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset_room")
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measured = measure(Path(folder), arguments.rows)
    return told(measured, BARS)


if __name__ == "__main__":
    sys.exit(main())
