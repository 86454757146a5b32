"""MIS (Multi-Image Safety, arXiv 2501.18533) as a dataset that loads in one line.

Room 1 of the house: what the data is. `datasets` is imported only when `MISBuilder` is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mis_dataset.schema import DATA_VERSION, SPLITS

if TYPE_CHECKING:
    from mis_dataset.builder import MISBuilder

__all__ = ["DATA_VERSION", "SPLITS", "MISBuilder"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "MISBuilder":
        from mis_dataset.builder import MISBuilder

        return MISBuilder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
