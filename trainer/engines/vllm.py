"""The engine `vllm`: a local checkpoint on vLLM, which keeps a GPU busy. An optional package, in its own environment.

Written against vLLM 0.32.0. What is under way at once hangs on time, so in bfloat16 a near tie may fall otherwise in
another run; in float32 responses are those of the engine `transformers`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import safe_open
from tqdm.auto import tqdm

from mis_dataset.chat import disarm, prompt
from mis_dataset.errors import UsageError
from trainer import families, models
from trainer.artefacts import Response
from trainer.engines.local import batched
from trainer.files import ArtefactError, read_json
from trainer.prompts import Prompt

if TYPE_CHECKING:
    from transformers import ProcessorMixin

_AHEAD = 256
"""Prompts under way at once: as many as vLLM steps together; the pictures of all of MIS would fill the memory."""
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks of adapters that vLLM can be told. Source: vllm/config/lora.py at 0.32.0."""
_ENDS: dict[str | None, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}


def load(
    folder: Path,
    adapter: Path | None,
    limits: dict[str, Any],
    pictures: int,
    *,
    float32: bool = False,
) -> Any:
    """A checkpoint in vLLM.

    Args:
        folder: the checkpoint.
        adapter: a PEFT adapter that some prompts are to be asked with.
        limits: as `trainer.families.picture_limits` gives them.
        pictures: most pictures of a prompt.
        float32: in float32, else in the number format of the checkpoint.

    Returns:
        vLLM's `LLM`.

    Raises:
        UsageError: vLLM is not installed.
        ModelError: No checkpoint lies there, or its family is not known.
        ArtefactError: The adapter has weights that vLLM would leave out.
    """
    rank = _rank(folder, adapter) if adapter else None
    # It would write its log where our one line of JSON belongs, and tell its makers of every use.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        from vllm import LLM
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise
        raise UsageError(
            "--engine vllm needs vLLM, which wants other versions than requirements/pins.txt: make an environment of "
            "its own with `pip install vllm==0.32.0 '.[trainer]'` in this folder, and run the verb there"
        ) from None
    return LLM(
        str(folder),
        seed=0,
        dtype="float32" if float32 else "auto",
        max_model_len=families.most_tokens(folder),
        limit_mm_per_prompt={"image": pictures, "video": 0},
        mm_processor_kwargs=limits or None,
        enable_lora=rank is not None,
        max_lora_rank=rank or _RANKS[0],
    )


def place_of(llm: Any) -> str:
    """Device and number format, as `trainer.models.place_of`."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return f"{device}/{str(llm.model_config.dtype).removeprefix('torch.')}"


def generate(
    llm: Any,
    processor: ProcessorMixin,
    prompts: list[Prompt],
    max_new_tokens: int,
    adapter: Path | None = None,
    done: Collection[str] = (),
) -> Iterator[list[Response]]:
    """Responses as they end; there are always prompts waiting, so no step is half empty.

    Args:
        llm: as `load` gives it.
        processor: of the checkpoint, for its chat template.
        prompts: no id twice; what is equal but for its ids is asked once.
        max_new_tokens: most tokens of a response.
        adapter: as given to `load`, or None for the checkpoint without it.
        done: ids that have a response.
    """
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    sampling = SamplingParams(temperature=0.0, max_tokens=max_new_tokens)
    lora = LoRARequest("adapter", 1, str(adapter.absolute())) if adapter else None
    groups = [group for batch in batched(prompts, max(1, len(prompts))) for group in batch]
    waiting = [left for group in groups if (left := [one for one in group if one.id not in done])][::-1]
    asked: dict[str, list[Prompt]] = {}
    with tqdm(total=len(prompts), initial=len(prompts) - sum(map(len, waiting)), desc="generate") as bar:
        while waiting or asked:
            while waiting and len(asked) < _AHEAD:
                group = waiting.pop()
                [number] = llm.enqueue([_prompt(processor, group[0])], sampling, lora_request=lora, use_tqdm=False)
                # What is handed back ends in a dash and random letters; what comes of it does not.
                asked[number.partition("-")[0]] = group
            ended = [one for one in llm.llm_engine.step() if one.finished]
            for one in ended:
                group = asked.pop(one.request_id)
                said = one.outputs[0]
                text = processor.tokenizer.decode(list(said.token_ids), skip_special_tokens=True).strip()
                yield [Response(each.id, text, _ENDS.get(said.finish_reason, "other")) for each in group]
                bar.update(len(group))


def _prompt(processor: Any, one: Prompt) -> dict[str, Any]:
    """A prompt as vLLM takes it, which has the tokenizer add what begins a text, whether it is there or not."""
    tokenizer = processor.tokenizer
    question = disarm(one.question, models.control_tokens(processor))
    text = processor.apply_chat_template(prompt(question, len(one.pictures)), add_generation_prompt=True)
    begins = tokenizer.bos_token
    # Blanks before it go as well: what vLLM adds stands before all.
    if begins and text.lstrip().startswith(begins) and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:
        text = text.lstrip().removeprefix(begins)
    pictures = [each.image() for each in one.pictures]
    return {"prompt": text, "multi_modal_data": {"image": pictures}} if pictures else {"prompt": text}


def _rank(folder: Path, adapter: Path) -> int:
    """The rank that vLLM is told for an adapter.

    Raises:
        ArtefactError: It has weights that vLLM would leave out without an error, or with one that names no file.
    """
    file = adapter / "adapter_model.safetensors"
    inside = f"base_model.model.{families.parts_of(folder).language_model}."
    with safe_open(file, "pt") as weights:
        outside = sorted(name for name in weights.keys() if not name.startswith(inside) or "lora_" not in name)  # noqa: SIM118
    if outside:
        raise ArtefactError(
            f"{file}: {len(outside)} weights are no LoRA of the language model (first: {outside[0]}), and vLLM would "
            "leave them out; ask the merged checkpoint (OUT/model of `sft`), or take --engine transformers"
        )
    config = read_json(adapter / "adapter_config.json")
    rank = max(config["r"], *config.get("rank_pattern", {}).values()) if config.get("rank_pattern") else config["r"]
    fitting = [one for one in _RANKS if one >= rank]
    if not fitting:
        raise ArtefactError(f"{adapter}: rank {rank} is more than vLLM takes, {_RANKS[-1]}")
    return fitting[0]
