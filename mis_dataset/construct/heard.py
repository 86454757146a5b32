"""A client that remembers by which names its model replied, as an endpoint may send another than was asked for.

asked for "some-llm", which is "some-llm-2026-10-01" on that day
"""

from __future__ import annotations

from pathlib import Path

from mis_dataset.client import Client, Loop
from mis_dataset.remote.budget import Meter
from mis_dataset.remote.messages import Failure, Reply, Request
from mis_dataset.remote.settings import Settings


class Heard(Client):
    """A client of one role of a construction.

    Attributes:
        role: such as "vision" or "judge 1".
        names: of those that replied, as their endpoint says, those in the cache too; who clears it hears anew.
    """

    def __init__(self, role: str, settings: Settings, cache: Path, meter: Meter, loop: Loop) -> None:
        super().__init__(settings, cache, meter, loop)
        self.role, self.names = role, set[str]()

    def ask(self, request: Request) -> Reply | Failure:
        """As `Client.ask`."""
        told = super().ask(request)
        if isinstance(told, Reply) and told.model:
            self.names.add(told.model)
        return told
