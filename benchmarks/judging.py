"""How fast responses are judged by a model behind an API, side by side with asking it row by row.

    .venv/bin/python -m benchmarks.judging [--rows 2285]

The judge runs on loopback in a process of its own, takes 0.2 s for a reply and gives every row a verdict. Ours is
`judge_responses` on 2,285 responses (as many as MIS has test rows) to rows of two 256 px PNGs each, no picture twice,
64 requests at a time; its time holds the import of `openai` (not that of `datasets`, which both need), the hash of the
dataset, every picture read from it, and every verdict brought to the disk. Theirs is the loop that a user would write:
the same requests by `openai.OpenAI`, one after the other. All of it would take minutes: it is measured with 40 rows,
without its imports, and the ratio is that of the time a row, the least of three rounds of each. Also told is what
1024 px PNGs cost, as they are and made smaller to 512 px, with 160 rows, how busy the processor was (`busy` is seconds
that ours computed, a second), the most memory that ours held for itself, and the verb run again on what is finished.

Prints one line of JSON; what it must be stands in ``benchmarks/judging_bars.toml``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.dataset_room import picture, told, varied
from benchmarks.remote_calls import IN_FLIGHT, LARGE, LATENCY, ROOT, ROUNDS, SERIAL, alone, endpoint, seconds_one_by_one
from mis_dataset.remote.settings import Settings
from tests.made_judged import Judged, make_judged
from trainer.artefacts import Response, Verdict, read
from trainer.judge import cases_of, judge_responses
from trainer.judges.choice import Choice
from trainer.judges.endpoint import VERSION, request_of
from trainer.prompts import pictures_of
from trainer.questions import read_rows
from trainer.remote import Remote

BARS = Path(__file__).with_name("judging_bars.toml")
JUDGE = "tests.loopback_judge"


def make(folder: Path, rows: int, side: int) -> Judged:
    """Rows with pictures of such a side, all of them different in their bytes, and responses to them."""
    drawn = [picture(number, side) for number in range(8)]
    return make_judged(folder, rows, lambda number, place: varied(drawn[(2 * number + place) % 8], f"{number} {place}"))


def judge(url: str, made: Judged, out: Path, max_side: int | None) -> dict[str, float]:
    """Ours."""
    settings = Settings("a-judge", VERSION, base_url=url, in_flight=IN_FLIGHT, image_max_side=max_side)
    choice = Choice("openai", "a-judge", Remote(settings, out.with_suffix(".sqlite")))
    with watched() as most:
        started, busy = time.perf_counter(), time.process_time()
        judge_responses(made.responses, out, choice, made.dataset)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    assert all(one.verdict != "Unscored" for one in read(out, Verdict))
    return {"seconds": seconds, "cpu": busy, "peak_mb": most["bytes"] / 1e6}


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """The most memory that this process holds for itself: pages of files, which may be taken from it, do not count."""
    most, ended, process = {"bytes": 0.0}, threading.Event(), psutil.Process()

    def watch() -> None:
        while not ended.wait(0.02):
            held_now = process.memory_info()
            most["bytes"] = max(most["bytes"], float(held_now.rss - held_now.shared))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def judge_one_by_one(url: str, made: Judged, rows: int) -> dict[str, float]:
    """Theirs: the requests of the first rows, which are made before the clock starts."""
    todo = read(made.responses, Response)[:rows]
    cases = cases_of(todo, read_rows(made.dataset), {}, pictures_of(made.dataset, made.ids()))
    return {"seconds": seconds_one_by_one(url, [request_of(case) for case in cases])}


def judge_again(url: str, made: Judged, out: Path) -> float:
    """The verb on what is finished, all of its process; seconds."""
    command = [sys.executable, "-m", "trainer", "judge", str(made.responses), str(out), "--judge", "openai"]
    command += ["--judge-model", "a-judge", "--judge-base-url", url, "--dataset", str(made.dataset)]
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def run_twice(made: Judged, out: Path, rows: int, max_side: int | None = None) -> dict[str, float]:
    """Ours, and where pictures are sent as they are the verb once more, at an endpoint of its own."""
    with endpoint(JUDGE) as (url, process, counted):
        told = alone(judge, url, made, out, max_side)
        told["cpu of the endpoint"] = sum(process.cpu_times()[:2])
        if max_side is None:
            told["second run"] = judge_again(url, made, out)
    cost = {"seconds a row": told["seconds"] / rows, "busy": told["cpu"] / told["seconds"]}
    return told | counted | cost


def measure(rows: int, large: int, folder: Path) -> dict[str, Any]:
    """Runs all of it, what the ratio is made of in turn and several times: the median of each counts.

    Args:
        rows: with small pictures.
        large: rows with large ones.
        folder: empty, with room for 400 kB a row and side.

    Returns:
        Ratios, counts, seconds, and of each of our runs also how busy it was and its memory in MB.
    """
    # Bars would fill the page, and the cache of `datasets` the disk: it takes a copy of what it reads.
    quiet = {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    os.environ.update(quiet, OPENAI_API_KEY="any")
    small = make(folder / "small", rows, 256)
    serials, smalls = [], []
    for turn in range(ROUNDS):
        with endpoint(JUDGE) as (url, _, _):
            serials.append(alone(judge_one_by_one, url, small, SERIAL)["seconds"] / SERIAL)
        smalls.append(run_twice(small, folder / f"{turn}.jsonl", rows))
    serial, first = median(serials), sorted(smalls, key=lambda told: told["seconds"])[ROUNDS // 2]
    big = make(folder / "large", large, 1024)
    runs = {
        "256 px": first,
        "1024 px": run_twice(big, folder / "1024.jsonl", large),
        "1024 px made 512": run_twice(big, folder / "512.jsonl", large, 512),
    }
    return {
        "rows": rows,
        "ratios": {
            "one by one to in flight, time a row": serial / first["seconds a row"],
            "in flight to what the latency alone takes, time": first["seconds"] / (rows * LATENCY / IN_FLIGHT),
        },
        "counts": {"most in flight": first["most_in_flight"], "calls of two runs a row": first["calls"] / rows},
        "seconds": {
            "second run": first["second run"],
            "one by one, a row": serial,
            "of each round": sorted(told["seconds"] for told in smalls),
        },
        "peak_mb": {"256 px": first["peak_mb"]},
        "runs": runs,
    }


def main() -> int:
    """Measures, prints the table to stderr and one line of JSON to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judging")
    parser.add_argument("--rows", type=int, default=2285)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(arguments.rows, min(LARGE, arguments.rows), Path(folder))
    return told(measured, BARS)


if __name__ == "__main__":
    sys.exit(main())
