"""`python -m trainer` in processes that share a model by FSDP2 on the CPU, for tests: accelerate ignores FSDP there.

Several commands are run one after the other, with + between them, as most of the time goes into starting.

accelerate takes FSDP for processes of kind MULTI_GPU alone. Told that these are such, it does what it does on GPUs,
with gloo instead of NCCL.
"""

from __future__ import annotations

import atexit
import sys
from typing import Any

import torch.distributed
from accelerate import PartialState
from accelerate.utils import DistributedType

from trainer.__main__ import main

LEFT_NONE = "still in its group"
_begin = PartialState.__init__


def begin_as_gpus(state: PartialState, *args: Any, **words: Any) -> None:
    """As `PartialState` begins, but for its kind; what is there already keeps the kind that accelerate made of it."""
    known = PartialState._shared_state.get("distributed_type", DistributedType.MULTI_GPU)
    _begin(state, *args, **words)
    state.distributed_type = known


def tell_of_group() -> None:
    """Says at the end that the process did not leave its group, which may abort it."""
    if torch.distributed.is_initialized():
        print(LEFT_NONE, file=sys.stderr)


if __name__ == "__main__":
    atexit.register(tell_of_group)  # what is registered first is called last
    PartialState.__init__ = begin_as_gpus
    commands = " ".join(sys.argv[1:]).split(" + ")
    sys.exit(max(main(command.split()) for command in commands))
