"""Fine-tunes a vision-language model with TRL's `SFTTrainer` by a recipe; what it writes loads as any other checkpoint.

The loss is on the completion only and the vision tower stays frozen; what else learns says the recipe, see
`trainer.training.learning`. Written to OUT: ``model/`` (loads with `from_pretrained`), ``log.jsonl`` and the sidecar;
with LoRA also ``adapter/`` and ``dose/<rows>/`` (the adapter after that many rows), with ``gate_every`` what
`trainer.gates.callback` says. Several processes train one model where it is started by `accelerate launch`, see
``trainer/configs/accelerate``; the first of them writes and speaks for all.
"""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import sys
import warnings
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from mis_dataset.arguments import above_zero, positive, seed
from mis_dataset.errors import MISError
from mis_dataset.files import write_lines
from mis_dataset.mini.lessons import lesson_code
from mis_dataset.processes import alone, end_with_launcher
from trainer.files import checkpoint_files, sha256_of
from trainer.gates import callback
from trainer.recipe import RecipeArguments, read_recipe, read_settings
from trainer.recipe import add_arguments as add_recipe
from trainer.shares import launched, leave_group, sharded_by
from trainer.sidecars import make_sidecar, read_sidecar, sidecar_path, write_sidecar
from trainer.training.checkpoints import last_checkpoint, remove_broken
from trainer.training.rows import general_digest, training_rows

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import SFTConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb ``sft``."""
    parser.add_argument("base", type=Path, metavar="BASE", help="checkpoint to start from")
    parser.add_argument("dataset", type=Path, metavar="MIS", help="folder of the built dataset")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the arm")
    add_recipe(parser)
    parser.add_argument("--said", type=Path, help="said.jsonl of the base: text-only rows")
    parser.add_argument("--seed", type=seed, default=0, help="default %(default)s")
    parser.add_argument("--epochs", type=above_zero, help="instead of the recipe's")
    parser.add_argument("--limit", type=positive, help="at most so many dangerous rows, each with its twin")
    callback.add_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Trains one arm, or finds it trained.

    Returns:
        Nothing where another process speaks for all.

    Raises:
        MISError: The recipe is wrong, BASE or MIS is none, or OUT holds an arm of other settings, whole or begun.
    """
    share = launched()
    if share.of > 1:
        end_with_launcher()  # a rerun would else have company
    if share.number:
        _be_quiet()
    recipe, config = read_recipe(args.config, args.out, args.seed, args.override)
    config.num_train_epochs = args.epochs or config.num_train_epochs
    settings = {
        "epochs": config.num_train_epochs,
        "recipe": "+".join(path.stem for path in (args.config, *args.override)),
        "settings": read_settings(args.config, args.override),
        "seed": args.seed,
        "limit": args.limit,
        "lesson_code": lesson_code(),
        "processes": share.of,
        "sharded_by": sharded_by(),
    } | asdict(recipe)
    inputs = [*checkpoint_files(args.base), args.dataset / "MANIFEST.json", args.config, *args.override]
    inputs += [args.said] if args.said else []
    first = not share.number
    with alone(args.out, str(args.out)) if first else nullcontext():
        trained = not (args.out / "model").is_dir()
        summary: dict[str, Any] = {}
        if trained:
            with config.main_process_first(desc="reading rows"):  # what it makes of Parquet is kept for the others
                rows = training_rows(args.dataset, recipe, args.seed, args.limit, args.said)
                if first:
                    # A dataset of others is too large to be hashed; what was drawn from it is not.
                    settings |= {"general_rows": general_digest(rows)} if recipe.general else {}
                    begin(args.out, "sft", settings, inputs)
            gate = callback.make_gate(args, recipe, config.seed, config.per_device_eval_batch_size)
            summary = fine_tune(args.base, rows, config, recipe, args.out, gate)
        elif first:
            begin(args.out, "sft", settings, inputs)
    if share.of > 1:
        atexit.register(leave_group)  # not after an error: others may still wait for this process
    return {"arm": str(args.out), "trained": trained} | summary | callback.summary(args.out) if first else {}


def _be_quiet() -> None:
    """Leaves bars of progress to the first process."""
    from datasets import disable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bars()
    disable_progress_bar()


def fine_tune(
    base: Path,
    rows: Dataset,
    config: SFTConfig,
    recipe: RecipeArguments,
    out: Path,
    gate: callback.Gate | None = None,
) -> dict[str, Any]:
    """Trains and writes what was learnt; killed midway, a rerun goes on from the last checkpoint.

    Args:
        base: checkpoint to start from.
        rows: as `trainer.training.rows.make_dataset` makes them.
        config: TRL's settings; ``output_dir`` lies inside `out` and is removed at the end.
        recipe: method, what learns, doses.
        out: folder to write; ``out / "model"`` appears last.
        gate: asks the model while it trains, and may end the training.

    Returns:
        Rows, steps and the last training loss.

    Raises:
        MISError: A checkpoint holds what this training did not write.
    """
    from trainer import models
    from trainer.training import sharing

    # PEFT and TRL ask transformers for it under its old name.
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
    trainer = _make_trainer(base, rows, config, recipe, out)
    if gate:
        processor = models.load_processor(base) if recipe.method == "full" else None
        gate.watch(trainer, partial(_save_adapter, weights=None, processor=processor))
    first, begun = trainer.is_world_process_zero(), Path(config.output_dir)
    with config.main_process_first(desc="looking for a checkpoint"):
        if first:
            remove_broken(begun, config.world_size)
        checkpoint = last_checkpoint(begun, config.world_size)
    if first:
        _go_on(out, checkpoint, models.place_of(trainer.model, config.device))
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except UnpicklingError as error:  # what torch refuses to run, or to read
        raise MISError(f"{checkpoint}: was not written by this training; remove it, and run again") from error
    history = _told(trainer.state.log_history)
    weights = sharing.whole_weights(trainer)
    if first:
        write_lines(out / "log.jsonl", history)
        if recipe.method != "full":
            _save_adapter(trainer.model, out / "adapter", weights)
        _save_model(trainer.model, weights, base, recipe, out)
        shutil.rmtree(begun, ignore_errors=True)
    losses = [entry["loss"] for entry in history if "loss" in entry]
    return {"rows": len(rows), "steps": trainer.state.global_step, "loss": losses[-1] if losses else None}


def _go_on(out: Path, checkpoint: str | None, place: str) -> None:
    """Says from where training goes on, and in the sidecar on what."""
    if checkpoint:
        print(f"{out}: goes on from {Path(checkpoint).name}", file=sys.stderr)
    else:  # of an attempt that may have had other settings
        for name in ("dose", "adapter"):
            shutil.rmtree(out / name, ignore_errors=True)
    made = read_sidecar(out / "model")
    device = _both(made.device if checkpoint else None, place)
    write_sidecar(out / "model", replace(made, device=device or made.device))


def _told(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What goes into the log: the same bytes after an interruption as without.

    Sorted, as what comes back from a checkpoint is; and without the tokens that TRL counts from each start anew.
    """
    kept = [entry for entry in history if "loss" in entry or callback.UNSCORED in entry]
    return [{name: entry[name] for name in sorted(entry) if name != "num_tokens"} for entry in kept]


def begin(out: Path, kind: str, settings: dict[str, Any], inputs: list[Path]) -> bool:
    """Whether a model is still to be made in `out`; the sidecar comes first, so that a rerun knows what was begun.

    Raises:
        MISError: Something was made or begun there with other settings, or a model lies there without its sidecar.
    """
    if os.path.lexists(out / "model") and not (out / "model").is_dir():
        raise MISError(f"{out / 'model'}: is no folder, and the model goes there; move it away or name a new folder")
    made = (out / "model").is_dir()
    # What was refused or killed before it had anything to lose may be begun with other settings.
    begun = (out / "tower.safetensors").is_file() or any(out.glob("checkpoints/checkpoint-*"))
    known = sidecar_path(out / "model").is_file()
    if not known and not made and any(out.glob("*")):
        raise MISError(f"{out}: is not empty and nothing there says that this verb began it; name a new folder")
    if made or (begun and known):
        refuse_other_settings(out, settings, inputs)
    if not made:
        sidecar = make_sidecar(out / "model", kind, settings, inputs)
        if begun and known:
            before = read_sidecar(out / "model")
            sidecar = replace(sidecar, git_commit=_both(before.git_commit, sidecar.git_commit), device=before.device)
        write_sidecar(out / "model", sidecar)
    return not made


def _both(before: str | None, now: str | None) -> str | None:
    """What a sidecar says of a model that was begun under one name and went on under another: ``a+b``."""
    names = [*(before or "").split("+"), now or ""]
    return "+".join(dict.fromkeys(filter(None, names))) or None


def refuse_other_settings(out: Path, settings: dict[str, Any], inputs: list[Path]) -> None:
    """Compares with the sidecar of what lies in `out`.

    Raises:
        MISError: Something was made or begun there with other settings or from other files, or its sidecar is missing.
    """
    if not sidecar_path(out / "model").is_file():
        raise MISError(f"{out}: holds a model without its sidecar; remove the folder and run again")
    found = read_sidecar(out / "model")
    for name, wanted in settings.items():
        if found.settings.get(name) != wanted:
            raise MISError(
                f"{out}: made with {name}={found.settings.get(name)!r}, asked for {wanted!r}; give another folder"
            )
    # By file name: an arm may be moved, what it was made from may not have changed.
    made_from = {Path(name).name: digest for name, digest in found.inputs.items()}
    asked = {path.name: sha256_of(path) for path in inputs}
    for name in sorted(made_from.keys() | asked.keys()):
        if made_from.get(name) != asked.get(name):
            raise MISError(f"{out}: made from another {name} or without one; remove the folder or give another one")


def _make_trainer(base: Path, rows: Dataset, config: SFTConfig, recipe: RecipeArguments, out: Path) -> Any:
    from trainer.training.learning import make_trainer

    trainer = make_trainer(base, rows, config, recipe)
    trainer.add_callback(_keep_doses(trainer, recipe, config, out))
    return trainer


def _keep_doses(trainer: Any, recipe: RecipeArguments, config: SFTConfig, out: Path) -> Any:
    """A callback that keeps the adapter once so many rows were seen."""
    from transformers import TrainerCallback

    from trainer.training.sharing import whole_weights

    rows_a_step = config.per_device_train_batch_size * config.gradient_accumulation_steps * config.world_size
    steps = {-(-dose // rows_a_step): dose for dose in recipe.doses}
    if len(steps) < len(recipe.doses):
        raise MISError(f"doses: two of {recipe.doses} end in one step of {rows_a_step} rows; take others")

    class KeepDoses(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step in steps:
                weights = whole_weights(trainer)
                if state.is_world_process_zero:
                    _save_adapter(trainer.model, out / "dose" / str(steps[state.global_step]), weights)

    return KeepDoses()


def _save_adapter(model: Any, folder: Path, weights: dict[str, Any] | None, processor: Any = None) -> None:
    """Saves the adapter, under a temporary name first; what an attempt before this one left is replaced.

    Without one that is the whole model, in the format that it is trained in; a processor makes a checkpoint of it.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    cached = getattr(model.config, "use_cache", True)
    model.config.use_cache = True  # training turns it off
    model.save_pretrained(temporary, state_dict=weights)
    model.config.use_cache = cached
    if processor:
        processor.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _save_model(model: Any, weights: dict[str, Any] | None, base: Path, recipe: RecipeArguments, out: Path) -> None:
    """Writes a plain checkpoint in the number format of the base, under a temporary name first."""
    from trainer import models
    from trainer.training.learning import trained_model

    temporary = out / ".model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    trained_model(model, weights, base, recipe, out / "adapter").save_pretrained(temporary)
    # Its own: that of the trainer has the bounds of pictures in training.
    models.load_processor(base).save_pretrained(temporary)
    temporary.rename(out / "model")
