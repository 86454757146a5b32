"""Pictures of the things of a labelled response: the same every time, and every thing of the gold set has one."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from trainer.drawn import draw_pair
from trainer.labelled import read_gold

GOLD = Path(__file__).parent / "fixtures" / "gold_responses.jsonl"


def size(encoded: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(encoded)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        return picture.size


def test_pictures_hang_on_the_things_their_order_and_the_id_alone() -> None:
    one = draw_pair("gold/0", ("candle", "newspaper"))
    assert one == draw_pair("gold/0", ("candle", "newspaper"))
    others = [
        draw_pair("gold/1", ("candle", "newspaper")),
        draw_pair("gold/0", ("newspaper", "candle")),
        draw_pair("gold/0", ("candle", "candle")),
    ]
    assert len({one, *others}) == 4
    assert others[2][0] == one[0]
    assert others[2][1] != one[0]


def test_what_has_no_pictogram_is_written_on_its_picture() -> None:
    written, drawn = draw_pair("gold/1", ("jerrycan", "campfire"))
    assert (size(written), size(drawn)) == ((256, 64), (64, 64))
    assert draw_pair("gold/1", ("tray", "campfire"))[0] != written


def test_most_things_of_the_gold_set_are_drawn_and_few_written() -> None:
    pairs = {one.things for one in read_gold(GOLD) if one.things}
    written = {name for pair in pairs for name in pair if size(draw_pair("x/0", (name, name))[0]) == (256, 64)}
    assert written == {
        *("curtain", "haystack", "heater", "iron", "jerrycan", "match", "nail", "power line", "socket", "tray"),
    }
