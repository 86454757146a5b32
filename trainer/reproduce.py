"""Verb `reproduce`: the whole walk, MIS-mini -> base -> arms -> responses -> verdicts -> rates -> report -> cards.

Read `stages` as the table of contents. Every station is a verb that a user can type; each finds by itself what is
done already, so a rerun, also after `kill -9`, does only what is missing. Once the base stands, its arms do not need
each other: they walk in lanes, `SIDE_BY_SIDE` at a time, which keeps the cores busier than one station on all of them
(docs/decisions.md). Every station has a process of its own (with ``--smoke`` all share this one, one after
the other) and leaves a line in RUN/stations.jsonl, see `trainer.stations`. ``--smoke`` leaves out what a few rows
cannot show: shortcuts, doses and bars.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import shutil
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mis_dataset.errors import MISError
from mis_dataset.processes import alone, end_with_parent
from trainer.recipe import CONFIGS
from trainer.stations import CONTROL, SPREAD, TRAINING, StationLog, read_attempts

ARMS = ("contrast", "mirage", "refusal")
MAX_NEW_TOKENS = "44"
"""A third more than the longest label of MIS-mini; the paper's protocol, 1,024, is the default of `generate`."""
LABELS = Path(__file__).resolve().parents[1] / "tests" / "fixtures" / "reader_labels.jsonl"
"""Real responses labelled by readers: the judges are held against them."""
BATCH = "160"
DOSES: tuple[int, ...] = tuple(yaml.safe_load((CONFIGS / "mini_contrast.yaml").read_text("utf-8"))["doses"])
"""After how many rows the contrast arm is measured on its way; whole batches."""
SIDE_BY_SIDE = 2
"""Lanes that walk at the same time; each takes its share of the cores."""
INTERRUPTED = 130
"""Exit code of a verb that was interrupted."""
_PATIENCE = 0.2
"""Seconds between two looks at whether the walk goes on."""
_PRELOAD = ["torch", "transformers", "trl", "peft", "datasets", "evaluate", "trainer.__main__"]


class Station(NamedTuple):
    """One verb with its arguments; `name` is what the log calls it."""

    name: str
    room: str
    words: list[str]


Lane = list[Station]
"""Stations that need each other, in order."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``reproduce``."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("--smoke", action="store_true", help="toy size, a tiny random language model")
    parser.add_argument("--long", action="store_true", help="every arm for two epochs")
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=(),
        help="e.g. 0,1,2: RUN/seed0 ..., a release each (data seeds) and the shuffled arm; "
        "in the first also contrast with each seed but 0 as training seed",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Walks from MIS-mini to the cards, once or once a seed.

    Raises:
        MISError: A station failed; what was done before it stays.
    """
    with alone(args.run, str(args.run)):
        return _reproduce(args)


def _reproduce(args: argparse.Namespace) -> dict[str, Any]:
    # glibc gives large blocks back and takes them anew at every step; kept, training is a quarter faster.
    os.environ |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736", "MALLOC_TOP_PAD_": "268435456"}
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MPLBACKEND": "Agg"}
    folders = {seed: args.run / f"seed{seed}" for seed in args.seeds} or {0: args.run}
    first = next(iter(folders.values()))
    for seed, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        if folder != first:
            _share_base(first, folder)
        training = [number for number in args.seeds if number] if folder == first else []
        walk = stages(folder, seed, smoke=args.smoke, long=args.long, control=bool(args.seeds), training=training)
        for lanes in walk:
            _walk(lanes, folder, in_process=args.smoke)
    if args.seeds:
        _walk([[_station(SPREAD, "trainer", "seeds", args.run)]], first, in_process=args.smoke)
    passed = args.smoke or _bars(args.run)
    written = {"dataset": "MIS", "model": "arms/contrast/model", "report": "report.html", "cards": "cards"}
    return {
        "runs": [{name: str(folder / path) for name, path in written.items()} for folder in folders.values()],
        "passed": passed,
    }


def stages(
    run: Path, seed: int, *, smoke: bool, long: bool, control: bool, training: Sequence[int] = ()
) -> list[list[Lane]]:
    """Every station of one run: stages one after the other, the lanes of a stage in any order or at once.

    Args:
        run: folder of the run.
        seed: data seed: of the release's pictures and order. The training seed is 0.
        smoke: toy size.
        long: every arm for two epochs.
        control: with the shuffled arm.
        training: further training seeds with which contrast is trained and asked.
    """
    raw, built, base = run / "raw", run / "MIS", run / "base"
    begin = [
        _station("mini", "mis_dataset", "mini", raw, "--seed", seed, *(["--smoke"] if smoke else [])),
        _station("check", "mis_dataset", "check", raw),
        _station("build", "mis_dataset", "build", raw, built),
        _station("stats", "mis_dataset", "stats", built, run / "stats"),
        _station("leaks", "mis_dataset", "leaks", built, run / "leaks.json", "--things", _things(run)),
        _station("croissant", "mis_dataset", "croissant", built),
        _station("base", "trainer", "base", base, *(["--smoke"] if smoke else [])),
        *_before(run, smoke),
    ]
    if not smoke:  # the few rows of a smoke run cannot be balanced
        begin.insert(2, _station("shortcuts", "mis_dataset", "shortcuts", raw))
    arms = {arm: (arm, 0) for arm in ARMS} | {training_arm(number): ("contrast", number) for number in training}
    arms |= {CONTROL: (CONTROL, 0)} if control else {}
    lanes = {}
    for arm, (recipe, number) in arms.items():
        words = ["sft", base / "model", built, run / "arms" / arm, "--config", CONFIGS / f"mini_{recipe}.yaml"]
        words += ["--said", base / "said.jsonl"]
        words += ["--seed", number, *(["--epochs", 2] if long else []), *(["--limit", 4] if smoke else [])]
        lanes[arm] = [_station(f"sft {arm}", "trainer", *words), *_evaluation(run, arm, smoke)]
    training_contrast, *asking_contrast = lanes.pop("contrast")
    end = [_station("report", "trainer", "report", run), _station("cards", "cards", "render", run, run / "cards")]
    # Training contrast takes as long as all beside it, and the longest goes first, so that none walks alone at the end.
    own = [[training_contrast], _evaluation(run, "base", smoke), lanes.pop("mirage"), lanes.pop("refusal")]
    asking = [asking_contrast, _probes(run) + ([] if smoke else _doses(run))]
    # What only several seeds have comes after the rest, so that the log shows what one seed takes.
    rest = list(lanes.values())
    further = [rest[place : place + SIDE_BY_SIDE] for place in range(0, len(rest), SIDE_BY_SIDE)]
    return [[begin], own, asking, *further, [end]]


def training_arm(seed: int) -> str:
    """Name of the contrast arm that was trained with another training seed."""
    return f"{TRAINING}{seed}"


def _share_base(source: Path, run: Path) -> None:
    """Gives `run` the base of another run of the same training seed, and its line of time and memory."""
    if (run / "base").is_dir():
        return
    temporary = run / ".base.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source / "base", temporary)
    shared = [one for one in read_attempts(source / "stations.jsonl") if one.station == "base"]
    StationLog(run / "stations.jsonl").add(shared)
    temporary.rename(run / "base")


def _before(run: Path, smoke: bool) -> list[Station]:
    """SmolLM2 itself, asked in words about the same things: how often it helps."""
    folder, model = run / "eval" / "before", run / "base" / "tower"
    responses = folder / "responses.jsonl"
    rows = ["--splits", "test_hard", "test_benign", "--only", "hard"]
    named = ["--pictures", "named", "--things", _things(run), "--max-new-tokens", MAX_NEW_TOKENS]
    level = [] if smoke else ["--level", "new_pairs"]
    return [
        _station("generate before", "trainer", "generate", model, run / "MIS", responses, *rows, *level, *named),
        _judge(run, "before", folder, "mini_rules"),
    ]


def _evaluation(run: Path, model: str, smoke: bool) -> list[Station]:
    """Responses, both judges' verdicts, ability and rates of one model."""
    folder = run / "eval" / model
    checkpoint = run / "base" / "model" if model == "base" else run / "arms" / model / "model"
    verdicts, ability = folder / "verdicts.jsonl", folder / "ability.jsonl"
    asked = ["--pictures", 6, "--limit", 6] if smoke else ["--said", run / "base" / "said_before.jsonl"]
    generate = ["generate", checkpoint, run / "MIS", folder / "responses.jsonl", "--max-new-tokens", MAX_NEW_TOKENS]
    generate += ["--batch-size", BATCH]
    agree = [verdicts, folder / "verdicts_minilm.jsonl", folder / "agree.json", "--labels", LABELS]
    score = [verdicts, folder / "score.json", "--dataset", run / "MIS", "--ability", ability]
    return [
        _station(f"generate {model}", "trainer", *generate),
        _judge(run, model, folder, "mini_rules"),
        _judge(run, model, folder, "minilm"),
        _station(f"ability {model}", "trainer", "ability", checkpoint, ability, *asked),
        _station(f"agree {model}", "trainer", "agree", *agree),
        _station(f"score {model}", "trainer", "score", *score),
    ]


def _probes(run: Path) -> list[Station]:
    """The contrast arm with half of the evidence, none, or all of it in an order that no row has."""
    walk = []
    for name, pictures in (("black", "black"), ("text", "none"), ("swapped", "swapped")):
        folder = run / "probes" / name
        words = [run / "arms" / "contrast" / "model", run / "MIS", folder / "responses.jsonl", *_hard_rows()]
        walk.append(_station(f"generate {name}", "trainer", "generate", *words, "--pictures", pictures))
        walk.append(_judge(run, name, folder, "mini_rules"))
    return walk


def _doses(run: Path) -> list[Station]:
    """The contrast arm after so many rows."""
    walk = []
    for dose in DOSES:
        folder, adapter = run / "dose" / str(dose), run / "arms" / "contrast" / "dose" / str(dose)
        words = [run / "base" / "model", run / "MIS", folder / "responses.jsonl", *_hard_rows(), "--adapter", adapter]
        words += ["--level", "new_pairs"]
        walk.append(_station(f"generate dose {dose}", "trainer", "generate", *words))
        walk.append(_judge(run, f"dose {dose}", folder, "mini_rules"))
    return walk


def _hard_rows() -> list[str]:
    return [
        "--splits",
        "test_hard",
        "test_benign",
        "--only",
        "hard",
        "--max-new-tokens",
        MAX_NEW_TOKENS,
        "--batch-size",
        BATCH,
    ]


def _judge(run: Path, name: str, folder: Path, judge: str) -> Station:
    verdicts = folder / ("verdicts.jsonl" if judge == "mini_rules" else f"verdicts_{judge}.jsonl")
    words = [folder / "responses.jsonl", verdicts, "--judge", judge, "--things", _things(run), "--dataset", run / "MIS"]
    return _station(f"judge {name} {judge}", "trainer", "judge", *words)


def _things(run: Path) -> Path:
    return run / "raw" / "mini" / "objects.json"


def _station(name: str, room: str, *words: object) -> Station:
    return Station(name, room, [str(word) for word in words])


def _walk(lanes: Sequence[Lane], run: Path, *, in_process: bool) -> None:
    """Walks the lanes of one stage; where a station fails, those beside it are ended and no further one is begun.

    Raises:
        MISError: A station failed.
    """
    log, stop = StationLog(run / "stations.jsonl"), threading.Event()
    if in_process or len(lanes) == 1:
        for lane in lanes:
            _walk_lane(lane, log, stop, 1, in_process=in_process)
        return
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        walking = [pool.submit(_walk_lane, lane, log, stop, SIDE_BY_SIDE, in_process=False) for lane in lanes]
        try:
            wait(walking, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()  # at the end of all there is nothing left to stop
    for one in walking:
        one.result()


def _walk_lane(lane: Lane, log: StationLog, stop: threading.Event, share: int, *, in_process: bool) -> None:
    """Visits the stations of one lane until `stop` is set, each with one of `share` equal parts of the cores.

    Raises:
        MISError: A station failed.
    """
    for station in lane:
        if stop.is_set():
            return
        print(f"== {station.name}", file=sys.stderr)
        with log.time(station.name) as watch:
            watch.exit, watch.peak_memory_bytes = _call(station) if in_process else _fork(station, share, stop)
        if watch.exit == INTERRUPTED:
            raise KeyboardInterrupt
        if watch.exit and not stop.is_set():
            command = f"python -m {station.room} {' '.join(station.words)}"
            raise MISError(
                f"station {station.name!r} failed with exit code {watch.exit}; see above, mend and run again: {command}"
            )


def _call(station: Station) -> tuple[int, int]:
    """Exit code and peak memory of a station in this process."""
    main = import_module(f"{station.room}.__main__").main
    # Every verb says its line on stdout; here only the walk's own line belongs there.
    with contextlib.redirect_stdout(sys.stderr):
        return main(station.words), _peak()


def _fork(station: Station, share: int, stop: threading.Event) -> tuple[int, int]:
    """Runs a station in a fresh process in which the heavy libraries are loaded already; `stop` ends it early."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(station, share, send))
    process.start()
    send.close()
    try:
        while not receive.poll(_PATIENCE):
            if stop.is_set():
                process.terminate()
        found: tuple[int, int] | None = receive.recv()
    except EOFError:
        found = None
    except KeyboardInterrupt:
        process.terminate()
        raise
    process.join()
    return found or (process.exitcode or 1, 0)


def _child(station: Station, share: int, send: Any) -> None:
    """Runs in the child: the verb, then what it took."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // share))
    send.send(_call(station))
    send.close()


def _peak() -> int:
    """Peak resident memory of this process in bytes; with ``--smoke`` that of all stations so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _bars(run: Path) -> bool:
    """Prints every bar; the report stands whether or not they hold."""
    from trainer.__main__ import main

    return main(["bars", str(run)]) == 0


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(int(part) for part in text.split(","))
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"{text}: seeds are different whole numbers from 0 on")
    return tuple(sorted(seeds))
