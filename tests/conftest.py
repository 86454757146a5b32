"""What every test runs under: no network, no progress bars, no window, caches in a folder of its own session.

The environment is set here, at import, because huggingface_hub, datasets and matplotlib read theirs when
they are imported, which is before any fixture runs.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

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
    TOKENIZERS_PARALLELISM="false",
    MPLBACKEND="Agg",
    MPLCONFIGDIR=str(_CACHE / "matplotlib"),
)
os.environ.pop("HF_TOKEN", None)

pytest_plugins = ["tests.tiny"]
