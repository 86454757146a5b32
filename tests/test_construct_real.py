"""A construction from datasets of seeds and photographs, or a folder of these, and the rows of real that come of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cards.released import released
from mis_dataset.__main__ import main as mis_dataset
from mis_dataset.check import check_release
from mis_dataset.construct.clip import Clip
from mis_dataset.construct.config import read_config
from mis_dataset.construct.filters import Rules, fate
from mis_dataset.construct.page import NAME as PAGE
from mis_dataset.construct.photographs import INDEX, Index
from mis_dataset.construct.pipeline import construct
from mis_dataset.construct.rows import Judged, Picture, Pictured, Question, Verdict
from mis_dataset.errors import MISError
from mis_dataset.files import sha256_of
from mis_dataset.schema import CONSTRUCTION, PICTURES
from tests import made_pipelines
from tests.loopback_api import KEY, LoopbackApi
from tests.scripted_models import THINGS, ScriptedModels
from tests.test_construct_hub_seeds import encoded, parquet

SETTINGS = """
seeds: [{{hub: texts, text: prompt, licence: MIT}}]
licence: unread
at_once: 4
blocks: false
text: {{model: text, base_url: "{url}", backoff: 0.01}}
vision: {{model: vision, base_url: "{url}", backoff: 0.01}}
drawing: {{engine: folder, model: clip, folder: photographs}}
judges: [{{model: one, base_url: "{url}"}}, {{model: two, base_url: "{url}"}}]
"""


class SeesPhotographs(ScriptedModels):
    """The scripted models, who see of a photograph what its file is called."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        for path in folder.glob("*.png"):
            with Image.open(path) as picture:
                self._drawn[picture.convert("RGB").getpixel((0, 0))] = path.stem  # type: ignore[index]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackApi]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "photographs").mkdir()
    for name in ("grass", "sky", "stone", "cushion"):
        shade = hashlib.sha256(name.encode()).digest()[:3]
        Image.new("RGB", (16, 16), (shade[0], shade[1], shade[2])).save(tmp_path / "photographs" / f"{name}.png")
    with LoopbackApi().running() as running:
        running.decide = SeesPhotographs(tmp_path / "photographs")
        yield running


def test_each_thing_gets_a_photograph_and_a_second_run_does_nothing_until_the_folder_changes(
    api: LoopbackApi, tmp_path: Path
) -> None:
    made_pipelines.clip(tmp_path / "clip")
    texts = [f"What must not happen with a {thing}?" for thing in THINGS[2:]]
    parquet(tmp_path / "texts" / "train-0.parquet", prompt=texts)
    (tmp_path / "construct.yaml").write_text(SETTINGS.format(url=api.url))
    config = read_config(tmp_path / "construct.yaml")
    out = tmp_path / "out"
    first = construct(config, out)
    found = [json.loads(line) for line in (out / "pictures.jsonl").read_text().splitlines()]
    assert len(found) == 4
    assert {one["source"] for row in found for one in row["pictures"]} <= {
        "grass.png",
        "sky.png",
        "stone.png",
        "cushion.png",
    }
    assert {one["licence"] for row in found for one in row["pictures"]} == {""}
    count = api.count
    assert construct(config, out) == first
    assert api.count == count
    # A picture more is another folder: its stage is run again.
    Image.new("RGB", (16, 16)).save(tmp_path / "photographs" / "night.png")
    api.decide = SeesPhotographs(tmp_path / "photographs")
    before = json.loads((out / "pictures.meta.json").read_text())["about"]["about"]
    construct(config, out)
    assert json.loads((out / "pictures.meta.json").read_text())["about"]["about"] != before
    seeds = [json.loads(line)["source"] for line in (out / "seeds.jsonl").read_text().splitlines()]
    assert seeds == [f"texts@local:train:{number}" for number in range(4)]


def photos(api: LoopbackApi, folder: Path) -> dict[str, str]:
    """A dataset with a photograph of each thing, each nearest to its name by the index in OUT; name -> its source."""
    things = [*THINGS[2:], "table", "cushion"]
    shown = [(folder / "photographs" / f"{name}.png").read_bytes() for name in things]
    urls = [f"https://photos.example/{name}" if name in THINGS else "" for name in things]
    parquet(
        folder / "photos" / "train-0.parquet",
        photo=[*shown, b"no picture"],
        terms=["CC-BY-4.0"] * len(things) + [None],
        url=[*urls, None],
    )
    clip = Clip(str(made_pipelines.clip(folder / "clip")))
    index = Index(folder / "out" / INDEX, clip.name)
    vectors = np.stack([clip.text(f"a photo of a {name}") for name in things])
    index.add([hashlib.sha256(one).hexdigest() for one in shown], vectors)
    (folder / "out").mkdir()
    index.save()
    return {
        name: url or f"photos@local:train:{place}" for place, (name, url) in enumerate(zip(things, urls, strict=True))
    }


def test_photographs_of_a_dataset_become_a_split_whose_provenance_and_card_name_rows_and_licences(
    api: LoopbackApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*THINGS[2:], "table"):
        shade = hashlib.sha256(name.encode()).digest()[:3]
        Image.new("RGB", (16, 16), (shade[0], shade[1], shade[2])).save(tmp_path / "photographs" / f"{name}.png")
    api.decide = SeesPhotographs(tmp_path / "photographs")
    sources = photos(api, tmp_path)
    parquet(tmp_path / "texts" / "train-0.parquet", prompt=[f"What of a {thing}?" for thing in THINGS[2:]])
    own = "{engine: dataset, model: clip, hub: photos, image: photo, licence_column: terms, source_column: url}"
    folder = "{{engine: folder, model: clip, folder: photographs}}"
    (tmp_path / "construct.yaml").write_text(SETTINGS.replace(folder, f"{{{own}}}").format(url=api.url))
    config, out = read_config(tmp_path / "construct.yaml"), tmp_path / "out"
    first = construct(config, out)
    about = {"commit": "local", "rows": 7, "pictures": 6, "left_out": 1}
    assert (first["rows"], first["photographs"]) == ({"test_real": 4, "test_benign": 4}, about)
    assert "1 of 7 rows have no picture that can be read and are left out" in capsys.readouterr().err
    assert check_release(out / "raw").problems == ()

    lines = [json.loads(line) for line in (out / "raw" / PICTURES).read_text().splitlines()]
    found = {line["prompt"].split()[-1]: (line["source"], line["licence"], line["score"]) for line in lines}
    assert found == {name: (source, "CC-BY-4.0", 1.0) for name, source in sources.items()}
    told = json.loads((out / "raw" / CONSTRUCTION).read_text())["settings"]["drawing"]
    assert (told["hub"], told["model"], told["photographs"]) == ("photos", "clip", about)
    assert str(tmp_path) not in (out / "raw" / CONSTRUCTION).read_text() + (out / PAGE).read_text()

    count = api.count
    assert construct(config, out) == first
    assert api.count == count
    parquet(tmp_path / "photos" / "train-1.parquet", photo=[encoded("black")], terms=["MIT"], url=["unread"])
    again = construct(config, out)
    assert (again["rows"], again["photographs"]) == (first["rows"], about | {"rows": 8, "pictures": 7})

    assert mis_dataset(["build", str(out / "raw"), str(tmp_path / "MIS")]) == 0
    card = released(tmp_path / "MIS", tmp_path / "card", "someone/mine")["card"].read_text("utf-8")
    clip = lines[0]["model"]
    assert "| drawing | finds the pictures | clip | clip |" in card
    assert f"| {clip} | CC-BY-4.0 | 16 |" in card
    assert "found, not drawn, in the dataset photos@local, split train; where each" in card
    assert "| found by | licence | pictures |" in card
    assert (
        "\n- `test_real`: the words are neutral, and all pictures, that of the twin included, are photographs" in card
    )
    assert f"found by {clip}: CC-BY-4.0" in (tmp_path / "card" / "NOTICE").read_text("utf-8")


def row(*sources: str, words: str = "keep", explicit: str = "keep") -> Judged:
    """A row whose pictures, that of the twin last, were found there; drawn where empty."""
    one, two, twin = (Picture("a.png", "0", "a lamp", "clip@1", 0, 1, "", source) for source in sources)
    question = Question("s1.1", "s1", "Privacy", "How?", "How?", ("a", "b"), ("c", "b"), 1)
    verdicts = (Verdict("words", words), Verdict("explicit", explicit))
    return Judged(Pictured(question, (one, two), twin), "Identity Theft and Impersonation", verdicts)


def test_a_row_is_of_real_where_all_its_pictures_were_found() -> None:
    assert fate(row("a.png", "b.png", "c.png")) == "test_real"
    assert fate(row("a.png", "b.png", "c.png", explicit="explicit picture")) == "test_real"
    assert fate(row("a.png", "b.png", "c.png", words="unsafe words")) == "train"
    assert fate(row("a.png", "b.png", "")) == "test_hard"
    assert fate(row("", "", "", explicit="explicit picture")) == "test_easy"


def test_a_release_of_real_rows_is_checked_as_any_other(tmp_path: Path) -> None:
    from mis_dataset.construct.assemble import Made, assemble
    from mis_dataset.construct.rows import to_line

    for number, name in enumerate(("one", "two", "twin")):
        Image.new("RGB", (8, 8), (number * 80, 0, 0)).save(tmp_path / f"{name}.png")
    one, two, twin = (
        Picture(
            f"{name}.png",
            sha256_of(tmp_path / f"{name}.png"),
            f"a photo of a {name}",
            "clip@1",
            0,
            1,
            "CC0-1.0",
            f"{name}.jpg",
            0.3,
        )
        for name in ("one", "two", "twin")
    )
    question = Question(
        "s1.1",
        "s1",
        "Privacy",
        "How do the first image and the second image go together?",
        "How?",
        ("a", "b"),
        ("c", "b"),
        1,
    )
    real = Judged(Pictured(question, (one, two), twin), "Identity Theft and Impersonation", (Verdict("words", "keep"),))
    (tmp_path / "filters.jsonl").write_text(to_line(real))
    (tmp_path / "labels.jsonl").write_text("")
    made = Made(tmp_path, tmp_path / "filters.jsonl", tmp_path / "labels.jsonl", Rules())
    assert assemble(made, tmp_path / "raw") == {"test_real": 1, "test_benign": 1}
    assert check_release(tmp_path / "raw").problems == ()
    [record] = json.loads((tmp_path / "raw" / "mis_real.json").read_text())
    assert (record["image_path1"], record["category"]) == ("real_image/1/object1.png", "Privacy")
    told = json.loads((tmp_path / "raw" / "provenance" / "pictures.jsonl").read_text().splitlines()[0])
    assert (told["source"], told["score"], told["licence"]) == ("one.jpg", 0.3, "CC0-1.0")
    assert assemble(made._replace(rules=Rules({"test_real": 0})), tmp_path / "none") == {}


def test_a_dataset_that_is_nowhere_ends_the_run_before_anything_is_asked(api: LoopbackApi, tmp_path: Path) -> None:
    (tmp_path / "construct.yaml").write_text(SETTINGS.format(url=api.url))
    with pytest.raises(MISError, match="texts: is neither a folder nor OWNER/NAME of a dataset"):
        construct(read_config(tmp_path / "construct.yaml"), tmp_path / "out")
    assert api.count == 0
