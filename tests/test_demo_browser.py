"""The demo as visitors meet it: a Space that runs alone, seen and used through Chromium."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.made_demo import board, encoded
from tests.made_space import driver, find_browser, serving, space_python
from tests.tiny import Tiny

pytestmark = [
    pytest.mark.slow,
    # Playwright hands its own loop and pipes to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
QUESTION = "How can I use the object in the first image with the second one?"
ATTACK = "<img src=x onerror='window.hit=1'><script>window.hit=1</script>${window.hit=1}{{constructor}}"
TABS = ("Try it", "Explore", "Results", "About")
PATIENCE = 60_000
"""Milliseconds: another test may hold the processors."""
Visit = Callable[..., Any]


class Space:
    """A Space that runs, and where its copy and its uploads lie."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder

    def kept(self, mark: bytes) -> list[Path]:
        """Files anywhere around the Space that hold these bytes."""
        return [path for path in self.folder.rglob("*") if path.is_file() and mark in path.read_bytes()]


@pytest.fixture(scope="module")
def cache(request: pytest.FixtureRequest) -> Path:
    find_browser()
    return Path(request.config.cache.mkdir("demo"))


@pytest.fixture(scope="module")
def python(cache: Path) -> Path:
    return space_python(cache)


@pytest.fixture(scope="module")
def space(python: Path, tiny: Tiny, tiny_arm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    folder = tmp_path_factory.mktemp("space")
    (folder / "board.json").write_text(json.dumps(board()))
    settings = {
        "MIS_DATASET": str(tiny.dataset),
        "MIS_BASE": str(tiny.model),
        "MIS_ADAPTER": str(tiny_arm / "adapter"),
        "MIS_THINGS": str(tiny.raw / "mini" / "objects.json"),
        "MIS_RESULTS": str(folder / "board.json"),
        "MIS_MAX_NEW_TOKENS": "12",
        "MIS_MAX_QUESTION": "300",
        "MIS_MAX_UPLOAD_MB": "1",
        "MIS_ASKS_PER_MINUTE": "30",
        "MIS_ASKS_PER_ADDRESS": "300",
    }
    with serving(python, folder, settings) as address:
        yield Space(address, folder)


@pytest.fixture(scope="module")
def chromium(cache: Path) -> Iterator[tuple[Any, str]]:
    """A browser, and the source of axe-core."""
    playwright, axe = driver(cache)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        yield browser, axe
        browser.close()


@pytest.fixture
def visit(chromium: tuple[Any, str], space: Space) -> Iterator[Visit]:
    """Opens the page as a new visitor; at the end no script may have failed and nothing been fetched outside."""
    contexts, faults = [], list[str]()

    def opened(**options: Any) -> Any:
        context = chromium[0].new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        inside = (space.address, "data:", "blob:")
        page.on("request", lambda sent: None if sent.url.startswith(inside) else faults.append(sent.url))
        page.goto(space.address)
        page.locator("#shelf button").first.wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def choose(page: Any, *numbers: int) -> None:
    """Clicks pictures of the gallery and waits until as many stand above."""
    for number in numbers:
        page.locator("#shelf button").nth(number).click()
    page.locator(".slot img").nth(1).wait_for()


def ask(page: Any, question: str = QUESTION) -> None:
    page.get_by_label("Your question").fill(question)
    page.locator("#ask").click()


def wait_for_both(page: Any) -> None:
    for name in ("base", "tuned"):
        page.locator(f"#{name} .verdict").wait_for()


def told(page: Any) -> str:
    page.locator("#notice .notice:not(.empty)").wait_for()
    return str(page.locator("#notice").inner_text())


def upload(page: Any, name: str, content: bytes, place: int = 0, kind: str = "image/png") -> None:
    page.locator("input[type=file]").nth(place).set_input_files({"name": name, "mimeType": kind, "buffer": content})


def test_two_pictures_are_asked_about_and_both_models_answer(visit: Visit) -> None:
    page = visit()
    choose(page, 0, 3)
    names = [page.locator("#shelf button span").nth(number).inner_text() for number in (0, 3)]
    assert [page.locator(".slot figcaption span").nth(place).inner_text() for place in (0, 1)] == names
    ask(page)
    wait_for_both(page)
    said = [page.locator(f"#{name} .response").inner_text() for name in ("base", "tuned")]
    assert all(said)
    assert said[0] != said[1]
    for name in ("base", "tuned"):
        assert "Verdict of the word rule" in page.locator(f"#{name}").inner_text()
        assert "it names" in page.locator(f"#{name}").inner_text()


def test_a_click_asks_both_models_about_a_row_or_its_twin(visit: Visit) -> None:
    page = visit()
    shown = []
    for number in range(2):
        page.locator(".ask-both").nth(number).click()
        page.locator("#notice").get_by_text("The response is complete").wait_for(state="attached")
        wait_for_both(page)
        shown.append([page.locator(".slot figcaption span").nth(place).inner_text() for place in range(2)])
        assert " and ".join(shown[number]) in page.locator(".ask-both").nth(number).inner_text()
        assert len(page.get_by_label("Your question").input_value()) > 10
        page.locator("#clear").click()
        page.locator("#base").get_by_text("Not asked yet").wait_for()
    assert sum(one != other for one, other in zip(*shown, strict=True)) == 1


def test_a_whole_row_brings_its_question(visit: Visit) -> None:
    page = visit()
    page.get_by_label("Take a whole row of the tests").click()
    page.get_by_role("option").first.click()
    page.locator(".slot img").nth(1).wait_for()
    assert "Took both pictures and the question of test_hard/" in told(page)
    assert len(page.get_by_label("Your question").input_value()) > 10


def test_text_named_as_a_picture_is_refused_and_what_is_too_large_too(visit: Visit, space: Space) -> None:
    page = visit()
    upload(page, "picture.png", b"I am a text, not a picture.")
    assert "This file is not a picture, whatever its name says" in told(page)
    assert page.locator(".slot img").count() == 0
    upload(page, "large.png", encoded() + os.urandom(2**20))
    page.get_by_text("exceed the maximum allowed size").first.wait_for()
    assert page.locator(".slot img").count() == 0
    assert space.kept(b"I am a text, not a picture.") == []


def test_an_upload_is_seen_by_its_visitor_alone_and_leaves_no_file(visit: Visit, space: Space) -> None:
    mark = os.urandom(24)
    one, other = visit(), visit()
    upload(one, "mine.png", encoded(size=(64, 64)) + mark)
    one.locator(".slot img").first.wait_for()
    assert "stays in this session alone" in told(one)
    choose(other, 1, 2)
    assert other.locator(".slot img[alt='your picture']").count() == 0
    assert one.locator(".slot img").count() == 1
    assert one.locator(".slot img").first.get_attribute("src").startswith("data:image/png")
    assert space.kept(mark) == []
    one.locator("#shelf button").nth(1).click()
    one.locator(".slot img").nth(1).wait_for()
    upload(one, "second.jpg", encoded("JPEG", (64, 64)), 1, "image/jpeg")
    one.locator(".slot img[alt='your picture']").nth(0).wait_for()
    ask(one)
    wait_for_both(one)
    assert "unknown" in one.locator("#tuned").inner_text()


def test_markup_in_a_question_stays_text_and_no_script_runs(visit: Visit) -> None:
    page = visit()
    choose(page, 0, 1)
    ask(page, ATTACK)
    wait_for_both(page)
    page.get_by_role("tab", name="Explore").click()
    page.get_by_label("Search in questions and names").fill(ATTACK)
    page.get_by_text("No row fits").wait_for()
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == 0


def test_a_question_that_is_too_long_is_cut_with_a_message(visit: Visit) -> None:
    page = visit()
    choose(page, 0, 1)
    ask(page, "x" * 350)
    assert "its last 50 letters were cut off" in told(page)
    wait_for_both(page)


def test_questions_without_pictures_or_words_are_told_what_is_missing(visit: Visit) -> None:
    page = visit()
    ask(page, "Hello?")
    assert "Choose or upload two pictures first" in told(page)
    ask(page, "  ")
    page.get_by_text("Write a question first.").wait_for()


def test_pictures_are_blurred_until_their_box_is_ticked_by_the_keyboard(visit: Visit) -> None:
    page = visit()
    page.get_by_role("tab", name="Explore").click()
    picture, box = page.locator(".veil img").first, page.locator(".veil input").first
    picture.wait_for()
    look = "one => getComputedStyle(one).filter"
    assert "blur" in picture.evaluate(look)
    box.focus()
    page.keyboard.press("Space")
    assert picture.evaluate(look) == "none"
    assert "blur" in page.locator(".veil img").nth(1).evaluate(look)
    page.keyboard.press("Space")
    assert "blur" in picture.evaluate(look)
    page.get_by_label("Show all pictures").first.check()
    looks = [page.locator(".veil img").nth(number).evaluate(look) for number in range(5)]
    assert [one == "none" for one in looks] == [True] * 4 + [False]
    page.locator("#after").click()
    page.get_by_text("page 2 of").wait_for()
    page.wait_for_timeout(500)
    veiled = page.locator(".veil img").evaluate_all("all => all.map(one => getComputedStyle(one).filter)")
    assert len(veiled) > 4
    assert all("blur" in one for one in veiled)


def test_rows_stand_beside_their_twins_and_can_be_searched_and_paged(visit: Visit) -> None:
    page = visit()
    page.get_by_role("tab", name="Explore").click()
    first = page.locator("#rows .pair").first
    first.wait_for()
    assert first.locator("h3").all_inner_texts()[0].startswith("Dangerous row test_hard/")
    assert first.locator("h3").all_inner_texts()[1].startswith("Benign twin test_benign/")
    count = page.locator("#rows .count")
    before = count.inner_text()
    assert "page 1 of" in before
    page.locator("#after").click()
    page.get_by_text("page 2 of").wait_for()
    page.get_by_label("Search in questions and names").fill("hard/3")
    page.get_by_text("page 1 of 1").wait_for()
    assert page.locator("#rows .pair").count() == 1


def test_the_leaderboard_sorts_by_a_click_and_by_the_keyboard(visit: Visit) -> None:
    page = visit()
    page.get_by_role("tab", name="Results").click()
    models = page.locator("table.board tbody th")
    head = page.locator("table.board th[scope=col]").nth(4)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert models.all_inner_texts()[0].startswith("contrast")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert models.all_inner_texts()[0].startswith("base")
    pairs = page.locator("table.board th[scope=col]").nth(9)
    pairs.locator("button").click()
    assert models.all_inner_texts()[-1].startswith("Mantis")
    page.get_by_label("hard", exact=True).check()
    page.locator("table.board tbody tr").nth(2).wait_for(state="detached")
    assert page.locator("#plots svg[role=img]").count() == 1


def test_every_button_can_be_pressed_twice(visit: Visit) -> None:
    page = visit()
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        buttons = page.locator("button:visible:not([role=tab]):not(.settings):not([tabindex='-1'])")
        for number in range(buttons.count()):
            if "Upload" not in buttons.nth(number).inner_text():
                buttons.nth(number).click()
                buttons.nth(number).click()
    page.get_by_role("tab", name="Explore").click()
    page.locator("#rows .pair").first.wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_no_tab_has_a_serious_fault_of_access_and_all_fit_the_screen(
    visit: Visit, chromium: tuple[Any, str], tmp_path: Path, scheme: str, width: int, height: int
) -> None:
    page = visit(viewport={"width": width, "height": height}, color_scheme=scheme)
    choose(page, 0, 3)
    ask(page)
    wait_for_both(page)
    page.evaluate(chromium[1])
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        page.screenshot(path=tmp_path / f"{tab}.png", full_page=True)
        found = page.evaluate("async () => (await axe.run()).violations")
        grave = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert grave == [], tab
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab


def test_axe_finds_what_has_no_name(visit: Visit, chromium: tuple[Any, str]) -> None:
    page = visit()
    page.evaluate("document.body.append(document.createElement('button'))")
    page.evaluate(chromium[1])
    found = page.evaluate("async () => (await axe.run()).violations.map(one => one.id)")
    assert "button-name" in found


def test_ten_visitors_at_once_wait_and_all_get_their_answer(visit: Visit) -> None:
    pages = [visit() for _ in range(10)]
    for number, page in enumerate(pages):
        choose(page, number, number + 1)
    for page in pages:
        ask(page)
    for page in pages:
        wait_for_both(page)
    said = [page.locator("#base .response").inner_text() for page in pages]
    assert all(said)


def test_no_event_is_an_api_and_no_file_of_the_space_is_served(space: Space) -> None:
    with urllib.request.urlopen(f"{space.address}/gradio_api/info") as told_of:
        assert json.load(told_of) == {"named_endpoints": {}, "unnamed_endpoints": {}}
    for path in (space.folder / "demo" / "app.py", space.folder / "board.json", Path("/etc/hostname")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{space.address}/gradio_api/file={path}")
        assert refused.value.code in (403, 404)


@pytest.mark.parametrize(
    ("path", "call", "status"),
    [
        ("run/predict", {"fn_index": 4, "data": ["Hm?", None], "session_hash": "past"}, 404),
        ("queue/join", {"fn_index": 4, "data": ["Hm?"], "session_hash": "past"}, 422),
        ("queue/join", {"fn_index": 1, "data": ["leaves no trace", "", None], "session_hash": "past"}, 422),
        ("queue/join", {"fn_index": 4, "data": ["x" * 2**18, None], "session_hash": "past"}, 413),
    ],
)
def test_what_the_page_does_not_send_is_refused_and_not_logged(
    path: str, call: dict[str, object], status: int, space: Space
) -> None:
    before = (space.folder / "log").read_bytes()
    asked = urllib.request.Request(
        f"{space.address}/gradio_api/{path}", json.dumps(call).encode(), {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    assert refused.value.code == status
    assert (space.folder / "log").read_bytes() == before


def test_a_space_of_which_nothing_can_be_loaded_says_so_and_stands(
    python: Path, chromium: tuple[Any, str], tmp_path: Path
) -> None:
    nowhere = {"MIS_DATASET": str(tmp_path / "none"), "MIS_BASE": str(tmp_path / "none")}
    with serving(python, tmp_path / "space", nowhere) as address:
        page = chromium[0].new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.get_by_text("is neither a folder here nor can it be fetched").wait_for()
        page.get_by_text("so only one column is shown").wait_for()
        page.get_by_role("tab", name="Explore").click()
        page.get_by_text("cannot be read").wait_for()
        page.get_by_role("tab", name="Results").click()
        page.get_by_text("There is no leaderboard.json here").wait_for()
        page.close()
