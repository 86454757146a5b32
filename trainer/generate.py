"""Verb `generate`: a model and rows -> responses.jsonl.

Greedy, by transformers, vLLM or a model behind an API, and in the rows' own order, whatever the order in which they
were made. Started by `accelerate launch` or `torchrun`, several processes share the rows.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from mis_dataset.arguments import positive
from mis_dataset.errors import MISError, UsageError
from mis_dataset.processes import end_with_launcher
from mis_dataset.schema import SPLITS
from trainer import remote as endpoints
from trainer.artefacts import Response, open_artefact, read
from trainer.benchmarks import NAMES
from trainer.engines import local, openai
from trainer.files import adapter_files, checkpoint_files
from trainer.probes import PROBES
from trainer.prompts import Prompt, named, read_prompts
from trainer.questions import rows_file
from trainer.shares import Share, Shared, launched

NAMED = "named"
"""A probe of MIS-mini: text only, which says what the pictures would show."""
TEST_SPLITS = tuple(split for split in SPLITS if split != "train")
ENGINES = ("transformers", "vllm", "openai")
"""`transformers` and `vllm` run a checkpoint here, `openai` asks a model behind an API."""
_ENGINE = "transformers and vllm run a checkpoint here, openai asks a model behind an API (default %(default)s)"
_SETTINGS = ("splits", "pictures", "limit", "only", "level", "max_new_tokens")
"""Flags that change a row.

Not the batch size: greedy, in float32 and padded on the left, a batch says what its rows say one by one (a test holds
it; in bfloat16 all but near ties). Who wants other batches can so go on with the same file.
"""


class Engine(NamedTuple):
    """A loaded checkpoint.

    Attributes:
        place: device and number format.
        speak: (whether with the adapter, ids that have a response) -> responses, as they are made.
    """

    place: str
    speak: Callable[[bool, Collection[str]], Iterator[list[Response]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``generate``."""
    parser.add_argument("model", metavar="MODEL", help="checkpoint; for --engine openai a name at the endpoint")
    parser.add_argument("dataset", type=Path, metavar="MIS", help="folder of the built dataset")
    parser.add_argument("out", type=Path, metavar="RESPONSES", help="responses.jsonl")
    parser.add_argument("--adapter", type=Path, help="PEFT adapter on top of MODEL")
    parser.add_argument("--also-base", type=Path, metavar="RESPONSES", help="what MODEL says without --adapter")
    parser.add_argument(
        "--pictures",
        choices=[*PROBES, NAMED],
        default="own",
        help="a probe: other pictures than the row's own, or text, which may name the things (default %(default)s)",
    )
    parser.add_argument("--things", type=Path, help="RAW/mini/objects.json, for --pictures named")
    parser.add_argument("--retry", action="store_true", help="openai: ask again where an empty response was put")
    add_asking(parser)


def add_asking(parser: argparse.ArgumentParser) -> None:
    """Flags about how models are asked, of every verb that does."""
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help=_ENGINE)
    splits = (*TEST_SPLITS, *NAMES)
    parser.add_argument("--splits", nargs="+", choices=splits, help="default: all of these that the dataset holds")
    parser.add_argument("--only", choices=["hard"], help="rows of this split and their twins")
    parser.add_argument("--level", help="rows of this level only, as the column level names it")
    parser.add_argument("--max-new-tokens", type=positive, default=1024, help="default %(default)s")
    parser.add_argument(
        "--batch-size", type=positive, default=64, help="of the engine transformers (default %(default)s)"
    )
    parser.add_argument("--limit", type=positive, help="the first N rows of every split and N twins of them")
    parser.add_argument("--float32", action="store_true", help="also where the device has units for bfloat16")
    parser.add_argument(
        "--failed-as-empty", action="store_true", help="openai: a row without a reply gets an empty response, unscored"
    )
    endpoints.add_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Generates what is missing.

    Returns:
        Nothing where another process speaks for all.

    Raises:
        UsageError: Flags that do not go together, a key or a package that is missing.
        MISError: MODEL or MIS is none, RESPONSES was begun with other settings, or some rows got no reply.
    """
    share = launched()
    _refuse_unfit(args, share)
    if share.of > 1:
        end_with_launcher()  # a rerun would else have company
    args = argparse.Namespace(**{**vars(args), "splits": args.splits or splits_of(args.dataset)})
    chosen = _chosen(args)
    return _ask(args, chosen) if args.engine == "openai" else _speak(args, chosen, share)


def splits_of(dataset: Path) -> list[str]:
    """The test splits that a dataset holds: of MIS, with or without twins, or a benchmark's.

    Raises:
        MISError: None lies there.
    """
    held = [split for split in (*TEST_SPLITS, *NAMES) if any((dataset / "data").glob(f"{split}-*.parquet"))]
    if not held:
        raise MISError(f"{dataset}: no test split lies there; make it with `python -m mis_dataset build RAW OUT`")
    return held


def _refuse_unfit(args: argparse.Namespace, share: Share) -> None:
    """Flags that would do nothing, or harm."""
    if args.also_base and (not args.adapter or args.also_base.absolute() == args.out.absolute()):
        raise UsageError("--also-base wants --adapter, and another file than RESPONSES")
    local = {"--adapter": args.adapter, "--also-base": args.also_base, "--float32": args.float32}
    unfit = [flag for flag, given in local.items() if given] if args.engine == "openai" else []
    if args.engine != "openai":
        remote = {"--failed-as-empty": args.failed_as_empty, "--retry": args.retry, "--max-side": args.max_side}
        unfit = [flag for flag, given in remote.items() if given]
    asking = argparse.ArgumentParser()
    add_asking(asking)
    if args.engine != "transformers" and args.batch_size != asking.get_default("batch_size"):
        unfit.append("--batch-size")
    if unfit:
        raise UsageError(f"{', '.join(unfit)}: of no use with --engine {args.engine}")
    if args.engine != "transformers" and share.of > 1:
        raise UsageError(f"--engine {args.engine} is started once: it keeps a machine busy by itself")


def _chosen(args: argparse.Namespace) -> list[Prompt]:
    if args.pictures != NAMED:
        return list(read_prompts(args.dataset, args.splits, args.pictures, args.limit, args.only, args.level))
    if args.things is None:
        raise UsageError("--pictures named wants --things RAW/mini/objects.json")
    return named(read_prompts(args.dataset, args.splits, "none", args.limit, args.only, args.level), args.things)


def _ask(args: argparse.Namespace, chosen: list[Prompt]) -> dict[str, Any]:
    """A model behind an API."""
    remote = endpoints.remote_of(args, args.model, openai.VERSION, args.max_new_tokens, args.out)
    if args.retry or not args.out.exists():
        remote.settings.key()  # before anything is written
    settings = {name: getattr(args, name) for name in _SETTINGS} | {"engine": args.engine, **remote.recorded()}
    artefact = open_artefact(args.out, Response, settings, _rows(args))
    if args.retry:
        artefact.forget(lambda one: one.finish_reason == "failed")
    missing = len({one.id for one in chosen} - artefact.done)
    if missing:
        artefact.made_on("remote")
        for rows in openai.generate(chosen, remote, artefact.done, failed_as_empty=args.failed_as_empty):
            artefact.append(rows)
    artefact.finish([one.id for one in chosen])
    return _told(args.out, missing) | {"now": remote.used()}


def _speak(args: argparse.Namespace, chosen: list[Prompt], share: Share) -> dict[str, Any]:
    """A checkpoint: with its adapter, where it has one, and without it where that is asked for too."""
    from trainer import families

    folder = Path(args.model)
    limits = families.picture_limits(folder)
    wanted: list[tuple[Path, Path | None]] = [(args.out, args.adapter)]
    wanted += [(args.also_base, None)] if args.also_base else []
    engine: Engine | None = None
    told: list[dict[str, Any]] = []
    for out, adapter in wanted:
        inputs = [*checkpoint_files(folder), *_rows(args), *(adapter_files(adapter) if adapter else [])]
        shared = Shared(out, _settings(args, limits), inputs, share)
        done = shared.done()
        missing = len({one.id for one in chosen} - done)
        if missing:
            engine = engine or _load(args, chosen, limits, share)
            for rows in engine.speak(adapter is not None, done):
                shared.append(rows, engine.place)
        if shared.finish([one.id for one in chosen]):
            told.append(_told(out, missing))
    if not told:
        return {}
    return told[0] | ({"base": told[1]} if args.also_base else {})


def _settings(args: argparse.Namespace, limits: dict[str, Any]) -> dict[str, Any]:
    """What changes a row."""
    settings = {name: getattr(args, name) for name in (*_SETTINGS, "float32", "engine")}
    return settings | {"version": local.VERSION, "picture_limits": limits}


def _rows(args: argparse.Namespace) -> list[Path]:
    """The files that say what is asked."""
    return [rows_file(args.dataset), *([args.things] if args.things else [])]


def _load(args: argparse.Namespace, chosen: Sequence[Prompt], limits: dict[str, Any], share: Share) -> Engine:
    """The checkpoint in the engine that was chosen."""
    from trainer import families, models

    prompts, folder, most = list(chosen), Path(args.model), args.max_new_tokens
    if args.engine == "vllm":
        from trainer.engines import vllm

        processor = models.load_processor(folder)
        pictures = max(len(one.pictures) for one in prompts)
        llm = vllm.load(folder, args.adapter, limits, pictures, float32=args.float32)
        return Engine(
            vllm.place_of(llm),
            lambda adapted, done: vllm.generate(llm, processor, prompts, most, args.adapter if adapted else None, done),
        )
    models.take_device(share.local)
    model, processor = models.load(folder, args.adapter, float32=args.float32)
    families.limit_pictures(processor, limits)

    def speak(adapted: bool, done: Collection[str]) -> Iterator[list[Response]]:
        with nullcontext() if adapted or not args.adapter else model.disable_adapter():
            yield from local.generate(model, processor, prompts, most, args.batch_size, done, share)

    return Engine(models.place_of(model), speak)


def _told(out: Path, missing: int) -> dict[str, Any]:
    """For the line of JSON."""
    rows = read(out, Response)
    reasons = Counter(row.finish_reason for row in rows)
    failed = reasons["failed"]
    if failed:
        print(f"generate: {failed} of {len(rows)} rows got no reply; `--retry` asks them again", file=sys.stderr)
    return {
        "responses": str(out),
        "n": len(rows),
        "generated": missing,
        "finish_reasons": dict(sorted(reasons.items())),
        **({"passed": False} if failed else {}),
    }
