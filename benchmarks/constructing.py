"""How fast a release is constructed by remote models, beside what their latency alone would take.

    .venv/bin/python -m benchmarks.constructing [--seeds 1000]

All models are one scripted endpoint on loopback, in a process of its own, which takes 0.2 s for a reply; pictures are a
few pixels, so that what is measured is ours. 1,000 seeds go through all stages, 64 rows at once and so never more than
64 calls; the ideal is calls x latency / 64. The time is that of the verb, its start and all files included. Then the
verb once more; the verb with nothing left but replies and pictures, which asks nothing (a replay); and all of it with a
quarter of the seeds, for what grows with them.

Prints one line of JSON; what it must be stands in ``benchmarks/constructing_bars.toml``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.dataset_room import told
from benchmarks.remote_calls import IN_FLIGHT, LATENCY, ROOT, endpoint
from tests.scripted_models import THINGS

BARS = Path(__file__).with_name("constructing_bars.toml")
SETTINGS = """
seeds: [seeds.jsonl]
licence: CC0-1.0
size: 8x8
blocks: false
at_once: {at_once}
text: {{model: text, base_url: "{url}", in_flight: {at_once}}}
vision: {{model: vision, base_url: "{url}", in_flight: {at_once}}}
drawing: {{model: draws, base_url: "{url}", in_flight: {at_once}}}
judges:
  - {{model: one, base_url: "{url}", in_flight: {at_once}}}
  - {{model: two, base_url: "{url}", in_flight: {at_once}}}
"""


def prepare(folder: Path, url: str, seeds: int) -> None:
    """Writes settings and seeds."""
    folder.mkdir(parents=True)
    lines = (json.dumps({"text": f"What of a {THINGS[n % len(THINGS)]}, number {n}?"}) for n in range(seeds))
    (folder / "seeds.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "construct.yaml").write_text(SETTINGS.format(url=url, at_once=IN_FLIGHT), encoding="utf-8")


def construct(folder: Path, *flags: str) -> dict[str, Any]:
    """Runs the verb with some flags in a process of its own; its seconds, those computed, and its peak of memory."""
    command = [sys.executable, "-m", "mis_dataset", "construct", str(folder / "out")]
    command += ["--config", str(folder / "construct.yaml"), *flags]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    calls = sum(stage["calls"] for stage in json.loads(line)["stages"].values())
    seconds = time.perf_counter() - started
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu": cpu, "peak_mb": usage.ru_maxrss / 1e3, "calls": calls}


def replay(folder: Path) -> dict[str, Any]:
    """The verb with nothing left of its last run but replies and pictures."""
    for path in (folder / "out").iterdir():
        if path.is_file() and not path.name.startswith("replies"):
            path.unlink()
    shutil.rmtree(folder / "out" / "raw")
    return construct(folder, "--replay")


def run_twice(folder: Path, seeds: int) -> dict[str, Any]:
    """A construction, the same again and its replay, at an endpoint of its own."""
    with endpoint("tests.scripted_models") as (url, process, counted):
        prepare(folder, url, seeds)
        first = construct(folder)
        busy = sum(process.cpu_times()[:2])
        again, replayed = construct(folder), replay(folder)
    assert replayed["calls"] == 0
    more = {"calls a second": first["calls"] / first["seconds"], "cpu of the endpoint": busy}
    asked = {"most_in_flight": counted["most_in_flight"], "calls of all three": counted["calls"]}
    ideal = first["calls"] * LATENCY / IN_FLIGHT
    return first | asked | more | {"ideal": ideal, "again": again["seconds"], "replay": replayed}


def measure(seeds: int, folder: Path) -> dict[str, Any]:
    """Runs all of it.

    Args:
        seeds: of the large run.
        folder: empty, with room for 2 kB a seed and picture.

    Returns:
        Ratios, counts, seconds, memory, and both runs.
    """
    os.environ["OPENAI_API_KEY"] = "any"
    small = run_twice(folder / "small", seeds // 4)
    large = run_twice(folder / "large", seeds)
    return {
        "seeds": seeds,
        "ratios": {
            "ideal to construction, time": large["ideal"] / large["seconds"],
            "construction to the same again, time": large["seconds"] / large["again"],
            "construction to replay, time": large["seconds"] / large["replay"]["seconds"],
            "four times the seeds, memory": large["peak_mb"] / small["peak_mb"],
            "four times the seeds, time": large["seconds"] / small["seconds"],
        },
        "counts": {
            "most in flight": large["most_in_flight"],
            "calls beside those of the first run": large["calls of all three"] - large["calls"],
        },
        "runs": {"small": small, "large": large},
    }


def main() -> int:
    """Measures, prints the table to stderr and one line of JSON to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.constructing")
    parser.add_argument("--seeds", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(arguments.seeds, Path(folder))
    return told(measured, BARS)


if __name__ == "__main__":
    sys.exit(main())
