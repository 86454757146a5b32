"""Photographs of a folder are found by what they show, each with its licence; what is none is refused."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mis_dataset.construct.clip import Clip, Vectors
from mis_dataset.construct.drawers import Given, Nothing, Wanted
from mis_dataset.construct.photographs import INDEX, PhotographDrawer
from mis_dataset.construct.shelves import Photographs
from mis_dataset.decoding import strict_pillow
from mis_dataset.errors import MISError, ProblemsError, UsageError
from tests import made_pipelines

SHADES = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250), "dark/wine": (120, 0, 20)}
WANTED = Wanted("s1.1", "red", "unread", 1, "512x512", 7)


class Colours:
    """Places pictures by their mean colour and words by that which they name."""

    name = "colours@1"

    def __init__(self) -> None:
        self.seen = 0

    def text(self, text: str) -> Vectors:
        assert text.startswith("a photo of ")
        return np.asarray(SHADES[text.removeprefix("a photo of ")], np.float32)

    def pictures(self, pngs: Sequence[bytes]) -> Vectors:
        self.seen += len(pngs)
        opened = [np.asarray(Image.open(io.BytesIO(png)), np.float32) for png in pngs]
        return np.stack([pixels.mean((0, 1)) for pixels in opened]).astype(np.float32)


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    with strict_pillow():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, shade in SHADES.items():
        path = tmp_path / "photographs" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), shade).save(path)
    rows = [
        {"file_name": "red.png", "licence": "CC-BY-4.0", "source": "https://photos.example/red"},
        {"file_name": "dark/wine.png", "license": "CC0-1.0\x1b", "url": ""},
    ]
    (tmp_path / "photographs" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return tmp_path / "photographs"


def drawer(folder: Path, embedder: Colours | None = None) -> PhotographDrawer:
    return PhotographDrawer(Photographs("colours", str(folder)), folder.parent / "out", embedder or Colours())


def test_rounds_go_from_the_nearest_on_and_say_where_each_comes_from(folder: Path) -> None:
    with drawer(folder) as opened:
        first, second = (opened.draw(WANTED._replace(round=number)) for number in (1, 2))
        assert isinstance(first, Given)
        assert isinstance(second, Given)
        assert first == Given(
            (folder / "red.png").read_bytes(),
            "a photo of red",
            "colours@1",
            "CC-BY-4.0",
            "https://photos.example/red",
            1.0,
        )
        assert (second.source, second.licence, second.score) == ("dark/wine.png", "CC0-1.0\\x1b", 0.9914)
        green = opened.draw(WANTED._replace(thing="green"))
        assert isinstance(green, Given)
        assert (green.source, green.licence) == ("green.png", "")
        assert opened.draw(WANTED._replace(round=5)) == Nothing("no picture", "the folder has 4, round 5 wants another")


def test_a_picture_is_embedded_once_and_the_index_tells_folders_apart(folder: Path) -> None:
    with drawer(folder, first := Colours()) as opened:
        before = opened.identity
    with drawer(folder, again := Colours()) as opened:
        assert opened.identity == before
    Image.new("RGB", (16, 16), (0, 0, 0)).save(folder / "black.jpg")
    shutil.copy(folder / "red.png", folder / "same.png")
    with drawer(folder, more := Colours()) as opened:
        assert opened.identity != before
        assert isinstance(opened.draw(WANTED._replace(round=5)), Given)
        assert isinstance(opened.draw(WANTED._replace(round=6)), Nothing)  # the copy is no other picture
    assert (first.seen, again.seen, more.seen) == (4, 0, 1)
    other = Colours()
    other.name = "colours@2"
    with drawer(folder, other):
        assert other.seen == 5


def test_a_broken_index_is_named_and_no_pickle_is_read(folder: Path) -> None:
    with drawer(folder):
        pass
    index = folder.parent / "out" / INDEX
    for broken in (b"", b"no zip", index.read_bytes()[:200]):
        index.write_bytes(broken)
        with pytest.raises(MISError, match=r"photographs\.npz: is no index of photographs; remove it"):
            drawer(folder).__enter__()
    with index.open("wb") as file:
        np.savez(file, model=np.array("colours@1"), sha256=np.array(["a"], object), vectors=np.zeros((1, 3)))
    with pytest.raises(MISError, match="is no index of photographs"):
        drawer(folder).__enter__()


def test_all_files_that_are_no_pictures_or_lead_out_are_named(folder: Path) -> None:
    outside = folder.parent / "outside.png"
    Image.new("RGB", (8, 8)).save(outside)
    (folder / "link.png").symlink_to(outside)
    (folder / "empty.jpg").write_bytes(b"")
    with pytest.raises(ProblemsError) as refused:
        drawer(folder).__enter__()
    assert [problem.file for problem in refused.value.problems] == ["empty.jpg", "link.png"]
    assert "is a link that leaves" in refused.value.problems[1].text
    for name in ("empty.jpg", "link.png"):
        (folder / name).unlink()
    (folder / "cut.png").write_bytes((folder / "red.png").read_bytes()[:50])
    (folder / "page.png").write_text("<html>")
    with pytest.raises(ProblemsError) as refused:
        drawer(folder).__enter__()
    assert [problem.file for problem in refused.value.problems] == ["cut.png", "page.png"]


@pytest.mark.parametrize("line", ["[1]", "{", '{"licence": "MIT"}', '{"file_name": "red.png", "licence": 7}', "7"])
def test_a_line_about_a_picture_that_cannot_be_read_is_named(folder: Path, line: str) -> None:
    (folder / "metadata.jsonl").write_text('{"file_name": "blue.png"}\n' + line)
    with pytest.raises(MISError, match=r"^metadata\.jsonl:2: "):
        drawer(folder).__enter__()


def test_a_folder_that_is_none_or_empty_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none: is no folder of photographs"):
        drawer(tmp_path / "none").__enter__()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: holds no picture"):
        drawer(tmp_path / "empty").__enter__()


def test_a_file_that_changes_during_a_run_ends_it(folder: Path) -> None:
    with drawer(folder) as opened:
        Image.new("RGB", (16, 16), (250, 10, 11)).save(folder / "red.png")
        with pytest.raises(MISError, match=r"red\.png: was changed during the run"):
            opened.draw(WANTED)


def test_a_clip_from_safetensors_finds_the_picture_that_is_nearest_to_a_text(folder: Path, tmp_path: Path) -> None:
    model = made_pipelines.clip(tmp_path / "clip")
    settings = Photographs(str(model), str(folder))
    with PhotographDrawer(settings, tmp_path / "out") as opened:
        found = [opened.draw(WANTED._replace(round=number)) for number in range(1, 5)]
    scores = [one.score for one in found if isinstance(one, Given)]
    assert scores == sorted(scores, key=lambda score: -(score or 0))
    assert {hashlib.sha256(one.picture).hexdigest() for one in found if isinstance(one, Given)} == {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.png")
    }
    with PhotographDrawer(settings, tmp_path / "out") as opened:
        assert [opened.draw(WANTED._replace(round=number)) for number in range(1, 5)] == found
    clip = Clip(str(model))
    assert clip.name.startswith("clip@")
    assert clip.name != Clip(str(made_pipelines.clip(tmp_path / "clip2", seed=1))).name
    assert clip.text("a lamp").shape == (16,)  # projected, as pictures are
    pngs = [path.read_bytes() for path in sorted(folder.rglob("*.png"))]
    alone = np.concatenate([clip.pictures([png]) for png in pngs])
    np.testing.assert_allclose(clip.pictures(pngs), alone, atol=1e-5)


def test_a_siglip_places_texts_and_pictures_too(tmp_path: Path, folder: Path) -> None:
    siglip = Clip(str(made_pipelines.siglip(tmp_path / "siglip")))
    pngs = [path.read_bytes() for path in sorted(folder.rglob("*.png"))]
    assert siglip.pictures(pngs).shape == (4, 32)
    assert siglip.text("a photo of a lamp").shape == (32,)
    assert not np.allclose(siglip.text("a photo of a lamp"), siglip.text("a photo of a bell"))


def test_models_without_safetensors_of_another_kind_or_with_code_are_refused(tmp_path: Path, folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    model = made_pipelines.clip(tmp_path / "clip")
    torch.save({}, model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    with pytest.raises(MISError, match="clip: cannot be loaded from safetensors"):
        Clip(str(model)).text("a")
    (model / "modeling.py").write_text("")
    with pytest.raises(MISError, match=r"clip: holds modeling\.py, code of its own"):
        Clip(str(model))
    text = tmp_path / "bert"
    BertModel(
        BertConfig(vocab_size=60, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(text)
    made_pipelines.tokenizer(tmp_path / "words").save_pretrained(text)
    with pytest.raises(MISError, match="bert: is no model of texts and images"):
        Clip(str(text)).text("a")
    with pytest.raises(UsageError, match="is neither a folder nor OWNER/NAME of a model"):
        Clip("nothing")
