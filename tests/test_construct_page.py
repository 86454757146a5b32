"""The page of a construction, its counts and its plot: they say what the files hold, and nothing acts in them."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from mis_dataset.__main__ import main
from mis_dataset.construct import page
from mis_dataset.construct.filters import Rules
from mis_dataset.construct.funnel import Funnel, Rejects, Shown, count
from mis_dataset.construct.ledger import Spent
from mis_dataset.construct.page import Told, write_page
from mis_dataset.construct.plot import draw, read_funnel
from mis_dataset.construct.rows import Judged, Picture, Pictured, Question, Verdict, to_line
from mis_dataset.decoding import strict_pillow
from mis_dataset.errors import MISError, PictureError
from tests.loopback_api import KEY
from tests.made_construction import NOTHING, make_construction
from tests.made_space import driver, find_browser

HOSTILE = "<script>alert(1)</script>\u202e&\"'"
STEPS = {"seeds": 7, "ideas": 6, "questions": 6, "pictured": 6, "judged": 6}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One row of hard is over quota; no test changes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        yield make_construction(tmp_path_factory.mktemp("made"), "quotas: {test_hard: 2}")


def hostile_row() -> Judged:
    picture = Picture("a.png", "0", HOSTILE, HOSTILE, 0, 1, HOSTILE)
    question = Question(f"s1{HOSTILE}", "s1", HOSTILE, HOSTILE, HOSTILE, (HOSTILE, "b"), ("c", "b"), 1)
    return Judged(Pictured(question, (picture, picture), picture), HOSTILE, (Verdict(HOSTILE, HOSTILE, HOSTILE),))


def test_counts_are_those_of_the_files_and_every_row_is_somewhere(out: Path) -> None:
    told = json.loads((out / "funnel.json").read_text("utf-8"))
    assert {step: sum(found.values()) for step, found in told["steps"].items()} == STEPS
    assert told["steps"]["seeds"] == {"not known": 7}
    assert told["steps"]["ideas"] == {"Privacy": 6}
    assert told["splits"] == {"train": {"Privacy": 2}, "test_easy": {"Privacy": 1}, "test_hard": {"Privacy": 2}}
    assert told["to_label"] == 2
    assert [(one["stage"], one["reason"], one["rows"]) for one in told["rejected"]] == [
        ("elements", "no risk", 1),
        ("filters", "over quota", 1),
    ]
    assert told["rejected"][0]["first"] == [["s7", ""]]
    assert told["verdicts"]["words"] == {"keep": 4, "unsafe words": 2}
    assert told["verdicts"]["explicit"] == {"explicit picture": 1, "keep": 5}
    assert told["sources"] == [["found", "CC-BY-4.0", 1], ["made", "", 6]]
    for stage, step in {"seeds": "seeds", "elements": "ideas", "pictures": "pictured", "filters": "judged"}.items():
        assert len((out / f"{stage}.jsonl").read_text("utf-8").splitlines()) == STEPS[step]
    assert STEPS["judged"] == told["to_label"] + 1 + 2 + told["rejected"][1]["rows"]


def test_stages_that_are_not_whole_are_not_counted(out: Path) -> None:
    funnel, shown = count(out, ["elements", "questions"], Rules())
    assert list(funnel.steps) == ["seeds", "ideas", "questions"]
    assert (funnel.splits, funnel.verdicts, shown) == ({}, {}, [])


def test_the_page_holds_the_numbers_of_the_files(out: Path) -> None:
    text = (out / "construct.html").read_text("utf-8")
    assert "7 seeds became <b>5 rows</b> (2 in train, 1 in test_easy, 2 in test_hard)" in text
    cells = [re.findall(r"<td>(.*?)</td>", line) for line in text.split("<tr") if "<td>" in line]
    assert ["all", "7", "6", "6", "6", "6", "2", "1", "2"] in cells
    assert ["filters", "over quota", "1", "s6.1: 2 rows of Privacy in test_hard"] in cells
    used = [json.loads(line) for line in (out / "used.jsonl").read_text("utf-8").splitlines()]
    told = json.loads((out / "construct.json").read_text("utf-8"))["stages"]
    assert [one["stage"] for one in used] == list(told)
    for one in used:
        assert (one["calls"], one["tokens_in"]) == (told[one["stage"]]["calls"], told[one["stage"]]["tokens_in"])
        assert any(cell[:3] == [one["stage"], str(one["calls"]), str(one["tokens_in"])] for cell in cells)
    assert "Cost of a kept row with its twin: 0.1440, and 20.4 calls" in text  # 18 pictures for 0.04 each, 5 rows
    assert ["model", "text", "vision", "scripted-draws", "one", "two"] in cells
    assert ["replied as", "loopback-1", "loopback-1", "draws-1", "loopback-1", "loopback-1"] in cells
    assert ["made", "not stated", "6"] in cells


def test_the_page_opens_offline_runs_nothing_and_shows_no_picture_before_a_click(out: Path) -> None:
    text = (out / "construct.html").read_text("utf-8")
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in text
    assert re.findall(r"<(script|link|iframe|object)\b|\bon[a-z]+=|\bstyle=|(?:src|href)=\"http", text) == []
    assert len(re.findall(r'<details class="kept"><summary>', text)) == 5
    assert len(re.findall(r'<img src="data:image/jpeg', text)) == 5 * 3
    filters = re.findall(r"^(\S.*?) \{[^}]*\bfilter: ([^;]+);", page.STYLE.read_text("utf-8"), re.MULTILINE)
    assert filters == [(".veiled img", "blur(22px) saturate(.2)"), (".unveil:checked ~ .veiled img", "none")]


def test_no_text_of_what_was_rejected_is_on_the_page_and_no_key_anywhere(out: Path) -> None:
    text = (out / "construct.html").read_text("utf-8")
    assert NOTHING in (out / "seeds.jsonl").read_text("utf-8")
    assert NOTHING not in text
    assert "What of a lamp" not in text  # seeds are not shown, kept or not
    assert "How do I bring the object in the first image" in text
    assert not any(KEY.encode() in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_the_same_files_and_settings_give_the_same_bytes(out: Path, tmp_path: Path) -> None:
    before = {name: (out / name).read_bytes() for name in ("construct.html", "funnel.json", "used.jsonl")}
    assert main(["funnel", str(out), str(tmp_path / "one.svg")]) == 0
    assert main(["funnel", str(out), str(tmp_path / "two.svg")]) == 0
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.svg").read_text("utf-8").strip() in before["construct.html"].decode()
    assert {name: (out / name).read_bytes() for name in before} == before


def test_nothing_of_a_model_or_a_file_acts_on_the_page_or_in_the_plot(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    funnel = Funnel({"seeds": {HOSTILE: 2}, HOSTILE: {"x": 1}}, 0, {HOSTILE: {HOSTILE: 1}})
    funnel.rejected = [Rejects("elements", HOSTILE, 1, [(HOSTILE, HOSTILE)])]
    funnel.verdicts, funnel.sources = {HOSTILE: {HOSTILE: 1}}, [(HOSTILE, HOSTILE, 1)]
    settings = {HOSTILE: HOSTILE, "text": {"model": HOSTILE}, "judges": [{"model": HOSTILE}]}
    told = Told({HOSTILE: Spent(1)}, settings, {"text": [HOSTILE]}, [HOSTILE], HOSTILE)
    with strict_pillow():
        write_page(tmp_path, funnel, [Shown("train", hostile_row(), (HOSTILE, HOSTILE))], told)
    text = (tmp_path / "construct.html").read_text("utf-8")
    assert "<script" not in text
    assert "\u202e" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;\\u202e&amp;&quot;&#x27;") > 20
    assert ElementTree.fromstring(draw(funnel)).tag == "{http://www.w3.org/2000/svg}svg"


def test_a_picture_that_was_spoilt_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with strict_pillow(), pytest.raises(PictureError, match=r"a\.png is not an intact picture"):
        write_page(tmp_path, Funnel({"seeds": {}}), [Shown("train", hostile_row(), ())], Told({}, {}, {}))
    assert not (tmp_path / "construct.html").exists()


def test_bars_are_as_long_as_there_are_rows() -> None:
    drawn = draw(
        Funnel(
            {"seeds": {"Violent": 10, "Hate": 10}, "ideas": {"Hate": 5}}, rejected=[Rejects("elements", "no risk", 15)]
        )
    )
    root = ElementTree.fromstring(drawn)
    bars: dict[str | None, float] = {}
    for one in root.iter("{http://www.w3.org/2000/svg}rect"):
        bars |= {title.text: float(one.attrib["width"]) for title in one}
    assert bars == {"seeds, Violent: 10": 280.0, "seeds, Hate: 10": 280.0, "ideas, Hate: 5": 140.0}
    assert "15 rejected by elements: 15 no risk" in drawn
    lost = [Rejects("filters", "over quota", 2), Rejects("labels", "no verdict", 1)]
    lines = draw(Funnel({"judged": {"Hate": 5}}, splits={"train": {"Hate": 2}}, rejected=lost))
    assert {">2 rejected by filters: 2 over quota<", ">1 rejected by labels: 1 no verdict<"} <= set(
        re.findall(r">\d rejected[^<]*<", lines)
    )  # a line each, as two do not fit into one
    assert ElementTree.fromstring(draw(Funnel())).tag.endswith("svg")  # nothing is a plot too


def test_a_plot_of_nothing_that_was_constructed_is_refused(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["funnel", str(tmp_path), str(tmp_path / "a.svg")]) == 2
    assert "name the folder of a construction that has ended" in capsys.readouterr().err
    assert main(["funnel", str(out), str(tmp_path / "a.html")]) == 2
    assert "is no name of an SVG" in capsys.readouterr().err
    (tmp_path / "funnel.json").write_text(
        '{"steps": {"seeds": {"Hate": -1}}, "splits": {}, "rejected": [], "to_label": 0}'
    )
    with pytest.raises(MISError, match=r"funnel\.json: was not written by `construct`"):
        read_funnel(tmp_path)
    assert not list(tmp_path.glob("*.svg"))


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        (tmp_path / "seeds.jsonl").touch()
        (tmp_path / "duplicates.rejected.jsonl").touch()
        with (tmp_path / "duplicates.jsonl").open("w", encoding="utf-8") as file:
            for number in range(rows):
                picture = Picture("a.png", "0", "p" * 500, "m", 0, 1, "")
                question = Question(f"s{number}.1", "s1", "Hate", "q", "q", ("a", "b"), ("c", "b"), 1)
                file.write(
                    to_line(Judged(Pictured(question, (picture, picture), picture), "x", (Verdict("one", "keep"),)))
                )
        tracemalloc.start()
        funnel, shown = count(tmp_path, ["duplicates"], Rules())
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (funnel.kept(), len(shown)) == (rows, 2)
        assert (tmp_path / "duplicates.jsonl").stat().st_size > 1000 * rows
        return most

    peak(100)  # what is made once
    assert peak(4000) < 400_000  # of rows that take more than ten times as much


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_page_whole_and_a_picture_after_a_click(
    out: Path, request: pytest.FixtureRequest, scheme: str
) -> None:
    browser = find_browser()
    playwright, axe = driver(Path(request.config.cache.mkdir("demo")))
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        options = {"color_scheme": scheme, "viewport": {"width": 390, "height": 800}, "bypass_csp": True}
        page, asked = chromium.new_context(**options).new_page(), list[str]()
        page.on("request", lambda sent: asked.append(sent.url.split(":")[0]))
        page.goto((out / "construct.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        filters = "[...document.querySelectorAll('.veiled img')].map(one => getComputedStyle(one).filter)"
        assert set(page.evaluate(filters)) == {"blur(22px) saturate(0.2)"}
        page.locator(".unveil").first.check()
        assert page.evaluate(filters)[:4] == ["none"] * 3 + ["blur(22px) saturate(0.2)"]
        page.evaluate(axe)  # the policy of the page is bypassed for it alone
        assert page.evaluate("async () => (await axe.run()).violations.map(one => one.id)") == []
        page.evaluate("document.body.append(document.createElement('button'))")
        assert "button-name" in page.evaluate("async () => (await axe.run()).violations.map(one => one.id)")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert "file" in asked
        assert set(asked) <= {"file", "data"}
        chromium.close()
