"""All stages, one after the other: seeds -> a raw release. Verb `construct`.

A stage whose inputs and settings are those of the last time is not run again, unless requests of it got no reply: these
are asked again. One that was killed is run again from its beginning: its replies are in OUT/replies.sqlite, so that it
pays for nothing twice and ends with the same bytes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from mis_dataset.balance import Balance
from mis_dataset.client import Client, Loop
from mis_dataset.construct import duplicates, elements, filters, labels, pictures, questions
from mis_dataset.construct.assemble import Made, assemble, refuse_other_release
from mis_dataset.construct.config import Config, engine_of, own_judges
from mis_dataset.construct.diffusion import Diffusion, DiffusionDrawer
from mis_dataset.construct.drawers import Drawer, Hosted
from mis_dataset.construct.duplicates import Duplicates
from mis_dataset.construct.elements import Elements
from mis_dataset.construct.experts import Explicit, Together, Words
from mis_dataset.construct.filters import Filters, Rules, placed
from mis_dataset.construct.found import Found
from mis_dataset.construct.funnel import NAME as FUNNEL
from mis_dataset.construct.funnel import count, write_funnel
from mis_dataset.construct.given import digest_of, read_given
from mis_dataset.construct.heard import Heard
from mis_dataset.construct.hub_seeds import HubSeeds
from mis_dataset.construct.hub_sets import digest_of_folder
from mis_dataset.construct.labels import Labels
from mis_dataset.construct.ledger import NAME as USED
from mis_dataset.construct.ledger import Ledger, read_spent
from mis_dataset.construct.local_experts import gauges
from mis_dataset.construct.notes import note, read_unanswered, release_hashes, told_before
from mis_dataset.construct.others import refuse_others
from mis_dataset.construct.page import NAME as PAGE
from mis_dataset.construct.page import Told, write_page
from mis_dataset.construct.photo_sets import PhotoSet
from mis_dataset.construct.photographs import ABOUT, PhotographDrawer
from mis_dataset.construct.pictures import Pictures
from mis_dataset.construct.questions import Questions
from mis_dataset.construct.review import read_reviews
from mis_dataset.construct.rows import (
    SEEDS,
    AnyRow,
    Idea,
    Judged,
    Pictured,
    Question,
    Rejected,
    Seed,
    read_rows,
    to_line,
)
from mis_dataset.construct.seeds import read_seeds
from mis_dataset.construct.sentences import Sentences
from mis_dataset.construct.shelves import Photographs
from mis_dataset.construct.sights import Sights
from mis_dataset.construct.stage import read_before, run_stage
from mis_dataset.decoding import strict_pillow
from mis_dataset.errors import BudgetError
from mis_dataset.files import replace_file, sha256_of, write_json
from mis_dataset.processes import has_ended
from mis_dataset.remote.budget import Meter
from mis_dataset.remote.settings import Settings
from mis_dataset.schema import TRAIN

REPLIES, FOUND, SUMMARY = "replies.sqlite", "found.sqlite", "construct.json"
KIND = "mis_dataset construct"


class Stage(NamedTuple):
    """One stage of a construction.

    Attributes:
        name: of its file.
        reads: name of the stage before it.
        kind: of the rows that it reads.
        work: what comes of one.
        only: which rows it works on.
        about: what it hangs on beside rows and settings.
        alone: whether it works on one row after the other.
        lost: whether something is not there that rows of its file name.
    """

    name: str
    reads: str
    kind: type[Any]
    work: Callable[[Any], Sequence[AnyRow] | Rejected]
    only: Callable[[Iterator[Any]], Iterable[Any]] = iter
    about: str = ""
    alone: bool = False
    lost: Callable[[Path], bool] = lambda made: False


def construct(config: Config, out: Path, limit: int | None = None, replay: bool = False) -> dict[str, Any]:
    """Makes a release.

    Args:
        config: how.
        out: folder; what an earlier run of the same settings wrote there is gone on with.
        limit: seeds, at most, for a trial.
        replay: whether no endpoint is asked: what models said is read from `out`, and where they failed as well.

    Returns:
        "rows": of the release, by split; "balance": as `Balance.told`; "stages": name -> rows read, made, rejected by
        reason, what they used, and "unanswered" requests, see `notes`; "photographs": of which commit of a dataset, and
        how many, where it is one.

    Raises:
        UsageError: `out` holds files of somebody else under names of ours, or is no folder; nothing was touched.
        BudgetError: The budget is used up; the same command goes on, with as much again. The text says what is done.
        MISError: as `Client.ask`, or a file cannot be used.
        OSError: A file cannot be read or written.
    """
    refuse_others(out, [one for one in config.seeds if isinstance(one, Path)])
    refuse_other_release(out / "raw")
    out.mkdir(parents=True, exist_ok=True)
    for place in own_judges(config):
        text = f"judge {place} is the model that writes the labels, and judges its own words; name another if you can"
        print(f"judges: {text}", file=sys.stderr)
    _sweep(out)
    ledger = Ledger(out, Meter())
    with strict_pillow():
        _seeds(config, out, limit)
        told = _run_all(config, out, ledger, limit is None, replay)
    summary = _assembled(config, out, ledger.done) | {"stages": told} | _photographs(config, out)
    write_json(out / SUMMARY, summary)
    return summary


def _run_all(config: Config, out: Path, ledger: Ledger, whole: bool, replay: bool) -> dict[str, Any]:
    """Runs all stages, of all seeds or not: name -> what it did."""
    told, stage = dict[str, Any](), None
    try:
        with ledger.kept(), ExitStack() as opened:
            loop = opened.enter_context(Loop(config.at_once))
            models = {
                role: Heard(role, one, out / REPLIES, ledger.meter, loop, replay)
                for role, one in _models(config).items()
            }
            for client in models.values():
                opened.enter_context(client)
            drawer = opened.enter_context(_drawer(config, out, models, replay))
            found = opened.enter_context(Found(out / FOUND))
            for stage in _stages(config, out, models, drawer, found, whole):
                # Rows that wait for a call beside those that have one; in a replay threads get in each other's way.
                at_once = 1 if stage.alone or replay else 2 * config.at_once
                told[stage.name] = _run(stage, config, out, ledger, list(models.values()), at_once)
    except BudgetError as error:
        if stage is None:
            raise
        raise _stopped(error, config, out, stage, ledger) from error
    return told


def _tell(config: Config, out: Path, stages: Sequence[str], stopped: str = "") -> dict[str, Any]:
    """Counts what there is and writes the page; returns what a release says of how it was made."""
    settings = _told_settings(config, out)
    funnel, shown = count(out, stages, _rules(config))
    write_funnel(out, funnel)
    unpriced = [f"{one.model} ({role})" for role, one in _models(config).items() if one.prices is None]
    heard, missing = _heard(config, out, stages), read_unanswered(out, stages)
    with strict_pillow():
        write_page(out, funnel, shown, Told(read_spent(out), settings, heard, unpriced, stopped, missing))
    return {"kind": KIND, "settings": settings, "heard": heard, "unanswered": missing, **asdict(funnel)}


def _models(config: Config) -> dict[str, Settings]:
    """Role -> its model, of those that are remote."""
    drawing = {"drawing": config.drawing} if isinstance(config.drawing, Settings) else {}
    judges = {f"judge {place}": one for place, one in enumerate(config.judges, start=1)}
    second = {"second": config.second} if config.second else {}
    return {"text": config.text, "vision": config.vision, **second, **drawing, **judges}


def _heard(config: Config, out: Path, stages: Sequence[str]) -> dict[str, list[str]]:
    """Role -> names under which its model replied in stages that are whole, as they wrote them down."""
    found: dict[str, set[str]] = {role: set() for role in _models(config)}
    if not isinstance(config.drawing, Settings):
        found["drawing"] = {_name(config.drawing.model)}
    for stage in stages:
        for role, names in json.loads((out / f"{stage}.meta.json").read_bytes())["heard"].items():
            found.setdefault(role, set()).update(names)
    return {role: sorted(names) for role, names in found.items()}


def _stopped(error: BudgetError, config: Config, out: Path, stage: Stage, ledger: Ledger) -> BudgetError:
    """The same with all that whoever goes on wants to know, once the page says so too."""
    rows = sum(1 for _ in stage.only(read_rows(out / f"{stage.reads}.jsonl", stage.kind)))
    used, spent = ledger.meter.used, ledger.meter.spent
    text = (
        f"{out}: the budget of this run is used up: {error}\n"
        f"used: {used.calls} calls, {used.tokens_in} tokens in, {used.tokens_out} tokens out, cost {spent:.6g}\n"
        f"done: {', '.join(ledger.done) or 'no stage'}, and {ledger.worked} of {rows} rows of {stage.name}\n"
        f"nothing is lost: all replies are in {out / REPLIES} and are not paid for again"
    )
    if not used.calls:
        text += "\nnot a single call fits into the budget; set a larger one"
    _tell(config, out, ledger.done, text)
    return BudgetError(f"{text}\nto look at: {out / PAGE}")


def _seeds(config: Config, out: Path, limit: int | None) -> None:
    """Writes seeds.jsonl, or leaves that of the last run where the same seeds are meant: a dataset may move on."""
    path, meta = out / SEEDS, out / "seeds.meta.json"
    about = {"seeds": [_about_seeds(one, out) for one in config.seeds], "limit": limit}
    before = read_before(meta)
    same = before.get("about") == about and path.is_file() and before.get("sha256") == sha256_of(path)
    if same and all((out / seed.picture).is_file() for seed in read_rows(path, Seed) if seed.picture):
        return
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(map(to_line, read_seeds(config.seeds, limit, out)))
    write_json(meta, {"about": about, "sha256": sha256_of(path)})


def _about_seeds(one: Path | HubSeeds, out: Path) -> object:
    """Which seeds are meant: those of a file or a folder as it is, those of a dataset on the Hub as they were."""
    if isinstance(one, Path):
        return [one.name, sha256_of(one)]
    here = Path(one.hub)
    return asdict(one) | ({"folder": digest_of_folder(here, out)} if here.is_dir() else {})


def _drawer(config: Config, out: Path, models: Mapping[str, Client], replay: bool) -> Drawer:
    if isinstance(config.drawing, Diffusion):
        return DiffusionDrawer(config.drawing, out / REPLIES, replay)
    if isinstance(config.drawing, Photographs | PhotoSet):
        return PhotographDrawer(config.drawing, out)
    return Hosted(models["drawing"])


def _sweep(out: Path) -> None:
    """Removes what killed processes had begun to write, see `replace_file`."""
    for path in out.rglob(".*.tmp"):
        pid = path.name.split(".")[-2]
        if pid.isdecimal() and has_ended(int(pid)):
            path.unlink(missing_ok=True)


def _apart(config: Config, out: Path, found: Found, whole: bool) -> Stage:
    """The stage that keeps rows apart, by experts that run here and by people."""
    local, reviews = config.experts, read_reviews(config.review)
    about = {
        "near": local.near,
        "against": digest_of(local.against),
        "review": sha256_of(config.review) if config.review else None,
        "versions": local.versions("near", "against"),
    }
    sights = Sights(found)
    given = read_given(local.against, sights)
    work = Duplicates(out, local.near, Sentences(found), given, reviews, _rules(config), sights)
    return Stage(
        duplicates.NAME,
        filters.NAME,
        Judged,
        work,
        lambda rows: reviews.all_met(rows, whole),
        json.dumps(about),
        alone=True,
    )


def _stages(
    config: Config, out: Path, models: Mapping[str, Client], drawer: Drawer, found: Found, whole: bool
) -> list[Stage]:
    text, vision = models["text"], models["vision"]
    judges = [one for role, one in models.items() if role.startswith("judge")]
    local = gauges(config.experts, out, found)
    second = [Together(models["second"], out, "second")] if config.second else []
    experts: list[filters.Expert] = [Explicit(vision, out), Together(vision, out), *second, *local]
    measured = [[one.by, one.most] for one in local]
    drawn = Pictures(drawer, vision, out, config.size, config.rounds, config.licence, config.seed)
    return [
        Stage(elements.NAME, "seeds", Seed, Elements(text, config.objects, config.per_seed, vision, out)),
        Stage(questions.NAME, elements.NAME, Idea, Questions(text, config.blocks)),
        Stage(pictures.NAME, questions.NAME, Question, drawn, about=drawer.identity, lost=drawn.lost),
        Stage(filters.NAME, pictures.NAME, Pictured, Filters(Words(text), experts), about=json.dumps(measured)),
        _apart(config, out, found, whole),
        Stage(labels.NAME, duplicates.NAME, Judged, Labels(vision, judges, out), lambda rows: _to_train(rows, config)),
    ]


def _rules(config: Config) -> Rules:
    return Rules(config.quotas, config.blocks)


def _to_train(rows: Iterator[Judged], config: Config) -> Iterator[Judged]:
    return (row for row, split in placed(rows, _rules(config)) if split == TRAIN)


def _run(
    stage: Stage, config: Config, out: Path, ledger: Ledger, clients: Sequence[Heard], at_once: int
) -> dict[str, Any]:
    """Runs one stage, or tells what its last run did where nothing has changed since."""
    read = out / f"{stage.reads}.jsonl"
    about = {"read": sha256_of(read), "settings": _recorded(config), "about": stage.about}
    before = told_before(out, stage.name, about)
    if before is not None and not stage.lost(out / f"{stage.name}.jsonl"):
        ledger.end(stage.name)
        return before
    ledger.begin(stage.name)
    for client in clients:
        client.forget()
    meter = ledger.meter
    began, used, spent = time.monotonic(), meter.used, meter.spent
    rows = tqdm(stage.only(read_rows(read, stage.kind)), desc=stage.name, unit=" rows", file=sys.stderr)
    done = run_stage(rows, ledger.counted(stage.work), out / stage.name, at_once)
    ledger.end(stage.name)
    told = {
        **done._asdict(),
        **meter.used.plus(used, -1)._asdict(),
        "cost": round(meter.spent - spent, 6),
        "seconds": round(time.monotonic() - began, 1),
        "unanswered": sum(client.unanswered for client in clients),
    }
    note(out, stage.name, about, {client.role: sorted(client.names) for client in clients if client.names}, told)
    return told


def _assembled(config: Config, out: Path, stages: Sequence[str]) -> dict[str, Any]:
    """Rows and balance of the release; it and the page are written where they are not there or of something else."""
    names = [USED, *(f"{stage}.jsonl" for stage in ("seeds", *stages))]
    about = {"read": {name: sha256_of(out / name) for name in names if (out / name).is_file()}} | {
        "settings": _told_settings(config, out),
        "heard": _heard(config, out, stages),
        "unanswered": read_unanswered(out, stages),
        "prices": {role: one.prices for role, one in _models(config).items()},
    }
    meta, written = out / "raw.meta.json", (out / "raw", out / PAGE, out / FUNNEL)
    before = read_before(meta)
    there = release_hashes(*written)
    if there and before.get("sha256") == there and before.get("about") == json.loads(json.dumps(about)):
        return dict(before["told"])
    made = Made(out, out / f"{duplicates.NAME}.jsonl", out / f"{labels.NAME}.jsonl", _rules(config))
    rows = assemble(made, out / "raw", _tell(config, out, stages), balance := Balance())
    told = {"rows": rows, "balance": balance.told()}
    write_json(meta, {"about": about, "sha256": release_hashes(*written), "told": told})
    return told


def _told_settings(config: Config, out: Path) -> dict[str, Any]:
    """What page and release say: where something lies on this machine is nobody's business."""
    told = _recorded(config)
    if not isinstance(config.drawing, Settings):
        told["drawing"] |= {"model": _name(config.drawing.model), "engine": engine_of(config.drawing)}
        told["drawing"].pop("folder", None)
    if isinstance(config.drawing, PhotoSet):
        told["drawing"] |= {"hub": _name(config.drawing.hub), **_photographs(config, out)}
    for place in own_judges(config):
        told["judges"][place - 1] |= {"wrote_labels": True}
    limit = read_before(out / "seeds.meta.json")["about"]["limit"]
    if limit is not None:  # a trial is to be known as one
        told["limit"] = limit
    return told | {"experts": config.experts.told()}


def _photographs(config: Config, out: Path) -> dict[str, Any]:
    """What is known of a dataset of photographs, under one key; nothing where there is none."""
    about = read_before(out / ABOUT) if isinstance(config.drawing, PhotoSet) else {}
    return {"photographs": about} if about else {}


def _name(model: str) -> str:
    """A repository on the Hub, or the name of a folder without where it lies."""
    return Path(model).name if Path(model).is_dir() else model


def _recorded(config: Config) -> dict[str, Any]:
    """All settings that can change a row; addresses, times and limits change none."""
    quiet = ("base_url", "key_name", "in_flight", "timeout", "attempts", "backoff", "longest_wait", "budget", "prices")

    def about(settings: Any) -> dict[str, Any]:
        return {name: value for name, value in asdict(settings).items() if name not in quiet}

    apart = ("seeds", "budget", "at_once", "judges", "experts", "review")
    told = {name: value for name, value in vars(config).items() if name not in apart and value is not None}
    told |= {name: about(told[name]) for name in ("text", "vision", "second", "drawing") if name in told}
    return json.loads(json.dumps(told | {"judges": [about(one) for one in config.judges]}))  # type: ignore[no-any-return]
