"""Bytes of pictures from folder and zips; broken and dangerous ones."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from mis_dataset.decoding import decode, header_fault, shrink, strict_pillow
from mis_dataset.errors import PictureError
from mis_dataset.pictures import MAX_BYTES, Pictures, Stamp
from tests.made_release import png

NOISE = Image.effect_noise((64, 64), 80)


def encoded(kind: str, picture: Image.Image = NOISE) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def zipped(root: Path, entries: dict[str, bytes], name: str = "images.zip") -> None:
    with zipfile.ZipFile(root / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, held in entries.items():
            archive.writestr(entry, held)


def read_fault(root: Path, path: str) -> str:
    with Pictures(root) as pictures, pytest.raises(PictureError) as caught:
        pictures.read(path)
    return str(caught.value)


def test_bytes_come_as_they_are_from_folder_and_zip(tmp_path: Path) -> None:
    (tmp_path / "images" / "1").mkdir(parents=True)
    (tmp_path / "images" / "1" / "object1.png").write_bytes(b"from the folder")
    zipped(tmp_path, {"images/1/object2.png": b"from the zip", "images/1/object1.png": b"not this"})
    zipped(tmp_path, {"1/object1.png": b"without its folder"}, "easy_image.zip")
    with Pictures(tmp_path) as pictures:
        assert pictures.problems == []
        assert pictures.read("images/1/object1.png") == b"from the folder"
        assert pictures.read("./images//1/object2.png") == b"from the zip"
        assert pictures.read("easy_image/1/object1.png") == b"without its folder"


def test_a_missing_or_empty_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert read_fault(tmp_path, "b.png") == "picture 'b.png' is missing, in the folder and in its zips"
    assert read_fault(tmp_path, "a.png").startswith("picture 'a.png' is an empty file")
    assert "cannot be read: File name too long" in read_fault(tmp_path, "x" * 300)


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    assert "is missing" in read_fault(tmp_path, "a.png")


def test_a_link_out_of_the_release_is_refused_and_one_inside_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(b"outside")
    (root / "inside.png").write_bytes(b"inside")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "in.png").symlink_to("inside.png")
    (root / "loop.png").symlink_to("loop.png")
    (root / "up").symlink_to(tmp_path)
    assert "is a link that leaves the release" in read_fault(root, "out.png")
    assert "is a link that leaves the release" in read_fault(root, "up/secret.png")
    assert "leaves the release" in read_fault(root, "../secret.png")
    assert "loop" in read_fault(root, "loop.png")
    with Pictures(root) as pictures:
        assert pictures.read("in.png") == b"inside"


def test_zip_entries_that_leave_the_release_are_problems(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("images/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr(link, "/etc/hostname")
        for name in ("../up.png", "/top.png", "C:/disk.png", "images/fine.png"):
            archive.writestr(name, b"x")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("images/fine.png", b"y")
    with Pictures(tmp_path) as pictures:
        assert [problem.text.split(";")[0] for problem in pictures.problems] == [
            "entry 'images/link.png' is a symlink",
            "entry: path '../up.png' leaves the release",
            "entry: path '/top.png' leaves the release",
            "entry: path 'C:/disk.png' holds a colon, a backslash or a control character",
            "entry 'images/fine.png' occurs twice",
        ]


def test_a_zip_that_is_none_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"PK not really")
    with Pictures(tmp_path) as pictures:
        assert str(pictures.problems[0]).startswith("images.zip: cannot be opened as a zip: ")


def test_a_zip_entry_with_wrong_bytes_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("images/1.png", b"SECRETPIXELS")
    broken = (tmp_path / "images.zip").read_bytes().replace(b"SECRETPIXELS", b"secretpixels")
    (tmp_path / "images.zip").write_bytes(broken)
    fault = read_fault(tmp_path, "images/1.png")
    assert fault.startswith("picture 'images/1.png' cannot be unpacked from images.zip: Bad CRC-32")


def test_a_broken_entry_of_any_packing_is_named(tmp_path: Path) -> None:
    for kind in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "images.zip", "w", kind) as archive:
            archive.writestr("images/1.png", encoded("PNG"))
        packed = bytearray((tmp_path / "images.zip").read_bytes())
        packed[200:260] = bytes(60)
        (tmp_path / "images.zip").write_bytes(packed)
        assert read_fault(tmp_path, "images/1.png").startswith(
            "picture 'images/1.png' cannot be unpacked from images.zip"
        )


def test_a_huge_picture_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole: takes no space
    assert read_fault(tmp_path, "a.png").startswith("picture 'a.png' has 67108865 bytes, more than")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_whole_pictures_have_no_fault(kind: str) -> None:
    with strict_pillow():
        assert header_fault(encoded(kind)) is None
        assert decode(encoded(kind), f".{kind.lower()}") == (None, ())


@pytest.mark.parametrize(
    "broken",
    [
        encoded("PNG")[:-400],
        encoded("PNG")[:40],
        encoded("JPEG")[:-300],
        encoded("PNG").replace(b"IDAT", b"IDAX"),
        encoded("PNG")[:200] + b"\xff" + encoded("PNG")[201:],
    ],
    ids=["cut", "header only", "cut jpeg", "no pixels", "one byte"],
)
def test_a_broken_picture_is_found_by_decoding(broken: bytes) -> None:
    with strict_pillow():
        assert "is not an intact picture" in str(decode(broken, ".png").fault)


@pytest.mark.parametrize("other", [b"hello", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
def test_what_is_no_picture_is_found_by_its_header(other: bytes) -> None:
    assert "is not an intact picture" in str(header_fault(other))
    assert "is not an intact picture" in str(decode(other, ".png").fault)


def test_an_animation_is_refused() -> None:
    stream = io.BytesIO()
    frames = [Image.new("L", (4, 4), grey) for grey in (0, 90)]
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    assert decode(stream.getvalue(), ".png").fault == "is animated; put a still picture there"


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk + png(1)[33:]
    with strict_pillow():
        assert "decompression bomb" in str(header_fault(bomb))
        assert "decompression bomb" in str(decode(bomb, ".png").fault)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert header_fault(bomb) is None


def test_a_wrong_suffix_and_cmyk_are_remarks() -> None:
    cmyk = encoded("JPEG", NOISE.convert("CMYK"))
    assert decode(cmyk, ".PNG") == (
        None,
        ("pictures are JPEG under a name in '.PNG'", "pictures are in CMYK, which models read as other colours"),
    )
    assert decode(encoded("JPEG"), ".jpg").remarks == ()


def test_a_stamp_tells_size_and_change_unread(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    zipped(tmp_path, {"b.png": b"123"})
    with Pictures(tmp_path) as pictures:
        first = pictures.stamp("a.png")
        assert first == Stamp(5, (tmp_path / "a.png").stat().st_ctime_ns)
        times = (tmp_path / "a.png").stat()
        (tmp_path / "a.png").write_bytes(b"54321")
        os.utime(tmp_path / "a.png", ns=(times.st_atime_ns, times.st_mtime_ns))
        assert pictures.stamp("a.png") != first  # though size and time of the bytes are as before
        assert pictures.stamp("b.png") == Stamp(3, zlib.crc32(b"123"))
        with pytest.raises(PictureError, match="is missing"):
            pictures.stamp("c.png")
        with pytest.raises(PictureError, match="leaves the release"):
            pictures.stamp("../c.png")


def test_a_picture_that_is_there_under_another_case_or_unicode_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "1.PNG").write_bytes(b"x")
    zipped(tmp_path, {"cafe\N{COMBINING ACUTE ACCENT}.png": b"x"})
    assert read_fault(tmp_path, "images/1.png").endswith("; is 'Images/1.PNG' meant?")
    assert read_fault(tmp_path, "caf\N{LATIN SMALL LETTER E WITH ACUTE}.png").endswith("meant?")


def test_zip_entries_that_some_file_systems_take_for_one_are_a_problem(tmp_path: Path) -> None:
    zipped(tmp_path, {"images/A.png": b"x", "images/a.png": b"y"})
    with Pictures(tmp_path) as pictures:
        (problem,) = pictures.problems
    assert str(problem) == (
        "images.zip: entries 'images/a.png' and 'images/A.png' are one file where letter case or Unicode form is lost; "
        "rename one"
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_smaller_picture_keeps_its_format_and_shape_and_a_small_one_its_bytes(kind: str) -> None:
    wide = encoded(kind, NOISE.resize((80, 40)))
    with Image.open(io.BytesIO(shrink(wide, 20))) as smaller:
        assert (smaller.format, smaller.size) == (kind, (20, 10))
    assert shrink(wide, 80) == wide


def test_less_effort_gives_the_same_pixels_in_more_bytes() -> None:
    wide = encoded("PNG", Image.linear_gradient("L").resize((400, 400)))
    good, quick = shrink(wide, 200), shrink(wide, 200, quick=True)
    with Image.open(io.BytesIO(good)) as one, Image.open(io.BytesIO(quick)) as two:
        assert one.tobytes() == two.tobytes()
    assert len(good) < len(quick)


def test_a_picture_that_its_exif_turns_is_turned_before_it_is_made_smaller() -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    NOISE.convert("RGB").resize((80, 40)).save(stream, "JPEG", exif=exif)
    with Image.open(io.BytesIO(shrink(stream.getvalue(), 20))) as smaller:
        assert smaller.size == (10, 20)


def test_a_picture_of_sixteen_bits_is_made_smaller() -> None:
    with Image.open(io.BytesIO(shrink(encoded("PNG", NOISE.convert("L").convert("I;16")), 16))) as smaller:
        assert max(smaller.size) == 16


def test_a_picture_of_too_many_pixels_is_refused_undecoded() -> None:
    flat = encoded("PNG", Image.new("1", (8_000, 5_001)))
    with strict_pillow():
        assert "exceeds limit" in str(decode(flat, ".png").fault)
    assert Image.MAX_IMAGE_PIXELS == 89478485


def test_a_zip_entry_that_holds_more_than_it_says_is_refused(tmp_path: Path) -> None:
    zipped(tmp_path, {"a.png": b"x" * 100_000})
    held = (tmp_path / "images.zip").read_bytes()
    (tmp_path / "images.zip").write_bytes(held.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    fault = read_fault(tmp_path, "a.png")
    assert "has not the size that is said of it" in fault or "cannot be unpacked" in fault


def test_a_palette_is_made_smaller_and_a_broken_picture_is_an_error() -> None:
    with Image.open(io.BytesIO(shrink(encoded("PNG", NOISE.convert("P")), 16))) as smaller:
        assert smaller.size == (16, 16)
    with pytest.raises(PictureError, match="is not an intact picture"):
        shrink(encoded("PNG")[:-400], 16)
