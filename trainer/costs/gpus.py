"""GPUs that a training may be planned for: what their makers say of them."""

from __future__ import annotations

from typing import NamedTuple

from mis_dataset.errors import UsageError


class Gpu(NamedTuple):
    """One GPU.

    Attributes:
        memory: bytes; the maker's GB are read as 10^9 bytes, so that a little more is there than planned with.
        flops: dense bfloat16 operations a second of its tensor cores, with float32 sums, at most.
        link: bytes a second to the other GPUs of the machine, in one direction, at most.
    """

    memory: int
    flops: float
    link: float


_GB = 10**9
GPUS = {
    "h100": Gpu(80 * _GB, 989e12, 450e9),
    "h200": Gpu(141 * _GB, 989e12, 450e9),
    "b200": Gpu(180 * _GB, 2250e12, 900e9),
    "a100-80": Gpu(80 * _GB, 312e12, 300e9),
    "a100-40": Gpu(40 * _GB, 312e12, 300e9),
    "l40s": Gpu(48 * _GB, 362e12, 32e9),
    "l4": Gpu(24 * _GB, 121e12, 32e9),
    "rtx4090": Gpu(24 * _GB, 165.2e12, 32e9),
    "rtx3090": Gpu(24 * _GB, 71e12, 32e9),
}
"""name on the command line -> GPU; of H100, H200, B200 and A100 the SXM boards with NVLink, the others by PCIe 4.0.

Source: NVIDIA's data sheets, what they give "with sparsity" and for both directions halved; of the GeForce cards the
white papers of GA102 and Ada.
"""


def gpu_of(name: str) -> Gpu:
    """The GPU of that name.

    Raises:
        UsageError: It is not in `GPUS`.
    """
    if name not in GPUS:
        raise UsageError(f"GPU {name!r} is not known; known are {', '.join(GPUS)}")
    return GPUS[name]
