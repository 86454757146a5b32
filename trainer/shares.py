"""One job in several processes: which part is whose, and one file of what all of them wrote.

`accelerate launch` and `torchrun` start the same command several times, on one machine or many, and tell each by its
environment which one it is. Where they write responses, nothing is sent between them: each writes beside the artefact,
and the first waits until all rows are on the disk. So nothing times out where one takes longer, and they share but a
folder. `sft` trains one model in all of them, see `trainer.training.sharing`.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mis_dataset.errors import UsageError
from trainer.artefacts import Artefact, Response, open_artefact, part_path
from trainer.files import ArtefactError
from trainer.sidecars import is_from, read_sidecar, sidecar_path

_PATIENCE = 0.3
"""Seconds between two looks at what the other processes wrote."""


class Share(NamedTuple):
    """What one of several processes does.

    Attributes:
        number: of the process, from 0.
        of: how many there are.
        local: its number on its own machine; of the GPU that it takes.
    """

    number: int = 0
    of: int = 1
    local: int = 0

    def has(self, place: int) -> bool:
        """Whether the process does what stands at `place`, from 0, of a list."""
        return place % self.of == self.number


ALL = Share()


def launched() -> Share:
    """What this process is to do, by the environment that `accelerate launch` and `torchrun` set; else all.

    Raises:
        UsageError: The environment holds no such numbers.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    found = [os.environ.get(name, default) for name, default in zip(names, ("0", "1", "0"), strict=True)]
    if not all(one.isdecimal() for one in found) or not int(found[0]) < int(found[1]):
        raise UsageError(f"{', '.join(names)} are {', '.join(found)}: not what a launcher sets; unset them")
    return Share(*map(int, found))


def refuse_several(verb: str) -> None:
    """Refuses to run in one of several processes, each of which would do all of it.

    Raises:
        UsageError: A launcher began several.
    """
    if launched().of > 1:
        raise UsageError(f"{verb} is started once, without a launcher; it shares no work with other processes")


def sharded_by() -> Literal["fsdp", "deepspeed"] | None:
    """What cuts a model into shards, by the environment that `accelerate launch` sets; None: each process has all."""
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        return "fsdp"
    return "deepspeed" if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" else None


def leave_group() -> None:
    """Leaves the group in which processes train one model, while Python is still whole.

    A thread of gloo may hold a tensor after its last sum; one that lets go of it while Python ends aborts the process.
    The threads end with the last object that knows the group, and the trained model and its optimizer know it.

    Source:
        pytorch issue 190489.
    """
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
        gc.collect()


class Shared:
    """Responses that several processes write to one file.

    Args:
        path: of the file.
        settings: as `open_artefact`.
        inputs: as `open_artefact`.
        share: of this process.

    Raises:
        ArtefactError: As `open_artefact`, or what another process left was begun with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], inputs: Sequence[Path], share: Share) -> None:
        self._path = path
        self._share = share
        self._about = (settings, inputs)
        self._own: Artefact[Response] | None = None
        self._sizes: dict[Path, int] = {}
        if not share.number:
            self._own = open_artefact(path, Response, settings, inputs)
            self._take()

    def done(self) -> set[str]:
        """Ids that some process has written."""
        if self._share.number:
            return {one.id for file in (*_parts(self._path), part_path(self._path), self._path) for one in _whole(file)}
        return self._artefact().done

    def append(self, rows: Sequence[Response], place: str) -> None:
        """Writes what this process made.

        Args:
            rows: that no process wrote before.
            place: device and number format, see `Artefact.made_on`.
        """
        self._artefact().made_on(place)
        self._artefact().append(rows)

    def finish(self, order: Sequence[str]) -> bool:
        """Ends the work of this process; the first waits for all others and finishes the file.

        Args:
            order: Every id, in the order of the input.

        Returns:
            Whether this process is the first.

        Raises:
            ArtefactError: As `Artefact.finish`.
        """
        if self._share.number:
            return False
        while self._share.of > 1 and not self._artefact().done.issuperset(order):
            time.sleep(_PATIENCE)
            self._take()
        self._artefact().finish(order)
        for part in _parts(self._path):
            part.unlink()
        for beside in ("meta.json", "lock"):
            for left in self._path.parent.glob(f"{self._path.name}.share*.{beside}"):
                left.unlink(missing_ok=True)
        return True

    def _artefact(self) -> Artefact[Response]:
        """Where this process writes: the first to the file itself, others to one beside it, made where it is wanted."""
        if self._own is None:
            own = self._path.with_name(f"{self._path.name}.share{self._share.number}")
            self._own = open_artefact(own, Response, *self._about)
            if sidecar_path(self._path).is_file() and not is_from(self._path, read_sidecar(own)):
                raise ArtefactError(f"{self._path} was made with other settings or inputs; process 0 says which")
        return self._own

    def _take(self) -> None:
        """Takes over what other processes wrote since, be it now or before they were killed."""
        for part in _parts(self._path):
            size = part.stat().st_size
            if size == self._sizes.get(part):
                continue
            beside = part.with_name(part.name.removesuffix(".part"))
            if not is_from(beside, read_sidecar(self._path)):
                raise ArtefactError(f"{part}: was begun with other settings or inputs; delete {beside.name}*")
            rows = [row for row in _whole(part) if row.id not in self._artefact().done]
            if rows:
                self._artefact().made_as(read_sidecar(beside))
                self._artefact().append(rows)
            self._sizes[part] = size


def _parts(path: Path) -> list[Path]:
    """What processes other than the first wrote."""
    return sorted(file for file in path.parent.glob("*.part") if file.name.startswith(f"{path.name}.share"))


def _whole(path: Path) -> list[Response]:
    """The whole lines of a file that another process may be writing to, or may have removed at its end."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    try:
        return [Response(**json.loads(line)) for line in content.split(b"\n")[:-1]]
    except (ValueError, TypeError) as error:
        raise ArtefactError(f"{path}: holds no responses ({error}); delete it to start anew") from error
