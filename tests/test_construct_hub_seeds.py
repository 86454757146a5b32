"""Seeds from datasets: look-alikes of those that the paper used, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from mis_dataset.client import Client
from mis_dataset.construct.elements import Elements
from mis_dataset.construct.hub_seeds import KNOWN, HubSeeds, hub_seeds, rows_of_hub
from mis_dataset.construct.rows import Idea, Seed
from mis_dataset.construct.seeds import read_seeds
from mis_dataset.decoding import strict_pillow
from mis_dataset.errors import DatasetError, MISError, UsageError
from tests.asked import tiny
from tests.loopback_api import KEY, LoopbackApi, Step, completion

TEXTS = ["Where does the lamp go?", "Where does the bell go?", "Where does the lamp go?"]


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    with strict_pillow():
        yield


def encoded(shade: str, kind: str = "JPEG") -> bytes:
    Image.new("RGB", (8, 8), shade).save(stream := io.BytesIO(), kind)
    return stream.getvalue()


def parquet(path: Path, **columns: list[Any]) -> Path:
    """A folder with one file of rows; a column of bytes is one of pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    features = datasets.Features(
        {
            name: datasets.Image() if isinstance(held[0], bytes) else datasets.Value("string")
            for name, held in columns.items()
        }
    )
    rows = {
        name: [{"bytes": one, "path": None} if isinstance(one, bytes) else one for one in held]
        for name, held in columns.items()
    }
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return path.parent


def like(folder: Path, hub: str) -> HubSeeds:
    """The known settings of a dataset, of a look-alike of it."""
    settings = {name: value for name, value in vars(KNOWN[hub]).items() if value}
    return hub_seeds(settings | {"hub": str(folder)})


def test_a_text_a_picture_and_a_category_become_a_seed(tmp_path: Path) -> None:
    shades = ["red", "red", "blue"]
    folder = parquet(
        tmp_path / "vls" / "train-0.parquet",
        instruction=TEXTS,
        image=[encoded(shade) for shade in shades],
        category=["Privacy", "Cooking", "Violent"],
    )
    told = list(read_seeds([like(folder, "Foreshhh/vlsbench")], out=tmp_path / "out"))
    assert told == [
        Seed("s1", TEXTS[0], "vls@local:train:0", "unknown", "Privacy", "seeds/s1.png"),
        Seed("s2", TEXTS[1], "vls@local:train:1", "unknown", None, "seeds/s2.png"),
        Seed("s3", TEXTS[2], "vls@local:train:2", "unknown", "Violent", "seeds/s3.png"),  # another picture
    ]
    with Image.open(tmp_path / "out" / "seeds" / "s3.png") as kept:
        assert (kept.format, kept.convert("RGB").getpixel((0, 0))) == ("PNG", (0, 0, 254))


def test_look_alikes_of_all_known_datasets_are_read(tmp_path: Path) -> None:
    red = [encoded("red")] * 3
    parquet(tmp_path / "mm" / "data" / "Sex" / "SD_TYPO.parquet", question=TEXTS, image=red)
    parquet(tmp_path / "mm" / "data" / "Fraud" / "SD_TYPO.parquet", question=["Why?"], image=red[:1])
    parquet(tmp_path / "mm" / "data" / "Fraud" / "SD.parquet", question=["Unread?"], image=red[:1])
    parquet(tmp_path / "spa" / "train-0.parquet", question=TEXTS, image=red)
    parquet(tmp_path / "adv" / "train-0.parquet", prompt=TEXTS, target=["Sure"] * 3)
    for name, column in (("rtvlm/data/Jailbreak/jailbreak.jsonl", "instruction"), ("vlsafe/VLSafe", "query")):
        file = tmp_path / name
        file = file if file.suffix else file / "VLSafe_harmlessness_examine.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(json.dumps({column: text, "image_id": "1.jpg"}) for text in TEXTS))
    read = {
        hub: [(one.licence, bool(one.picture)) for one in rows_of_hub(like(tmp_path / folder, hub))]
        for folder, hub in (
            ("mm", "PKU-Alignment/MM-SafetyBench"),
            ("spa", "sqrti/SPA-VL"),
            ("adv", "walledai/AdvBench"),
            ("rtvlm", "MMInstruction/RedTeamingVLM"),
            ("vlsafe", "YangyiYY/LVLM_NLF"),
        )
    }
    assert read == {
        "PKU-Alignment/MM-SafetyBench": [("unknown", True)] * 4,
        "sqrti/SPA-VL": [("CC-BY-4.0", True)] * 3,
        "walledai/AdvBench": [("MIT", False)] * 3,
        "MMInstruction/RedTeamingVLM": [("unknown", False)] * 3,
        "YangyiYY/LVLM_NLF": [("unknown", False)] * 3,
    }


def test_files_and_datasets_are_one_row_of_seeds_with_a_limit(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": TEXTS[1]}))
    folder = parquet(tmp_path / "texts" / "test-0.parquet", prompt=TEXTS)
    seeds = HubSeeds(str(folder), "prompt", category="Hate", split="test", licence="MIT")
    expected = [
        Seed("s1", TEXTS[1], "a.jsonl:1"),
        Seed("s2", TEXTS[0], "texts@local:test:0", "MIT", "Hate"),
    ]
    assert list(read_seeds([tmp_path / "a.jsonl", seeds])) == expected
    assert list(read_seeds([seeds, tmp_path / "a.jsonl"], limit=1)) == [
        Seed("s1", TEXTS[0], "texts@local:test:0", "MIT", "Hate")
    ]


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"hub": "OWNER/NAME"}, "the columns of OWNER/NAME are not known; name that of the texts"),
        ({"hub": "openlamm/Ch3Ef"}, "the columns of openlamm/Ch3Ef are not known"),
        ({"text": "prompt"}, "a table names its dataset as hub: OWNER/NAME"),
        ({"hub": "OWNER/NAME", "column": "prompt"}, "column is no setting of a dataset"),
        ({"hub": "OWNER/NAME", "text": 7}, "text is no text"),
    ],
)
def test_a_table_that_names_no_dataset_is_told(table: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        hub_seeds(table)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"text": "question"}, r"split train has no column 'question'; it has prompt, image"),
        ({"image": "picture"}, r"split train has no column 'picture'; it has prompt, image"),
        ({"category": "kind"}, r"split train has no column 'kind'"),
        ({"image": "prompt"}, r"made@local:train:0: prompt is no column of pictures"),
        ({"text": "image"}, r"made@local:train:0: image is no text"),
        ({"split": "test"}, r"made: cannot be read: "),
        ({"files": "*.csv"}, r"made: cannot be read: "),
        ({"hub": "nothing"}, r"nothing: is neither a folder nor OWNER/NAME"),
    ],
)
def test_a_column_that_is_not_there_is_one_clear_error(tmp_path: Path, changes: dict[str, str], fault: str) -> None:
    folder = parquet(tmp_path / "made" / "train-0.parquet", prompt=["secret words"], image=[encoded("red")])
    table = {"hub": str(folder), "text": "prompt", "image": "image"} | changes
    with pytest.raises(MISError, match=fault) as refused:
        list(rows_of_hub(hub_seeds(table)))
    assert "secret words" not in str(refused.value)


def test_rows_and_pictures_of_elsewhere_or_broken_are_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "outside" / "train.parquet", prompt=TEXTS)
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: ../outside/train.parquet\n---\n"
    )
    with pytest.raises(DatasetError, match="are in no file of its own folder"):
        list(rows_of_hub(HubSeeds(str(folder), "prompt")))
    (folder / "README.md").unlink()
    parquet(folder / "train.parquet", prompt=TEXTS, image=[encoded("red"), encoded("red")[:40], encoded("red")])
    rows = rows_of_hub(HubSeeds(str(folder), "prompt", "image"))
    next(rows)
    with pytest.raises(DatasetError, match="made@local:train:1: its picture is not an intact picture"):
        next(rows)


def test_a_seed_with_a_picture_is_shown_to_the_model_that_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "s1.png").write_bytes(encoded("red", "PNG"))
    row = {"category": "Privacy", "question": "Where do a lamp and a bell go?", "objects": ["a lamp", "a bell"]}
    with LoopbackApi().running() as api:
        api.decide = lambda _: Step(body=completion(json.dumps({"rows": [row]})))
        with (
            Client(tiny(api), tmp_path / "replies.sqlite") as text,
            Client(tiny(api, model="sees"), tmp_path / "replies.sqlite") as vision,
        ):
            stage = Elements(text, 2, 2, vision, tmp_path)
            told = stage(Seed("s1", "What is this for?", "x@local:train:0", picture="seeds/s1.png"))
            stage(Seed("s2", "A text alone.", "a.jsonl:1"))
        seen, alone = (json.loads(call.body) for call in api.calls)
    assert isinstance(told, list)
    assert isinstance(told[0], Idea)
    assert (told[0].source, told[0].objects) == ("x@local:train:0", ("a lamp", "a bell"))
    assert (seen["model"], alone["model"]) == ("sees", "a-model")
    assert [part["type"] for part in seen["messages"][1]["content"]] == ["image_url", "text"]
    assert "asked about the picture" in seen["messages"][0]["content"]
    assert "asked about the picture" not in alone["messages"][0]["content"]
