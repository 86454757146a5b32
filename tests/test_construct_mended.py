"""What somebody deletes or changes in the folder of a construction is mended by the same command, without a call."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mis_dataset.__main__ import main
from tests.loopback_api import LoopbackApi, Step, completion
from tests.scripted_models import THINGS, ScriptedModels
from tests.test_construct_faults import prepared
from tests.test_construct_hub_seeds import encoded, parquet
from tests.test_construct_pipeline import SETTINGS, files

pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LoopbackApi, Path]]:
    """An endpoint and a construction; every test leaves it as it was."""
    folder = tmp_path_factory.mktemp("made")
    with LoopbackApi().running() as api, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "any")
        api.decide = ScriptedModels()
        prepared(api, folder, len(THINGS))
        assert construct(folder) == 0
        yield api, folder


def construct(folder: Path) -> int:
    return main(["construct", str(folder / "out"), "--config", str(folder / "construct.yaml")])


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def replace(path: Path) -> None:
    path.unlink()
    path.write_text("nonsense\n")


DAMAGES: list[tuple[str, Callable[[Path], None]]] = [
    ("raw/mis_hard.json", Path.unlink),
    ("raw/mis_train.json", append),
    ("raw/mis_real.json", Path.touch),
    ("raw/objects.json", replace),
    ("raw/provenance/pictures.jsonl", Path.unlink),
    ("raw/provenance/construction.json", append),
    ("raw/images/1/object1.png", Path.unlink),
    ("raw/hard_image", shutil.rmtree),
    ("raw", shutil.rmtree),
    ("funnel.json", Path.unlink),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES, ids=[name for name, _ in DAMAGES])
def test_a_release_that_is_not_as_it_was_written_is_written_anew(
    made: tuple[LoopbackApi, Path], name: str, damage: Callable[[Path], None]
) -> None:
    api, folder = made
    before, count = files(folder / "out"), api.count
    damage(folder / "out" / name)
    assert files(folder / "out") != before
    assert construct(folder) == 0
    assert (files(folder / "out"), api.count) == (before, count)


def test_a_release_that_is_as_it_was_written_is_left_alone(made: tuple[LoopbackApi, Path]) -> None:
    raw = made[1] / "out" / "raw"
    assert construct(made[1]) == 0
    before = raw.stat().st_ino
    assert construct(made[1]) == 0
    assert raw.stat().st_ino == before


@pytest.mark.parametrize("stage", ["elements", "filters", "labels"])
@pytest.mark.parametrize("end", [".jsonl", ".rejected.jsonl"])
@pytest.mark.parametrize("damage", [Path.unlink, replace])
def test_a_file_of_a_stage_that_is_removed_or_no_more_what_it_wrote_is_written_anew(
    made: tuple[LoopbackApi, Path], stage: str, end: str, damage: Callable[[Path], None]
) -> None:
    api, folder = made
    before, count = files(folder / "out"), api.count
    damage(folder / "out" / (stage + end))
    assert files(folder / "out") != before
    assert construct(folder) == 0
    assert (files(folder / "out"), api.count) == (before, count)


def picture(out: Path, row: str) -> Path:
    return next((out / "pictures" / row).glob("twin*.png"))


@pytest.mark.parametrize(
    ("find", "damage"),
    [
        (lambda out: out / "pictures" / "s2.1", shutil.rmtree),
        (lambda out: picture(out, "s3.1"), Path.unlink),
        (lambda out: out / "pictures", shutil.rmtree),
    ],
    ids=["of a row", "of a twin", "all"],
)
def test_a_picture_that_is_lost_is_kept_with_the_replies(
    made: tuple[LoopbackApi, Path], find: Callable[[Path], Path], damage: Callable[[Path], None]
) -> None:
    api, folder = made
    before, count = files(folder / "out"), api.count
    damage(find(folder / "out"))
    (folder / "out" / "raw" / "mis_train.json").unlink()  # the release is to be made of these pictures
    assert construct(folder) == 0
    assert (files(folder / "out"), api.count) == (before, count)


def test_a_lost_picture_of_a_seed_is_read_again(tmp_path: Path) -> None:
    parquet(tmp_path / "seeds" / "train-0.parquet", text=["What of it?"], shown=[encoded("red")])
    with LoopbackApi().running() as api:
        api.decide = lambda _: Step(body=completion('{"rows": []}'))
        text = SETTINGS.format(url=api.url).replace("[seeds.jsonl]", "[{hub: seeds, text: text, image: shown}]")
        (tmp_path / "construct.yaml").write_text(text)
        assert construct(tmp_path) == 0
        picture, count = tmp_path / "out" / "seeds" / "s1.png", api.count
        before = picture.read_bytes()
        picture.unlink()
        assert construct(tmp_path) == 0
        assert (picture.read_bytes(), api.count) == (before, count)


def test_a_picture_that_was_exchanged_comes_into_no_release(
    made: tuple[LoopbackApi, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = made
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    out = tmp_path / "out"
    path = picture(out, "s3.1")
    path.unlink()
    path.write_bytes(encoded("red"))
    (out / "raw" / "mis_train.json").unlink()
    assert construct(tmp_path) == 1
    assert f"{path}: is not the picture that experts saw; remove it and run again" in capsys.readouterr().err
    path.unlink()
    assert construct(tmp_path) == 0
    assert files(out) == files(folder / "out")


def test_check_finds_a_picture_that_was_exchanged_in_a_release(
    made: tuple[LoopbackApi, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = shutil.copytree(made[1] / "out" / "raw", tmp_path / "raw")
    assert main(["check", str(raw)]) == 0
    capsys.readouterr()
    one, other = raw / "hard_image" / "1" / "object1.png", raw / "hard_image" / "2" / "object1.png"
    one.unlink()
    shutil.copyfile(other, one)
    assert main(["check", str(raw)]) == 1
    assert "is not the one that provenance/pictures.jsonl tells of" in capsys.readouterr().err
    told = raw / "provenance" / "pictures.jsonl"
    told.write_text(told.read_text().replace('"path": "hard_image/1/object1.png"', '"path": "elsewhere.png"') + "[]\n")
    assert main(["check", str(raw)]) == 1  # neither a lost line nor a broken one hides it
    printed = capsys.readouterr().err
    assert "'hard_image/1/object1.png' is not the one that" in printed
    assert "provenance/pictures.jsonl: line" in printed
