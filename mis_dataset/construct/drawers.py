"""What gives a picture of a thing: an endpoint that draws, a pipeline that draws here, or found photographs.

All stand behind one method, so that the stage `pictures` and its critic do not know which it is.
"""

from __future__ import annotations

from types import TracebackType
from typing import NamedTuple, Protocol

from mis_dataset.client import Client
from mis_dataset.remote.messages import Failure, Request


class Wanted(NamedTuple):
    """A picture that is wanted.

    Attributes:
        id: of the row.
        thing: that it shows.
        prompt: what a model is to draw it by; from the second round on in the words of the critic.
        round: from 1; in a later one the pictures before were refused.
        size: such as "512x512".
        seed: of what is drawn.
    """

    id: str
    thing: str
    prompt: str
    round: int
    size: str
    seed: int


class Given(NamedTuple):
    """A picture.

    Attributes:
        picture: bytes of a file in any format; untrusted.
        prompt: what it was drawn or found by.
        model: that drew or found it.
        licence: of this picture; None: that of all which the drawing model makes.
        source: where it was found; empty where it was drawn.
        score: how well it fits the prompt, from -1 to 1, where it was found.
    """

    picture: bytes
    prompt: str
    model: str
    licence: str | None = None
    source: str = ""
    score: float | None = None


class Nothing(NamedTuple):
    """Why there is no picture: as `rows.Rejected` has it."""

    reason: str
    detail: str


class Drawer(Protocol):
    """Gives pictures; a context manager, and many threads ask it at once."""

    @property
    def identity(self) -> str:
        """Changes with whatever it hangs on beside its settings; known within the block."""

    def __enter__(self) -> Drawer: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def draw(self, wanted: Wanted) -> Given | Nothing:
        """The picture, or why there is none."""


class Hosted:
    """A model that draws behind an endpoint.

    Args:
        client: that asks it; whoever made it opens and closes it.
    """

    identity = ""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> Hosted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes nothing."""

    def draw(self, wanted: Wanted) -> Given | Nothing:
        """The picture, or why there is none.

        Raises:
            MISError: as `Client.ask`.
        """
        told = self._client.ask(Request(wanted.id, (wanted.prompt,), size=wanted.size, seed=wanted.seed))
        if isinstance(told, Failure):
            return Nothing("no reply", told.reason)
        if not told.picture:
            return Nothing("refused", told.finish)
        return Given(told.picture, wanted.prompt, told.model)
