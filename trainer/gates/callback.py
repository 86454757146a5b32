"""A gate on a training: asks the model as it learns, keeps the best checkpoint, stops what has collapsed.

Beside the arm it writes ``gate.jsonl``, a line an evaluation, whose sidecar names the rows that were asked;
``gate.json``, what followed from them and what they took; and ``best/``, the best checkpoint so far. Training does not
notice: weights and random states are those of a training without a gate, to the bit.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mis_dataset.errors import MISError, UsageError
from mis_dataset.files import write_json, write_text
from mis_dataset.manifest import NAME as MANIFEST
from trainer.files import ArtefactError, read_json, sha256_text
from trainer.gates.rows import Asking, Slices, ask, draw, judged, rates
from trainer.gates.rules import FIGURES, Clock, Evaluation, best, collapse, read_evaluations
from trainer.judges.base import Judge
from trainer.judges.choice import OF_MINI, Choice, choice_of, make_judge
from trainer.judges.choice import add_arguments as add_judge
from trainer.recipe import RecipeArguments
from trainer.score import Metrics
from trainer.shares import sharded_by
from trainer.sidecars import Sidecar, is_from, make_sidecar, read_sidecar, sidecar_path, write_sidecar

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerControl

UNSCORED = "gate/unscored"
"""Stands in every entry that a gate writes into a training's log, and in no other."""
_FILES = ("gate.jsonl", "gate.json", "best")
T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb ``sft`` about its gate."""
    flags = parser.add_argument_group("gate", "for recipes with gate_every")
    flags.add_argument("--gate-dataset", type=Path, metavar="MIS", help="built dataset to ask about, if not that above")
    flags.add_argument("--things", type=Path, help="RAW/mini/objects.json, for the judges of MIS-mini")
    add_judge(parser)


def make_gate(args: argparse.Namespace, recipe: RecipeArguments, seed: int, batch_size: int) -> Gate | None:
    """The gate that the recipe and the flags ask for; None where they ask for none.

    Args:
        args: of ``sft``; its arm has a sidecar already.
        recipe: its ``gate_`` settings.
        seed: of the slices.
        batch_size: most prompts that are asked together.

    Raises:
        UsageError: Flags about a gate without ``gate_every``, flags about a judge that do not go together, or
            processes that each hold a part of the model.
        MISError: As `trainer.gates.rows.draw`.
    """
    if not recipe.gate_every:
        if args.gate_dataset or args.things or args.judge != "mini_rules":
            raise UsageError("--gate-dataset, --things and --judge are for a gate; the recipe sets no gate_every")
        return None
    if sharded_by():
        raise UsageError(
            "a gate asks a model that one process holds whole: start the training with accelerate/ddp.yaml or without "
            "a launcher, or leave gate_every out and hold the trained model by `evaluate` and `gate`"
        )
    path = args.out / _FILES[0]
    choice = choice_of(args, path)
    if choice.remote:
        choice.remote.settings.key()  # missing, it is told before anything is trained
    dataset = args.gate_dataset or args.dataset
    slices = draw(dataset, recipe.gate_rows, seed, args.things, choice)
    arm = read_sidecar(args.out / "model")
    settings = {
        "training": sha256_text(json.dumps([arm.settings, sorted(arm.inputs.values())], sort_keys=True)),
        "seed": seed,
        "batch_size": batch_size,
        **choice.recorded(),
        "rows": slices.ids(),
    }
    inputs = [dataset / MANIFEST, *([args.things] if args.things and choice.name in OF_MINI else [])]
    asking = Asking(recipe.gate_max_new_tokens, batch_size)
    sidecar = make_sidecar(path, "gate", settings, inputs)
    return Gate(args.out, recipe, slices, choice, asking, sidecar, partial(make_judge, choice))


def summary(out: Path) -> dict[str, Any]:
    """What the gate of an arm says in the line of ``sft``; nothing where it had none.

    An arm that was stopped has not passed.

    Raises:
        ArtefactError: gate.json is none.
    """
    path = out / _FILES[1]
    if not path.is_file():
        return {}
    found = _concluded(path)
    told = {"best": found["best"] and found["best"]["step"], "stopped": found["stopped"], "share": found["share"]}
    return {"gate": told, "passed": found["stopped"] is None}


def _concluded(path: Path) -> dict[str, Any]:
    """gate.json of an earlier process.

    Raises:
        ArtefactError: It is none.
    """
    found = read_json(path)
    chosen, seconds = found.get("best"), found.get("seconds")
    times = [*seconds.values()] if isinstance(seconds, dict) and seconds.keys() == {"gate", "training"} else [None]
    numbers = [found.get("asked"), found.get("share"), *times]
    if (
        not all(isinstance(one, int | float) and one >= 0 for one in numbers)
        or not (chosen is None or (isinstance(chosen, dict) and type(chosen.get("step")) is int))
        or not isinstance(found.get("stopped", 0), str | None)
    ):
        raise ArtefactError(f"{path}: is not as a gate writes it; remove it and run `sft` again, which goes on")
    return found


class Gate:
    """Asks, decides and writes; one a training.

    Args:
        out: folder of the arm.
        recipe: its ``gate_`` settings.
        slices: what is asked.
        choice: the judge.
        asking: how the model is asked.
        sidecar: of gate.jsonl.
        make: gives the judge.
    """

    def __init__(
        self,
        out: Path,
        recipe: RecipeArguments,
        slices: Slices,
        choice: Choice,
        asking: Asking,
        sidecar: Sidecar,
        make: Callable[[], Judge],
    ) -> None:
        self._out, self._recipe, self._slices = out, recipe, slices
        self._choice, self._asking, self._sidecar, self._make = choice, asking, sidecar, make
        self._file = out / _FILES[0]
        self._known: dict[int, Evaluation] = {}
        self._clock = Clock(recipe.gate_max_share)
        self._stopped: str | None = None

    def watch(self, trainer: Any, keep: Callable[[Any, Path], None]) -> None:
        """Stands by a training.

        Args:
            trainer: of transformers or TRL, before `train`.
            keep: saves a model as a checkpoint, whole or not at all; what was there is replaced.
        """
        self._trainer, self._keep = trainer, keep
        trainer.add_callback(_callback(self))

    def begin(self) -> None:
        """Goes on with what an earlier process left, or asks before the first step."""
        self._clock = Clock(self._recipe.gate_max_share)  # reading the base is no training
        step = self._trainer.state.global_step
        if self._speaks:
            self._open(step)
        if step == 0:
            self._visit(0, forced=True)

    def step(self, control: TrainerControl) -> None:
        """After a step of the optimizer: asks where it is due, and stops the training where that has collapsed."""
        state = self._trainer.state
        last = state.global_step >= state.max_steps
        if state.global_step % self._recipe.gate_every == 0 or last:
            self._visit(state.global_step, forced=last)
        if self._stopped:
            control.should_training_stop = True

    def hold(self, control: TrainerControl) -> None:
        """A checkpoint of the step that stopped would go on beyond it; a rerun comes here again from the one before."""
        if self._stopped:
            control.should_save = False

    def end(self) -> None:
        """Brings what it took to the disk."""
        if self._speaks:
            self._conclude(self._trainer.state.global_step)

    def _visit(self, step: int, forced: bool) -> None:
        plan = self._told(self._plan(step, forced))
        if plan == "ask":
            with self._clock.asking():
                self._decide(step, self._measure(step))
        elif plan == "known":
            self._decide(step, self._known.get(step))
        if plan != "leave out" and self._speaks:
            self._conclude(step)

    def _plan(self, step: int, forced: bool) -> Literal["ask", "known", "leave out"]:
        if step in self._known:
            return "known"
        passed_by = any(known > step for known in self._known)  # an earlier process had no time for it
        return "ask" if forced or (not passed_by and self._clock.allows()) else "leave out"

    def _measure(self, step: int) -> Evaluation | None:
        """Asks; only the main process has figures."""
        trainer = self._trainer
        if not self._speaks:
            return None
        with undisturbed(trainer.model):
            with trainer.accelerator.autocast():
                said = ask(self._slices, trainer.model, trainer.processing_class, self._asking)
            verdicts = judged(self._slices, said, self._judge, self._choice)
            return Evaluation(step, rates(self._slices, said, verdicts, self._metrics))

    def _decide(self, step: int, found: Evaluation | None) -> None:
        """Keeps the checkpoint where it is the best, then the line: a kill between the two loses neither."""
        if found:
            self._known[step] = found
        chosen, self._stopped = self._told(self._rule(step))
        if chosen and chosen.step == step and self._speaks:
            self._keep(self._trainer.model, self._out / _FILES[2])
        if found:
            known = [self._known[place] for place in sorted(self._known)]
            lines = [json.dumps({"step": one.step, **one.found}, ensure_ascii=False) + "\n" for one in known]
            write_text(self._file, "".join(lines))
            self._log(found)

    def _rule(self, step: int) -> tuple[Evaluation | None, str | None]:
        """The best evaluation so far, and why training has collapsed."""
        past = [self._known[place] for place in sorted(self._known) if place <= step]
        return best(past, self._recipe.gate_max_ability_drop), collapse(past, self._recipe.gate_patience)

    def _conclude(self, step: int) -> None:
        """Writes gate.json."""
        chosen, stopped = self._rule(step)
        past = sorted(place for place in self._known if place <= step)
        due = range(0, step + 1, self._recipe.gate_every)
        found = {
            "best": chosen and chosen.headline(),
            "stopped": stopped,
            "first": self._known[past[0]].headline(),
            "last": self._known[past[-1]].headline(),
            "steps": past,
            "left_out": [place for place in due if place not in past],
            "asked": self._clock.asked,
            "seconds": {"gate": self._clock.gate, "training": self._clock.training},
            "share": self._clock.share,
        }
        write_json(self._out / _FILES[1], found)

    def _log(self, found: Evaluation) -> None:
        """To the training's log and to what else the Trainer reports to."""
        from transformers import Trainer

        told = {f"gate/{name}": found.rate(name).rate for name in FIGURES}
        scored = found.rate("pair_accuracy")
        told[UNSCORED] = scored.unscored / (scored.n + scored.unscored)
        control = self._trainer.control
        due = control.should_log
        # Not TRL's own: it would write the means of the training steps beside these, and begin them anew.
        Trainer.log(self._trainer, {name: rate for name, rate in told.items() if rate is not None})
        control.should_log = due
        if self._stopped:
            print(f"gate: {self._stopped}; training stops", file=sys.stderr)

    def _open(self, step: int) -> None:
        """Reads what lies there.

        Raises:
            MISError: Training goes on from `step`, and the gate was begun with other settings or lost its file.
        """
        from trainer.models import place_of

        same = sidecar_path(self._file).is_file() and is_from(self._file, self._sidecar)
        if same and self._file.is_file():
            self._known = {one.step: one for one in read_evaluations(self._file)}
        if step and 0 not in self._known:
            raise MISError(
                f"{self._file}: was begun with another judge, dataset or things, or lacks its first line, and the arm "
                "goes on from a checkpoint; give what was given before, or name a new folder"
            )
        if not same:
            for name in _FILES[:2]:
                (self._out / name).unlink(missing_ok=True)
            shutil.rmtree(self._out / _FILES[2], ignore_errors=True)
            write_sidecar(self._file, replace(self._sidecar, device=place_of(self._trainer.model)))
        elif (self._out / _FILES[1]).is_file():
            before = _concluded(self._out / _FILES[1])
            self._clock = Clock(self._recipe.gate_max_share, **before["seconds"], asked=before["asked"])

    @cached_property
    def _judge(self) -> Judge:
        return self._make()

    @cached_property
    def _metrics(self) -> Metrics:
        return Metrics()

    @property
    def _speaks(self) -> bool:
        """Whether this is the main process, which asks, judges and writes; the others wait for its word."""
        return bool(self._trainer.is_world_process_zero())

    def _told(self, word: T) -> T:
        """What the main process says, in every process."""
        from accelerate.utils import broadcast_object_list

        told: list[T] = broadcast_object_list([word])
        return told[0]


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """A model in evaluation mode, in which layers keep a cache and do not checkpoint; afterwards all is as it was.

    Args:
        model: in training.

    Yields:
        Nothing; random states of Python, numpy and torch are put back at the end.
    """
    import numpy as np
    import torch

    modes = [(part, part.training) for part in model.modules()]
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        model.eval()
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training
            random.setstate(states[0])
            np.random.set_state(states[1])


def _callback(gate: Gate) -> TrainerCallback:
    from transformers import TrainerCallback

    class AskAtSteps(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
            gate.begin()

        def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
            gate.step(control)
            gate.hold(control)

        def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
            gate.hold(control)

        def on_train_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
            gate.end()

    return AskAtSteps()
