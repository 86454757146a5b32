"""Whether a folder may become that of a construction: nothing there that a stage would write over is somebody else's.

A file of seeds that lies in OUT under the name ``seeds.jsonl`` would be replaced by ours, a trial of 20 seeds by 20.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mis_dataset.construct import duplicates, elements, filters, labels, pictures, questions
from mis_dataset.construct.rows import SEEDS, Seed, read_rows
from mis_dataset.errors import MISError, UsageError

_STAGES = tuple(stage.NAME for stage in (elements, questions, pictures, filters, duplicates, labels))


def refuse_others(out: Path, seeds: Sequence[Path]) -> None:
    """Refuses a folder in which a construction would write over files that it did not make.

    Args:
        out: the folder, which need not be there.
        seeds: files of seeds that are read.

    Raises:
        UsageError: It is no folder, or holds such a file; nothing was touched.
        OSError: A file cannot be read.
    """
    if (out.is_symlink() and not out.exists()) or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out}: is no folder; name another one")
    own = out / SEEDS
    if own.exists() and any(one.exists() and one.samefile(own) for one in seeds):
        raise UsageError(f"{own}: is read as seeds, and would be written over; name another folder as OUT")
    if own.is_file():
        try:
            next(read_rows(own, Seed), None)
        except MISError as error:
            raise UsageError(f"{own}: was not written by a construction; name another folder as OUT") from error
        return
    # Seeds are written before all else.
    if there := next((path for stage in _STAGES if (path := out / f"{stage}.jsonl").exists()), None):
        raise UsageError(f"{there}: was not written by a construction of this folder; name another folder as OUT")
