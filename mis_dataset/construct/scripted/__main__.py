"""Serves the scripted models until Ctrl-C: ``python -m mis_dataset.construct.scripted``. Prints its address first."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from contextlib import suppress

from mis_dataset.arguments import fraction, seed
from mis_dataset.construct.scripted.endpoint import ScriptedEndpoint
from mis_dataset.construct.scripted.misbehaviour import KINDS, Misbehaviour
from mis_dataset.construct.scripted.player import Player
from mis_dataset.errors import UsageError


def parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = argparse.ArgumentParser(
        prog="python -m mis_dataset.construct.scripted",
        description="An OpenAI-compatible endpoint on 127.0.0.1 that plays all models of a construction.",
    )
    flags.add_argument("--port", type=int, default=0, help="to listen on (default: any that is free)")
    flags.add_argument("--latency", type=float, default=0.0, metavar="S", help="seconds before a reply (default 0)")
    told = "share of requests that go wrong, 0 to 1 (default 0)"
    flags.add_argument("--misbehave", type=fraction, default=0.0, metavar="SHARE", help=told)
    flags.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="in which ways (default: in all)")
    flags.add_argument("--seed", type=seed, default=0, help="another one goes wrong elsewhere (default 0)")
    flags.add_argument("--with-stdin", action="store_true", help="end with stdin, and tell what was served as JSON")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Serves; returns the exit code."""
    told = parser().parse_args(argv)
    plan = Misbehaviour(told.misbehave, tuple(told.kinds), told.seed)
    endpoint = ScriptedEndpoint(Player(told.seed), plan, told.latency)
    try:
        with endpoint.running(told.port), suppress(KeyboardInterrupt):
            _tell(endpoint.url)
            if told.with_stdin:
                sys.stdin.read()
                _tell(json.dumps(endpoint.counts))
            else:
                threading.Event().wait()
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _tell(text: str) -> None:
    """Prints a line, to nobody where whoever began this process has ended."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would be tried again at the end


if __name__ == "__main__":
    sys.exit(main())
