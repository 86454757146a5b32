"""Verb `generate`: a model and rows -> responses.jsonl.

Greedy and batched; rows of similar length share a batch, and the file is in the rows' own order all the same. Rows
that ask the same about the same pictures, such as a row and its twin without pictures, are asked once.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from mis_dataset.arguments import positive
from mis_dataset.chat import prompt
from mis_dataset.errors import UsageError
from mis_dataset.schema import SPLITS
from trainer.artefacts import Response, open_artefact
from trainer.benchmarks import NAMES
from trainer.files import adapter_files, checkpoint_files
from trainer.probes import PROBES
from trainer.prompts import Prompt, named, read_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

NAMED = "named"
"""A probe of MIS-mini: text only, which says what the pictures would show."""
TEST_SPLITS = tuple(split for split in SPLITS if split != "train")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``generate``."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="checkpoint")
    parser.add_argument("dataset", type=Path, metavar="MIS", help="folder of the built dataset")
    parser.add_argument("out", type=Path, metavar="RESPONSES", help="responses.jsonl")
    parser.add_argument("--adapter", type=Path, help="PEFT adapter on top of MODEL")
    parser.add_argument("--splits", nargs="+", default=list(TEST_SPLITS), choices=(*TEST_SPLITS, *NAMES))
    parser.add_argument("--only", choices=["hard"], help="rows of this split and their twins")
    parser.add_argument("--level", help="rows of this level only")
    parser.add_argument(
        "--pictures",
        choices=[*PROBES, NAMED],
        default="own",
        help="a probe: other pictures than the row's own, or text only, which may name the things",
    )
    parser.add_argument("--things", type=Path, help="RAW/mini/objects.json, for --pictures named")
    parser.add_argument("--max-new-tokens", type=positive, default=1024)
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--limit", type=positive, help="the first N rows of every split")
    parser.add_argument("--float32", action="store_true", help="also where the device has units for bfloat16")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Generates what is missing.

    Raises:
        MISError: MODEL or MIS is none, or RESPONSES was begun with other settings.
    """
    chosen = _chosen(args)
    # Not the batch size: greedy, in float32 and padded on the left, a batch says what its rows say one by one (a test
    # holds it; in bfloat16 all but near ties). Who wants other batches can so go on with the same file.
    names = ("splits", "pictures", "limit", "only", "level", "max_new_tokens", "float32")
    settings = {name: getattr(args, name) for name in names}
    inputs = [*checkpoint_files(args.model), args.dataset / "MANIFEST.json"]
    inputs += adapter_files(args.adapter) if args.adapter else []
    inputs += [args.things] if args.things else []
    artefact = open_artefact(args.out, Response, settings, inputs)
    missing = len({one.id for one in chosen} - artefact.done)
    if missing:
        from trainer import models

        model, processor = models.load(args.model, args.adapter, float32=args.float32)
        artefact.made_on(models.place_of(model))
        for rows in generate(model, processor, chosen, args.max_new_tokens, args.batch_size, artefact.done):
            artefact.append(rows)
    artefact.finish([one.id for one in chosen])
    return {"responses": str(args.out), "n": len(chosen), "generated": missing}


def _chosen(args: argparse.Namespace) -> list[Prompt]:
    if args.pictures != NAMED:
        return list(read_prompts(args.dataset, args.splits, args.pictures, args.limit, args.only, args.level))
    if args.things is None:
        raise UsageError("--pictures named wants --things RAW/mini/objects.json")
    return named(read_prompts(args.dataset, args.splits, "none", args.limit, args.only, args.level), args.things)


def generate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    prompts: list[Prompt],
    max_new_tokens: int,
    batch_size: int,
    done: Collection[str] = (),
) -> Iterator[list[Response]]:
    """Responses batch by batch, the longest prompts first, so that what memory allows is known at once.

    Prompts that are equal but for their ids are asked once, and each of the ids gets the response. Ids in `done` are
    left out, but every batch holds what it would hold without them: in bfloat16 that may decide a near tie, and who
    goes on after an interruption shall get the same responses.
    """
    equal: dict[tuple[str, ...], list[Prompt]] = {}
    for one in prompts:
        equal.setdefault(one.content(), []).append(one)
    ordered = sorted(equal.values(), key=lambda group: (len(group[0].pictures), len(group[0].question)), reverse=True)
    with tqdm(total=len(prompts), initial=len(done), desc="generate") as bar:
        # Text-only prompts cannot share a processor call with others; sorting has put them last.
        for with_pictures in (True, False):
            rest = [group for group in ordered if bool(group[0].pictures) == with_pictures]
            for start in range(0, len(rest), batch_size):
                groups = rest[start : start + batch_size]
                missing = {one.id for group in groups for one in group}.difference(done)
                if not missing:
                    continue
                said = _respond(model, processor, [group[0] for group in groups], max_new_tokens)
                rows = [replace(row, id=one.id) for row, group in zip(said, groups, strict=True) for one in group]
                rows = [row for row in rows if row.id in missing]
                yield rows
                bar.update(len(rows))


def _respond(model: PreTrainedModel, processor: Any, batch: list[Prompt], max_new_tokens: int) -> list[Response]:
    import torch

    texts = [
        processor.apply_chat_template(prompt(one.question, len(one.pictures)), add_generation_prompt=True)
        for one in batch
    ]
    images = [[each.image() for each in one.pictures] for one in batch] if batch[0].pictures else None
    inputs = processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")
    # On a CPU the default cache is copied whole at every token, an eighth of the time; on a GPU "static" would compile.
    cache = "static" if model.device.type == "cpu" else None
    with torch.inference_mode():
        made = model.generate(
            **inputs.to(model.device), max_new_tokens=max_new_tokens, do_sample=False, cache_implementation=cache
        )
    ends = set(_as_list(model.generation_config.eos_token_id))
    rows = []
    for one, ids in zip(batch, made[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
        stopped = any(token in ends for token in ids)
        text = processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
        rows.append(Response(one.id, text, "stop" if stopped else "length"))
    return rows


def _as_list(ids: int | list[int]) -> list[int]:
    return ids if isinstance(ids, list) else [ids]
