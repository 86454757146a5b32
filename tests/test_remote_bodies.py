"""Bodies of requests: each picture encoded once, within bounds of memory."""

from __future__ import annotations

import base64
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from mis_dataset.errors import PictureError
from mis_dataset.remote.bodies import DataUrls, prepare
from mis_dataset.remote.messages import Request
from mis_dataset.remote.settings import Settings
from tests.made_release import png


def encoded(kind: str, side: int = 8) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side)).save(stream, kind)
    return stream.getvalue()


def url(urls: DataUrls, picture: bytes) -> bytes:
    return urls.get(hashlib.sha256(picture).hexdigest(), picture).result()


def test_a_picture_is_encoded_once_whoever_asks_and_another_anew() -> None:
    urls = DataUrls(None)
    picture = png(1)
    assert url(urls, picture) == b"data:image/png;base64," + base64.b64encode(picture)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: url(urls, picture), range(200))) == {url(urls, picture)}
    assert urls.made == 1
    url(urls, png(2))
    assert urls.made == 2
    urls.close()


def test_no_more_than_so_many_bytes_are_kept_those_used_last() -> None:
    pictures = [png(colour) for colour in range(4)]
    length = len(url(DataUrls(None), pictures[0]))
    urls = DataUrls(None, most=2 * length + length // 2)
    for place in (0, 1, 0, 2):  # 2 drives out 1
        url(urls, pictures[place])
    assert urls.made == 3
    url(urls, pictures[0])
    assert urls.made == 3
    url(urls, pictures[1])
    assert urls.made == 4
    urls.close()


def test_a_picture_larger_than_all_that_is_kept_is_encoded_all_the_same() -> None:
    urls = DataUrls(None, most=10)
    assert url(urls, png(1)) == url(urls, png(1))
    assert urls.made == 2
    urls.close()


@pytest.mark.parametrize(
    ("kind", "mime"),
    [("PNG", b"image/png"), ("JPEG", b"image/jpeg"), ("WEBP", b"image/webp"), ("GIF", b"image/gif")],
)
def test_the_type_is_found_from_the_bytes_made_smaller_or_not(kind: str, mime: bytes) -> None:
    for side, expected in ((None, 64), (16, 16)):
        urls = DataUrls(side)
        head, _, body = url(urls, encoded(kind, 64)).partition(b";base64,")
        assert head == b"data:" + mime
        assert Image.open(io.BytesIO(base64.b64decode(body))).size == (expected, expected)
        urls.close()


@pytest.mark.parametrize("side", [None, 4])
@pytest.mark.parametrize("picture", [b"", b"GIF89a", b"<svg/>", png(1)[:40], encoded("TIFF"), encoded("BMP")])
def test_what_is_no_picture_of_a_kind_that_can_be_sent_is_refused_and_not_kept(
    picture: bytes, side: int | None
) -> None:
    urls = DataUrls(side)
    for _ in range(2):
        with pytest.raises(PictureError, match=r"is not an intact picture|endpoints take PNG, JPEG, WEBP and GIF"):
            url(urls, picture)
    assert urls.made == 2
    urls.close()


def test_the_key_of_a_request_is_pinned() -> None:
    # Whoever changes it makes everybody pay for all replies again.
    asked = prepare(Request("a/1", ("x", b"picture"), "s"), Settings("a-model", "1-a"))
    assert asked.hashes == ("2cea274d0bedc39ec4ab6ba9e59ec889e3ed6fb56a1cf088a64d9b383378dc97",)
    assert asked.key == "d5ff75c65b0c89650a99cd8014591a8ef865f92281e5cec8604427ebf33cf70a"
    assert prepare(Request("a/2", ("x", b"picture"), "s"), Settings("a-model", "1-a")).key == asked.key
