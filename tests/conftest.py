"""What every test runs under: no network, no progress bars, no window, one thread, caches of its own session.

The environment is set here, at import, because huggingface_hub, datasets, matplotlib and what multiplies matrices read
theirs when they are imported, which is before any fixture runs. What tests multiply is so small that threads only wait
for each other: beside other work `find_shortcuts` took 10 s of processor with two of them, 3 s with one.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.loopback_api import KEY

_CACHE = Path(tempfile.mkdtemp(prefix="mis-tests-"))
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

os.environ.update(
    HF_HOME=str(_CACHE / "hf"),
    HF_DATASETS_CACHE=str(_CACHE / "hf" / "datasets"),
    HF_MODULES_CACHE=str(_CACHE / "hf" / "modules"),
    HF_EVALUATE_CACHE=str(_CACHE / "hf" / "evaluate"),
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    TRANSFORMERS_VERBOSITY="error",
    TQDM_DISABLE="1",
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    MPLBACKEND="Agg",
    MPLCONFIGDIR=str(_CACHE / "matplotlib"),
)
os.environ.pop("HF_TOKEN", None)

pytest_plugins = ["tests.tiny", "tests.made_judged"]


def pytest_collection_finish() -> None:
    """Keeps what was imported out of every later collection of garbage: `datasets` asks for many, of 0.5 s each."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of the endpoints on loopback, where clients look for it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
