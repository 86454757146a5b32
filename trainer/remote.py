"""Flags of whoever asks a model behind an API -> `Settings` of the client."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mis_dataset.arguments import above_zero, positive
from mis_dataset.client import ask
from mis_dataset.errors import UsageError
from mis_dataset.remote.budget import Meter
from mis_dataset.remote.messages import Failure, Reply, Request
from mis_dataset.remote.settings import Budget, Prices, Settings

_MAX_TOKENS: tuple[Literal["max_tokens"], Literal["max_completion_tokens"]] = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class Remote:
    """A model behind an API.

    Attributes:
        settings: how it is asked.
        cache: file of the replies so far.
        meter: what was used since this was made, with those that share it.
    """

    settings: Settings
    cache: Path
    meter: Meter = field(default_factory=Meter, repr=False, compare=False)

    def ask(self, requests: Iterable[Request]) -> Iterator[tuple[str, Reply | Failure]]:
        """Ask all of them, see `mis_dataset.client.ask`."""
        return ask(requests, self.settings, self.cache, meter=self.meter)

    def recorded(self) -> dict[str, Any]:
        """What of the settings can change a row, as prices do by its cost; for sidecars.

        How many are asked at once, how long is waited and what it may cost at most change none.
        """
        asked = self.settings
        return {
            "model": asked.model,
            "base_url": asked.base_url.rstrip("/"),
            "version": asked.version,
            "image_max_side": asked.image_max_side,
            "prices": asked.prices and list(asked.prices),
            **asked.sampling(),
        }

    def used(self) -> dict[str, int | float | None]:
        """What calls have used since the meter was made, tries that failed included.

        Returns:
            {"calls": HTTP requests, "tokens": of prompts and replies, as the endpoint counted them, or all that a call
            could use where it may have counted without saying so, "cost": None without prices}.
        """
        used, cost = self.meter.used, self.meter.spent if self.settings.prices else None
        return {"calls": used.calls, "tokens": used.tokens_in + used.tokens_out, "cost": cost}


def add_arguments(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """Flags about the endpoint.

    Args:
        parser: of the verb.
        prefix: of every flag, such as ``judge-``, where a verb asks two models.
    """
    whose = f"the {prefix.rstrip('-')}'s model" if prefix else "a model"
    flags = parser.add_argument_group(f"{whose} behind an API", "any OpenAI-compatible endpoint")

    def add(name: str, **about: Any) -> None:
        flags.add_argument(f"--{prefix}{name}", **about)

    add("base-url", default=Settings.base_url, help="address up to /v1 (default %(default)s)")
    add("key-name", default=Settings.key_name, help="environment variable with the key (default %(default)s)")
    add("in-flight", type=positive, default=Settings.in_flight, help="most requests at once (default %(default)s)")
    add("max-side", type=positive, help="pixels; larger pictures are made smaller before they are sent")
    add("timeout", type=above_zero, default=Settings.timeout, help="seconds of one try (default %(default)s)")
    add("attempts", type=positive, default=Settings.attempts, help="tries of a request (default %(default)s)")
    newer = "newer models want the second (default %(default)s)"
    add("max-tokens-name", choices=_MAX_TOKENS, default=Settings.max_tokens_name, help=newer)
    add("no-temperature", action="store_true", help="for endpoints that refuse one")
    add("no-seed", action="store_true", help="for endpoints that refuse one")
    add("max-calls", type=positive, help="HTTP requests that the run may make, each try counted")
    add("max-all-tokens", type=positive, help="tokens that the run may use, of prompts and replies together")
    add("max-cost", type=above_zero, help="what the run may cost, in the currency of the prices")
    add("price-in", type=float, help="of a million tokens of prompts")
    add("price-out", type=float, help="of a million tokens of replies")
    add("cache", type=Path, help="file of the replies so far (default: beside the file that is written)")


def remote_of(
    args: argparse.Namespace, model: str, version: str, max_tokens: int, out: Path, prefix: str = ""
) -> Remote:
    """What the flags say.

    Args:
        args: parsed by `add_arguments` with the same prefix; a `Meter` as `<prefix>meter`, where files share a budget.
        model: its name at the endpoint.
        version: of whoever asks.
        max_tokens: most tokens of a reply.
        out: the artefact that is written; the cache lies beside it unless a flag says otherwise.
        prefix: as given to `add_arguments`.

    Raises:
        UsageError: A value is out of range, or only one price is given.
    """

    def flag(name: str) -> Any:
        return getattr(args, f"{prefix}{name}".replace("-", "_"))

    prices = (flag("price-in"), flag("price-out"))
    if (prices[0] is None) != (prices[1] is None):
        raise UsageError(f"--{prefix}price-in and --{prefix}price-out are given together, or neither")
    settings = Settings(
        model,
        version,
        base_url=flag("base-url"),
        key_name=flag("key-name"),
        in_flight=flag("in-flight"),
        timeout=flag("timeout"),
        attempts=flag("attempts"),
        max_tokens=max_tokens,
        max_tokens_name=flag("max-tokens-name"),
        temperature=None if flag("no-temperature") else Settings.temperature,
        seed=None if flag("no-seed") else Settings.seed,
        image_max_side=flag("max-side"),
        budget=Budget(flag("max-calls"), flag("max-all-tokens"), flag("max-cost")),
        prices=None if prices[0] is None else Prices(*prices),
    )
    cache = flag("cache") or out.with_name(out.name + ".replies.sqlite")
    return Remote(settings, cache, getattr(args, f"{prefix}meter".replace("-", "_"), None) or Meter())
