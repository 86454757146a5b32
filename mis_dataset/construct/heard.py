"""A client that remembers by which names its model replied, as an endpoint may send another than was asked for.

It counts too what failed that another day may mend, so that no outage is taken for a fate of rows.

asked for "some-llm", which is "some-llm-2026-10-01" on that day
"""

from __future__ import annotations

import threading
from pathlib import Path

from mis_dataset.client import Client, Loop
from mis_dataset.remote.budget import Meter
from mis_dataset.remote.messages import Failure, Reply, Request
from mis_dataset.remote.settings import Settings


class Heard(Client):
    """A client of one role of a construction.

    Attributes:
        role: such as "vision" or "judge 1".
        names: of those that replied, as their endpoint says, those in the cache too.
        unanswered: requests that got no reply, and may get one on another day.
    """

    def __init__(
        self, role: str, settings: Settings, cache: Path, meter: Meter, loop: Loop | None, replay: bool = False
    ) -> None:
        super().__init__(settings, cache, meter, loop, replay)
        self.role, self.names, self.unanswered = role, set[str](), 0
        self._counting = threading.Lock()

    def forget(self) -> None:
        """Begins to hear anew."""
        self.names.clear()
        self.unanswered = 0

    def ask(self, request: Request) -> Reply | Failure:
        """As `Client.ask`."""
        told = super().ask(request)
        if isinstance(told, Reply) and told.model:
            self.names.add(told.model)
        if isinstance(told, Failure) and told.again:
            with self._counting:
                self.unanswered += 1
        return told
