"""Loading published repositories back, from a Hub on loopback: what was pushed is what a user gets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_room import Room, open_room
from tests.loopback_repos import Blob
from tests.loopback_routes import OTHER
from tests.made_folders import dataset_folder, demo_folder, metric_folder, write, write_sums
from tests.tiny import Tiny

_LEGAL = {"LICENSE": "Apache-2.0\n", "NOTICE": "made by a test\n"}
_HEADER = "---\nlicense: apache-2.0\n---\n"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with open_room(tmp_path_factory.mktemp("room")) as room:
        yield room
        assert room.leaks() == []


@pytest.fixture
def room(opened: Room) -> Room:
    """The room with an empty Hub."""
    opened.hub.repos.clear()
    opened.hub.objects.clear()
    opened.hub.faults.clear()
    return opened


def published_dataset(tiny: Tiny, folder: Path) -> Path:
    """The tiny dataset as it is published; its card names its files."""
    shutil.copytree(tiny.dataset, folder)
    splits = sorted({path.name.split("-")[0] for path in (folder / "data").glob("*.parquet")})
    files = "".join(f"  - split: {split}\n    path: data/{split}-*.parquet\n" for split in splits)
    return write(folder, {**_LEGAL, "README.md": f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"})


def published_model(tiny: Tiny, folder: Path, repo: str, code: str) -> Path:
    """The tiny model as it is published, with a card that shows some code."""
    shutil.copytree(tiny.model, folder, ignore=shutil.ignore_patterns("*.meta.json"))
    shown = f"```python\nREPO = '{repo}'\n```\n\nand then\n\n```python\n{code}\n```\n"
    write(folder, {**_LEGAL, "README.md": f"{_HEADER}{shown}"})
    return write_sums(folder)


def test_the_code_of_a_demo_is_compiled_and_every_file_compared(room: Room, tmp_path: Path) -> None:
    folder = demo_folder(tmp_path / "demo")
    room("push", folder, "me/demo", "--yes")
    told = room("verify", "me/demo").told
    size = sum(path.stat().st_size for path in folder.rglob("*"))
    assert told["loaded"] == {"code": {"files": ["app.py", "page.py"], "requirements": 1}}
    assert (told["kind"], told["files"], told["bytes"], told["passed"]) == ("demo", 5, size, True)
    assert told["commit"] == room.hub.space("me/demo").head.oid


def test_a_demo_that_does_not_compile_does_not_pass(room: Room, tmp_path: Path) -> None:
    folder = write(demo_folder(tmp_path / "demo"), {"page.py": "def", "requirements.txt": "gradio ==\n# a comment\n"})
    room("push", folder, "me/demo", "--yes")
    ended = room("verify", "me/demo", "--type", "space")
    assert ended.code == 1
    told = json.loads(ended.stdout)
    assert told["problems"] == [
        "code: page.py: invalid syntax (page.py, line 1); requirements.txt: 'gradio ==' is no requirement"
    ]
    assert not told["passed"]


def test_what_has_no_place_in_it_is_refused_before_anything_is_loaded(room: Room, tmp_path: Path) -> None:
    room("push", metric_folder(tmp_path / "pair_accuracy"), "me/pair_accuracy", "--yes")
    room.hub.space("me/pair_accuracy").put("weights.bin", b"x")
    ended = room("verify", "me/pair_accuracy")
    assert (ended.code, ended.stdout) == (1, "")
    assert (
        "weights.bin has no place in a folder of kind metric: a pickle, which runs code where it is loaded"
        in ended.stderr
    )


def test_other_bytes_than_the_hub_says_are_found(room: Room, tmp_path: Path) -> None:
    room("push", dataset_folder(tmp_path / "MIS"), "me/MIS", "--yes")
    files = room.hub.dataset("me/MIS").head.files
    files["NOTICE"] = Changed(b"made by a test\n", False)
    assert "other bytes came than the Hub says: NOTICE; push it again" in room("verify", "me/MIS").stderr


class Changed(Blob):
    """A file whose bytes the Hub has lost, and serves others."""

    @property
    def git(self) -> str:
        return "0" * 40


def test_who_may_not_see_it_is_told_so(room: Room, tmp_path: Path) -> None:
    room("push", demo_folder(tmp_path / "demo"), "me/demo", "--yes")
    room("push", dataset_folder(tmp_path / "MIS"), "me/MIS", "--yes", "--public")
    hidden = "cards verify: me/demo: no such repository, or this token may not see it"
    assert room("verify", "me/demo", token=OTHER).stderr == f"{hidden}\n"
    assert room("verify", "me/demo", token=None).stderr == (
        f"{hidden}; a private one wants `hf auth login` or HF_TOKEN\n"
    )
    gated = "cards verify: me/MIS: its owner has to let you in first; ask for access on its page\n"
    assert room("verify", "me/MIS", token=OTHER).stderr == gated
    assert room("verify", "me/MIS", token=None).stderr == gated
    assert "me/MIS: no such repository or revision" in room("verify", "me/MIS", "--revision", "9-z").stderr


def test_a_name_of_two_repositories_wants_a_type(room: Room, tmp_path: Path) -> None:
    room("push", demo_folder(tmp_path / "demo"), "me/MIS", "--yes")
    room("push", dataset_folder(tmp_path / "MIS"), "me/MIS", "--yes")
    assert "is the name of several repositories (dataset, space); give --type" in room("verify", "me/MIS").stderr
    assert room("verify", "me/MIS", "--type", "space").told["kind"] == "demo"


# Loaded for real


@pytest.mark.slow
def test_a_dataset_is_loaded_whole_and_streamed_with_the_rows_of_its_manifest(
    room: Room, tiny: Tiny, tmp_path: Path
) -> None:
    folder = published_dataset(tiny, tmp_path / "MIS")
    room("push", folder, "me/MIS", "--yes")
    rows = json.loads((folder / "MANIFEST.json").read_text())["rows"]
    told = room("verify", "me/MIS", "--revision", "1-a").told
    assert told["loaded"] == {way: {"rows": rows, "pictures": 2 * len(rows)} for way in ("whole", "streamed")}
    # A card that leaves a split out: what is loaded is not what the manifest counts.
    card = (folder / "README.md").read_text()
    part = [line for line in card.splitlines() if "test_benign" not in line]
    write(folder, {"README.md": "\n".join(part) + "\n"})
    room("push", folder, "me/MIS", "--yes", "--no-tag")
    ended = room("verify", "me/MIS")
    assert ended.code == 1
    problems = json.loads(ended.stdout)["problems"]
    assert [problem.split(":")[0] for problem in problems] == ["whole", "streamed"]
    assert all("push it again" in problem for problem in problems)


@pytest.mark.slow
def test_a_model_is_loaded_from_safetensors_and_by_the_code_of_its_card(room: Room, tiny: Tiny, tmp_path: Path) -> None:
    code = (
        "from transformers import AutoConfig\nassert AutoConfig.from_pretrained(REPO).model_type == 'internvl'\n"
        "import os\nassert os.environ['HF_TOKEN']"
    )
    folder = published_model(tiny, tmp_path / "model", "me/mis-mini", code)
    room("push", folder, "me/mis-mini", "--yes")
    told = room("verify", "me/mis-mini").told
    assert told["loaded"]["card"] == {"pieces": 2}
    assert told["loaded"]["weights"]["model"] == "InternVLForConditionalGeneration"
    # Of somebody else, even in public: the card's code is not given the token.
    room.hub.repos["models", "me/mis-mini"].private = False
    problems = json.loads(room("verify", "me/mis-mini", token=OTHER).stdout)["problems"]
    assert problems == ["does not load (card): KeyError: 'HF_TOKEN'"]


@pytest.mark.slow
def test_weights_that_are_missing_and_code_that_fails_do_not_pass(room: Room, tiny: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = published_model(tiny, tmp_path / "model", "me/mis-mini", "raise ValueError('too small')")
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in sorted(weights) if name.endswith("q_proj.weight"))
    del weights[gone]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    write_sums(folder)
    room("push", folder, "me/mis-mini", "--yes")
    problems = json.loads(room("verify", "me/mis-mini").stdout)["problems"]
    assert len(problems) == 2
    assert problems[0].startswith("weights: 1 weights are missing, unknown or of another shape, such as ")
    assert problems[0].endswith(gone.removeprefix("language_model.model."))
    assert problems[1] == "does not load (card): ValueError: too small"


@pytest.mark.slow
def test_a_metric_is_loaded_by_evaluate_from_its_space(room: Room, tmp_path: Path) -> None:
    room("push", metric_folder(tmp_path / "pair_accuracy"), "me/pair_accuracy", "--yes")
    room.hub.asked.clear()
    told = room("verify", "me/pair_accuracy").told
    assert told["loaded"] == {"evaluate": {"module_type": "metric", "metric": "Share"}}
    head = room.hub.space("me/pair_accuracy").head.oid
    assert room.hub.asked[-1] == f"GET /spaces/me/pair_accuracy/resolve/{head}/pair_accuracy.py"


@pytest.mark.slow
def test_an_adapter_is_loaded_on_its_base(room: Room, tiny: Tiny, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(tiny.model)
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    folder = tmp_path / "adapter"
    adapted.save_pretrained(folder)
    told = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": "me/base"}
    write(folder, {**_LEGAL, "README.md": _HEADER, "adapter_config.json": json.dumps(told)})
    write_sums(folder)
    room("push", folder, "me/adapter", "--yes")
    loaded = room("verify", "me/adapter", "--base", tiny.model).told["loaded"]["on its base"]
    assert loaded["parameters"] == sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
    ended = room("verify", "me/adapter")
    assert ended.code == 1
    # PEFT itself only warns, and goes on with weights that are as good as none.
    weights = load_file(folder / "adapter_model.safetensors")
    del weights[max(weights)]
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    room("push", write_sums(folder), "me/adapter", "--yes")
    [problem] = json.loads(room("verify", "me/adapter", "--base", tiny.model).stdout)["problems"]
    assert "Found missing adapter keys" in problem
