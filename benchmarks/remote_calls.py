"""How fast a judge behind an API is asked, side by side with asking it request by request.

    .venv/bin/python -m benchmarks.remote_calls [--requests 2285]

The endpoint runs on loopback in a process of its own, takes 0.2 s for a reply and reads no body. Ours asks 2,285
times, about two 256 px PNGs each, no picture twice, 64 requests at a time, every reply committed to the cache; its time
holds all from the import of `openai` on. Theirs is what a user would write: `openai.OpenAI`, pictures encoded and a
call made, one after the other. All of it would take minutes: it is measured with 40 requests, without its imports,
and the ratio is that of the time a request, the least of three rounds of each. Also told is what 1024 px PNGs cost, as
they are and made smaller to 512 px, with 160 requests, and how busy the processor was: `busy` is seconds that ours
computed, a second. On a machine that others use, which cores are left decides more than anything else.

Prints one line of JSON; what it must be stands in ``benchmarks/remote_bars.toml``.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from benchmarks.dataset_room import picture, told, varied
from mis_dataset.client import ask
from mis_dataset.remote.messages import Reply, Request
from mis_dataset.remote.settings import Settings

BARS = Path(__file__).with_name("remote_bars.toml")
ROOT = Path(__file__).resolve().parents[1]
LATENCY = 0.2
IN_FLIGHT = 64
SERIAL = 40
ROUNDS = 3
LARGE = 160
QUESTION = "Do the two pictures together show anything that speaks against it? Say Safe or Unsafe."


class Run(NamedTuple):
    """One way to ask.

    Attributes:
        requests: how many.
        side: pixels of their pictures.
        max_side: to which they are made smaller.
    """

    requests: int
    side: int
    max_side: int | None = None


def requests(run: Run) -> Iterator[Request]:
    """Requests about two pictures each, all of them different in their bytes; what is drawn is drawn at once."""
    drawn = [picture(number, run.side) for number in range(8)]

    def request(place: int) -> Request:
        one, two = (varied(drawn[(2 * place + side) % 8], f"{place} {side}") for side in (0, 1))
        return Request(f"test/{place}", ("Image-1: ", one, "Image-2: ", two, QUESTION))

    return map(request, range(run.requests))


@contextmanager
def endpoint(module: str = "tests.loopback_api") -> Iterator[tuple[str, psutil.Process, dict[str, int]]]:
    """The endpoint; gives its address, its process, and after the block what it counted."""
    counted: dict[str, int] = {}
    command = [sys.executable, "-m", module, "--latency", str(LATENCY)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip(), psutil.Process(process.pid), counted
        process.stdin.close()
        counted.update(json.loads(process.stdout.readline()))


def ask_in_flight(url: str, run: Run, folder: str) -> dict[str, float]:
    """Ours; then once more, which must make no call."""
    settings = Settings("a-model", "1-a", base_url=url, in_flight=IN_FLIGHT, image_max_side=run.max_side)
    asked = requests(run)
    started, busy = time.perf_counter(), time.process_time()
    replies = [reply for _, reply in ask(asked, settings, Path(folder, f"{run}.sqlite"))]
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    assert sum(isinstance(reply, Reply) for reply in replies) == run.requests
    return {"seconds": seconds, "cpu": busy, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def ask_again(url: str, run: Run, folder: str) -> dict[str, float]:
    """The same requests once more."""
    settings = Settings("a-model", "1-a", base_url=url, in_flight=IN_FLIGHT, image_max_side=run.max_side)
    asked = requests(run)
    started = time.perf_counter()
    list(ask(asked, settings, Path(folder, f"{run}.sqlite")))
    return {"seconds": time.perf_counter() - started}


def ask_one_by_one(url: str, run: Run, folder: str) -> dict[str, float]:
    """Theirs."""
    return {"seconds": seconds_one_by_one(url, list(requests(run)))}


def seconds_one_by_one(url: str, asked: Iterable[Request]) -> float:
    """What a user would write; seconds without its imports."""
    from openai import OpenAI

    with OpenAI(api_key="any", base_url=url) as client:
        started = time.perf_counter()
        for request in asked:
            parts: list[Any] = []
            for part in request.parts:
                if isinstance(part, str):
                    parts.append({"type": "text", "text": part})
                else:
                    address = "data:image/png;base64," + base64.b64encode(part).decode()
                    parts.append({"type": "image_url", "image_url": {"url": address}})
            before: list[Any] = [{"role": "system", "content": request.system}] if request.system else []
            client.chat.completions.create(
                model="a-model",
                messages=[*before, {"role": "user", "content": parts}],
                max_tokens=512,
                temperature=0,
                seed=0,
            )
        return time.perf_counter() - started


def alone(work: Callable[..., dict[str, float]], *about: Any) -> dict[str, float]:
    """Does one thing in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work, *about).result()


def run_twice(run: Run, folder: str) -> dict[str, float]:
    """Ours, and once more from the cache, at an endpoint of its own."""
    with endpoint() as (url, process, counted):
        told = alone(ask_in_flight, url, run, folder)
        told["cpu of the endpoint"] = sum(process.cpu_times()[:2])
        told["second run"] = alone(ask_again, url, run, folder)["seconds"]
    cost = {"seconds a request": told["seconds"] / run.requests, "busy": told["cpu"] / told["seconds"]}
    return told | counted | cost


def measure(count: int, large: int, folder: Path) -> dict[str, Any]:
    """Runs all of it, what the ratio is made of in turn and several times: the median of each counts.

    Args:
        count: requests about small pictures.
        large: requests about large ones.
        folder: empty.

    Returns:
        Ratios, seconds, and of each of our runs also how busy it was and its memory in MB.
    """
    os.environ["OPENAI_API_KEY"] = "any"
    serials, smalls = [], []
    for turn in range(ROUNDS):
        with endpoint() as (url, _, _):
            serials.append(alone(ask_one_by_one, url, Run(SERIAL, 256), str(folder))["seconds"] / SERIAL)
        smalls.append(run_twice(Run(count, 256), str(folder / str(turn))))
    serial, first = median(serials), sorted(smalls, key=lambda told: told["seconds"])[ROUNDS // 2]
    runs = {
        "256 px": first,
        "1024 px": run_twice(Run(large, 1024), str(folder)),
        "1024 px made 512": run_twice(Run(large, 1024, 512), str(folder)),
    }
    return {
        "requests": count,
        "ratios": {
            "one by one to in flight, time a request": serial / first["seconds a request"],
            "in flight to what the latency alone takes, time": first["seconds"] / (count * LATENCY / IN_FLIGHT),
        },
        "counts": {"most in flight": first["most_in_flight"], "calls of two runs a request": first["calls"] / count},
        "peak_mb": {"256 px": first["peak_mb"]},
        "seconds": {"one by one, a request": serial, "of each round": sorted(told["seconds"] for told in smalls)},
        "runs": runs,
    }


def main() -> int:
    """Measures, prints the table to stderr and one line of JSON to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.remote_calls")
    parser.add_argument("--requests", type=int, default=2285)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(arguments.requests, LARGE, Path(folder))
    return told(measured, BARS)


if __name__ == "__main__":
    sys.exit(main())
