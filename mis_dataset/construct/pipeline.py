"""All stages, one after the other: seeds -> a raw release. Verb `construct`.

A stage whose inputs and settings are those of the last time is not run again. One that was killed is run again from
its beginning: its replies are in OUT/replies.sqlite, so that it pays for nothing twice and ends with the same bytes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from mis_dataset.client import Client
from mis_dataset.construct import elements, filters, labels, pictures, questions
from mis_dataset.construct.assemble import Made, assemble
from mis_dataset.construct.config import Config
from mis_dataset.construct.diffusion import Diffusion, DiffusionDrawer
from mis_dataset.construct.drawers import Drawer, Hosted
from mis_dataset.construct.elements import Elements
from mis_dataset.construct.experts import Explicit, Together, Words
from mis_dataset.construct.filters import Filters, within_quotas
from mis_dataset.construct.hub_seeds import HubSeeds
from mis_dataset.construct.labels import Labels
from mis_dataset.construct.photographs import PhotographDrawer, Photographs
from mis_dataset.construct.pictures import Pictures
from mis_dataset.construct.questions import Questions
from mis_dataset.construct.rows import AnyRow, Idea, Judged, Pictured, Question, Rejected, Seed, read_rows, to_line
from mis_dataset.construct.seeds import read_seeds
from mis_dataset.construct.stage import run_stage
from mis_dataset.decoding import strict_pillow
from mis_dataset.files import replace_file, sha256_of, write_json
from mis_dataset.processes import has_ended
from mis_dataset.remote.budget import Meter
from mis_dataset.schema import TRAIN

REPLIES, SUMMARY = "replies.sqlite", "construct.json"


class Stage(NamedTuple):
    """One stage of a construction.

    Attributes:
        name: of its file.
        reads: name of the stage before it.
        kind: of the rows that it reads.
        work: what comes of one.
        only: which rows it works on.
        about: what it hangs on beside rows and settings.
    """

    name: str
    reads: str
    kind: type[Any]
    work: Callable[[Any], Sequence[AnyRow] | Rejected]
    only: Callable[[Iterator[Any]], Iterable[Any]] = iter
    about: str = ""


def construct(config: Config, out: Path, limit: int | None = None) -> dict[str, Any]:
    """Makes a release.

    Args:
        config: how.
        out: folder; what an earlier run of the same settings wrote there is gone on with.
        limit: seeds, at most, for a trial.

    Returns:
        "rows": of the release, by split; "stages": name -> rows read, made, rejected by reason, and what they used.

    Raises:
        BudgetError: The budget is used up; the same command goes on, with a larger one.
        MISError: as `Client.ask`, or a file cannot be used.
        OSError: A file cannot be read or written.
    """
    out.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    meter, told = Meter(), dict[str, Any]()
    with ExitStack() as opened, strict_pillow():
        _seeds(config, out, limit)
        text, vision, *judges = (
            opened.enter_context(Client(settings, out / REPLIES, meter))
            for settings in (config.text, config.vision, *config.judges)
        )
        drawing = opened.enter_context(_drawer(config, out, meter))
        for stage in _stages(config, out, text, vision, drawing, judges):
            told[stage.name] = _run(stage, config, out, meter)
    made = Made(out, out / f"{filters.NAME}.jsonl", out / f"{labels.NAME}.jsonl", config.quotas)
    rows = assemble(made, out / "raw")
    summary = {"rows": rows, "stages": told}
    write_json(out / SUMMARY, summary)
    return summary


def _seeds(config: Config, out: Path, limit: int | None) -> None:
    """Writes seeds.jsonl, or leaves that of the last run where the same seeds are meant: a dataset may move on."""
    path, meta = out / "seeds.jsonl", out / "seeds.meta.json"
    told = [asdict(one) if isinstance(one, HubSeeds) else [one.name, sha256_of(one)] for one in config.seeds]
    about = {"seeds": told, "limit": limit}
    before = json.loads(meta.read_bytes()) if meta.is_file() else {}
    if before.get("about") == about and path.is_file() and before.get("sha256") == sha256_of(path):
        return
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(map(to_line, read_seeds(config.seeds, limit, out)))
    write_json(meta, {"about": about, "sha256": sha256_of(path)})


def _drawer(config: Config, out: Path, meter: Meter) -> Drawer:
    if isinstance(config.drawing, Diffusion):
        return DiffusionDrawer(config.drawing, out / REPLIES)
    if isinstance(config.drawing, Photographs):
        return PhotographDrawer(config.drawing, out)
    return Hosted(Client(config.drawing, out / REPLIES, meter))


def _sweep(out: Path) -> None:
    """Removes what killed processes had begun to write, see `replace_file`."""
    for path in out.rglob(".*.tmp"):
        pid = path.name.split(".")[-2]
        if pid.isdecimal() and has_ended(int(pid)):
            path.unlink(missing_ok=True)


def _stages(
    config: Config, out: Path, text: Client, vision: Client, drawing: Drawer, judges: Sequence[Client]
) -> list[Stage]:
    experts = (Explicit(vision, out), Together(vision, out))
    drawn = Pictures(drawing, vision, out, config.size, config.rounds, config.licence, config.seed)
    return [
        Stage(elements.NAME, "seeds", Seed, Elements(text, config.objects, config.per_seed, vision, out)),
        Stage(questions.NAME, elements.NAME, Idea, Questions(text)),
        Stage(pictures.NAME, questions.NAME, Question, drawn, about=drawing.identity),
        Stage(filters.NAME, pictures.NAME, Pictured, Filters(Words(text), experts)),
        Stage(labels.NAME, filters.NAME, Judged, Labels(vision, judges, out), lambda rows: _to_train(rows, config)),
    ]


def _to_train(rows: Iterator[Judged], config: Config) -> Iterator[Judged]:
    return (row for row, split in within_quotas(rows, config.quotas) if split == TRAIN)


def _run(stage: Stage, config: Config, out: Path, meter: Meter) -> dict[str, Any]:
    """Runs one stage, or tells what its last run did where nothing has changed since."""
    read, made = out / f"{stage.reads}.jsonl", out / f"{stage.name}.jsonl"
    about = {"read": sha256_of(read), "settings": _recorded(config), "about": stage.about}
    meta = out / f"{stage.name}.meta.json"
    before = json.loads(meta.read_bytes()) if meta.is_file() else {}
    if before.get("about") == about and made.is_file() and before.get("sha256") == sha256_of(made):
        return dict(before["told"])
    began, used, spent = time.monotonic(), meter.used, meter.spent
    rows = tqdm(stage.only(read_rows(read, stage.kind)), desc=stage.name, unit=" rows", file=sys.stderr)
    done = run_stage(rows, stage.work, out / stage.name, config.at_once)
    told = {
        **done._asdict(),
        **meter.used.plus(used, -1)._asdict(),
        "cost": round(meter.spent - spent, 6),
        "seconds": round(time.monotonic() - began, 1),
    }
    write_json(meta, {"about": about, "sha256": sha256_of(made), "told": told})
    return told


def _recorded(config: Config) -> dict[str, Any]:
    """All settings that can change a row; addresses, times and limits change none."""
    quiet = ("base_url", "key_name", "in_flight", "timeout", "attempts", "backoff", "longest_wait", "budget", "prices")

    def about(settings: Any) -> dict[str, Any]:
        return {name: value for name, value in asdict(settings).items() if name not in quiet}

    told = {name: value for name, value in vars(config).items() if name not in ("seeds", "budget", "at_once", "judges")}
    told |= {name: about(told[name]) for name in ("text", "vision", "drawing")}
    return json.loads(json.dumps(told | {"judges": [about(one) for one in config.judges]}))  # type: ignore[no-any-return]
