"""`python -m trainer VERB`: everything that touches weights, responses, verdicts and rates."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from importlib import import_module

from safetensors import SafetensorError

from mis_dataset.arguments import Paragraphs
from mis_dataset.errors import MISError

VERBS = {
    "base": "make the base VLM of MIS-mini",
    "convert": "InternVL2.5 as it was published -> a checkpoint that transformers itself loads",
    "doctor": "look at all rows of a training before any weight is loaded",
    "plan": "what a training will cost, from recipe and configuration alone",
    "sft": "fine-tune one arm with TRL and PEFT",
    "job": "sft as a Job on the Hub",
    "benchmark": "one of the paper's other safety benchmarks -> a dataset that generate reads",
    "generate": "a model and rows -> responses.jsonl",
    "judge": "responses.jsonl -> verdicts.jsonl",
    "ability": "measure what a model can do apart from safety",
    "general": "rates of general benchmarks, as lmms-eval and VLMEvalKit wrote them",
    "score": "verdicts.jsonl -> rates",
    "agree": "two judges against each other and against labels of readers",
    "calibrate": "a judge against labelled responses -> how far it can be trusted",
    "matrix": "any number of judges on the same responses",
    "canary": "do a judge's verdicts hang on the pictures?",
    "report": "a run's rates -> report.json, report.html and plots",
    "compare": "any number of measured models -> comparison.html, comparison.json and a leaderboard",
    "evaluate": "models and a dataset -> responses, verdicts, rates and one page that compares them",
    "bars": "check a run against benchmarks/bars.toml",
    "gate": "limits that a model must hold, for use in CI",
    "seeds": "how far figures move with the data seed and the training seed",
    "audit": "a published table -> rates that no counts can give",
    "reproduce": "the whole walk: MIS-mini -> base -> arms -> report -> cards",
}
"""verb -> what it does; its module is of the same name, but for `agree`."""
_MODULES = {"agree": "agreement"}


def main(argv: list[str] | None = None) -> int:
    """Runs one verb; prints one JSON line.

    Returns:
        0 good, 1 the data or the run has problems, 2 wrong use, 130 interrupted.
    """
    words = sys.argv[1:] if argv is None else argv
    args = argparse.Namespace(verb="trainer")
    try:
        args = make_parser().parse_args(words)
        # transformers logs its losses to stdout, where only our one line belongs.
        with contextlib.redirect_stdout(sys.stderr):
            found = import_module(f"trainer.{_MODULES.get(args.verb, args.verb)}").run(args)
    except MISError as error:
        print(f"{args.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{args.verb}: {error}; nothing half-written was left under its name", file=sys.stderr)
        return 1
    except Exception as error:
        # A full disk is no OSError to what is written in Rust: safetensors has its own error, tokenizers none.
        if not isinstance(error, SafetensorError) and "(os error " not in str(error):
            raise
        print(f"{args.verb}: a model cannot be written or read: {error}; see that the disk has room", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{args.verb}: interrupted; run it again to go on", file=sys.stderr)
        return 130
    if found:  # else another process of the same launch says it
        print(json.dumps({"verb": args.verb, **found}))
    return 0 if found.get("passed", True) else 1


def make_parser() -> argparse.ArgumentParser:
    """All verbs with their arguments."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, summary in VERBS.items():
        module = import_module(f"trainer.{_MODULES.get(verb, verb)}")
        module.add_arguments(
            verbs.add_parser(verb, help=summary, description=module.__doc__, formatter_class=Paragraphs)
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
