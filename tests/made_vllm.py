"""A stand-in for vLLM, no package of this environment: takes what vLLM 0.32.0 takes, and speaks by transformers.

Signatures and what is handed back are those of vllm/entrypoints/llm.py, sampling_params.py and lora/request.py there,
as far as they are used here; more than these is a TypeError.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from PIL.Image import Image

from trainer import models


@dataclass
class SamplingParams:
    """How a prompt is asked."""

    temperature: float = 1.0
    max_tokens: int | None = 16


@dataclass
class LoRARequest:
    """An adapter."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""

    def __post_init__(self) -> None:
        assert self.lora_int_id > 0
        assert Path(self.lora_path).is_absolute()


class LLM:
    """Speaks one prompt after the other; hands them back two a step, the last first, as vLLM in no order of ours.

    Attributes:
        made: all that were made.
        most: prompts that were under way at once.
    """

    made: list[LLM] = []  # noqa: RUF012 -- of the test that clears it

    def __init__(
        self,
        model: str,
        *,
        seed: int = 0,
        dtype: str = "auto",
        max_model_len: int | None = None,
        limit_mm_per_prompt: dict[str, int] | None = None,
        mm_processor_kwargs: dict[str, Any] | None = None,
        enable_lora: bool = False,
        max_lora_rank: int = 16,
    ) -> None:
        assert max_lora_rank in (1, 8, 16, 32, 64, 128, 256, 320, 512)
        self.about = {"seed": seed, "dtype": dtype, "max_model_len": max_model_len, "lora": enable_lora}
        self.about |= {"rank": max_lora_rank, "pictures": limit_mm_per_prompt, "processor": mm_processor_kwargs}
        self.model_config = SimpleNamespace(dtype=torch.float32)
        self.llm_engine = self
        self.most = self.asked = 0
        self._folder = Path(model)
        self._model, self._processor = models.load(self._folder, float32=True)
        self._adapted: Any = None
        self._waiting: list[tuple[str, dict[str, Any], SamplingParams, LoRARequest | None]] = []
        LLM.made.append(self)

    def enqueue(
        self,
        prompts: list[dict[str, Any]],
        sampling_params: SamplingParams,
        lora_request: LoRARequest | None = None,
        use_tqdm: bool = True,
    ) -> list[str]:
        """Takes prompts; returns numbers that end in random letters."""
        assert not use_tqdm
        assert lora_request is None or self.about["lora"]
        numbers = []
        for prompt in prompts:
            assert prompt.keys() <= {"prompt", "multi_modal_data"}
            self._waiting.append((str(self.asked), prompt, sampling_params, lora_request))
            numbers.append(f"{self.asked}-9597164b")
            self.asked += 1
        self.most = max(self.most, len(self._waiting))
        return numbers

    def step(self) -> list[Any]:
        """What has ended, among what has not."""
        ended = [self._say(*self._waiting.pop()) for _ in range(min(2, len(self._waiting)))]
        under_way = [SimpleNamespace(request_id=one[0], finished=False, outputs=[]) for one in self._waiting[:1]]
        return [*under_way, *ended]

    def _say(self, number: str, prompt: dict[str, Any], sampling: SamplingParams, lora: LoRARequest | None) -> Any:
        pictures = prompt.get("multi_modal_data", {}).get("image", [])
        assert all(isinstance(one, Image) for one in pictures)
        if lora and not self._adapted:
            self._adapted = models.load(self._folder, Path(lora.lora_path), float32=True)[0]
        model = self._adapted if lora else self._model
        inputs = self._processor(text=[prompt["prompt"]], images=[pictures] if pictures else None, return_tensors="pt")
        with torch.inference_mode():
            made = model.generate(**inputs, max_new_tokens=sampling.max_tokens, do_sample=False)
        ids = tuple(made[0, inputs["input_ids"].shape[1] :].tolist())
        reason = "stop" if model.generation_config.eos_token_id in ids else "length"
        said = SimpleNamespace(token_ids=ids, finish_reason=reason)
        return SimpleNamespace(request_id=number, finished=True, outputs=[said])


def modules() -> dict[str, ModuleType]:
    """For `sys.modules`."""
    made = {name: ModuleType(name) for name in ("vllm", "vllm.lora", "vllm.lora.request")}
    made["vllm"].__dict__.update(LLM=LLM, SamplingParams=SamplingParams)
    made["vllm.lora.request"].__dict__["LoRARequest"] = LoRARequest
    return made
