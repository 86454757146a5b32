"""Where the bytes of a release's pictures come from, a folder or zips, and whether they are pictures.

Nothing is extracted: a picture in a zip is read from its place there. No path leaves the release, be it by
``..``, as an absolute path, through a symlink, or as an entry of a zip.
"""

from __future__ import annotations

import io
import lzma
import stat
import struct
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, NamedTuple

from PIL import Image, ImageOps

from mis_dataset.errors import PictureError, Problem
from mis_dataset.record import Record, path_fault, shown

MAX_BYTES = 256 * 2**20
"""A picture file above this many bytes is refused unread; a zip entry may claim any size."""
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_ERRORS = (OSError, ValueError, RuntimeError, EOFError, OverflowError, struct.error, zlib.error, lzma.LZMAError)
_ZIP_ERRORS = (*_ERRORS, zipfile.BadZipFile)
UNREADABLE = (
    *_ERRORS,
    SyntaxError,  # what Pillow raises for a broken PNG header
    TypeError,
    IndexError,
    KeyError,
    MemoryError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow raises for bytes that are no intact picture."""


class _Entry(NamedTuple):
    """One file inside a zip."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo


class Stamp(NamedTuple):
    """What is known of a picture unread.

    Attributes:
        size: bytes.
        mark: differs where the bytes do: nanosecond of an inode's last change, which no reset time hides; CRC in a zip.
    """

    size: int
    mark: int


class Pictures:
    """The pictures of one release, by path; a context manager that closes the zips.

    A path is looked for in the folder first, then in the zips of the folder, in the order of their names:
    as ``images/1/object1.png`` in any zip, or as ``1/object1.png`` in ``images.zip``. Reading is safe from
    several threads.

    Attributes:
        problems: zips that cannot be opened, and zip entries that leave the release.
    """

    def __init__(self, root: Path) -> None:
        self.problems: list[Problem] = []
        self._root = root.resolve()
        self._archives: list[zipfile.ZipFile] = []
        self._entries: dict[str, _Entry] = {}
        self._alike: dict[str, str] = {}
        for path in sorted(root.glob("*.zip")):
            self._index(path)

    def __enter__(self) -> Pictures:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for archive in self._archives:
            archive.close()

    def read(self, path: str) -> bytes:
        """Reads one picture's bytes as they are in the release.

        Args:
            path: POSIX path relative to the release.

        Returns:
            All its bytes.

        Raises:
            PictureError: the path leaves the release, or nothing, nothing readable or too much lies there.
        """
        fault = path_fault(path)
        if fault:
            raise PictureError(fault)
        name = str(PurePosixPath(path))
        data = self._read_file(name)
        if data is None:
            data = self._read_entry(name)
        if not data:
            raise PictureError(f"picture {shown(path)} is an empty file; put the original file there")
        return data

    def row(self, record: Record) -> dict[str, Any]:
        """Makes the row of a record.

        Args:
            record: of the same release.

        Returns:
            All columns; `images` as ``[{"bytes": b"...", "path": "object1.png"}, ...]``: the bytes as they are in the
            release, and the bare file name.

        Raises:
            PictureError: as `read`, with the row's id.
        """
        try:
            images = [{"bytes": self.read(path), "path": PurePosixPath(path).name} for path in record.images]
        except PictureError as error:
            raise PictureError(f"{record.id}: {error}") from error
        return record.row() | {"images": images}

    def stamp(self, path: str) -> Stamp:
        """Says how large a picture is and what would change with its bytes, without reading them.

        Args:
            path: POSIX path relative to the release.

        Returns:
            Its stamp.

        Raises:
            PictureError: as `read`, for what can be told unread.
        """
        fault = path_fault(path)
        if fault:
            raise PictureError(fault)
        name = str(PurePosixPath(path))
        with self._told(name):
            target = self._file(name)
            if target is not None:
                held = target.stat()
                return Stamp(held.st_size, held.st_ctime_ns)
        entry = self._entry(name)
        return Stamp(entry.info.file_size, entry.info.CRC)

    def _read_file(self, name: str) -> bytes | None:
        """Bytes of a file in the folder; None where there is none."""
        with self._told(name):
            target = self._file(name)
            return target.read_bytes() if target is not None else None

    def _file(self, name: str) -> Path | None:
        """The file in the folder that a path means; None where there is none."""
        target = (self._root / name).resolve()
        if not target.is_file():
            return None
        if not target.is_relative_to(self._root):
            raise PictureError(f"picture {shown(name)} is a link that leaves the release; copy the file")
        _refuse_huge(name, target.stat().st_size)
        return target

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Tells what the system says of a file as a fault of that picture."""
        try:
            yield
        except OSError as error:
            raise PictureError(f"picture {shown(name)} cannot be read: {error.strerror}") from error
        except RuntimeError as error:  # how Python 3.11 reports a loop of symlinks
            raise PictureError(f"picture {shown(name)} is a loop of links; copy the file") from error

    def _entry(self, name: str) -> _Entry:
        """The zip entry that a path means."""
        entry = self._entries.get(name)
        if entry is None:
            like = self._alike.get(fold(name)) or _alike_on_disk(self._root, name)
            hint = f"; is {shown(like)} meant?" if like else ""
            raise PictureError(f"picture {shown(name)} is missing, in the folder and in its zips{hint}")
        _refuse_huge(name, entry.info.file_size)
        return entry

    def _read_entry(self, name: str) -> bytes:
        """Bytes of a zip entry."""
        entry = self._entry(name)
        archive = Path(entry.archive.filename or "").name
        try:
            with entry.archive.open(entry.info) as file:
                # One more than it says: a small entry may unpack to any size.
                held = file.read(entry.info.file_size + 1)
        except _ZIP_ERRORS as error:
            raise PictureError(f"picture {shown(name)} cannot be unpacked from {archive}: {error}") from error
        if len(held) != entry.info.file_size:
            raise PictureError(f"picture {shown(name)} in {archive} has not the size that is said of it; pack it anew")
        return held

    def _index(self, path: Path) -> None:
        """Opens a zip and notes its entries; what was noted first stays."""
        if not path.is_file():
            self.problems.append(Problem(path.name, None, "is no file; remove it"))
            return
        if not path.resolve().is_relative_to(self._root):
            self.problems.append(Problem(path.name, None, "is a link that leaves the release; copy the file"))
            return
        try:
            archive = zipfile.ZipFile(path)
        except _ZIP_ERRORS as error:
            self.problems.append(Problem(path.name, None, f"cannot be opened as a zip: {error}"))
            return
        self._archives.append(archive)
        files = [info for info in archive.infolist() if not info.is_dir()]
        self.problems += [Problem(path.name, None, fault) for fault in _entry_faults(files)]
        for prefix in ("", f"{path.stem}/"):
            for info in files:
                self._entries.setdefault(prefix + info.filename, _Entry(archive, info))
                self._alike.setdefault(fold(prefix + info.filename), prefix + info.filename)


def fold(name: str) -> str:
    """What names have in common that a file system may take for one: letter case and Unicode form do not count.

    >>> fold("Images/Café.PNG") == fold("images/cafe\N{COMBINING ACUTE ACCENT}.png")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def header_fault(encoded: bytes) -> str | None:
    """Says why bytes do not begin like a picture, or None; cheap, the pixels are not decoded.

    Call it inside `strict_pillow`.

    Args:
        encoded: a picture file.

    Returns:
        None where Pillow knows format and size.
    """
    try:
        with open_picture(encoded):
            return None
    except UNREADABLE as error:
        return _broken(error)


def open_picture(encoded: bytes) -> Image.Image:
    """Opens a picture in one of the formats that a release may have, and no other.

    Args:
        encoded: a picture file.

    Returns:
        The picture, not decoded yet; a context manager.

    Raises:
        OSError: and others, see `UNREADABLE`; so do the methods of the picture.
    """
    return Image.open(io.BytesIO(encoded), formats=_FORMATS)


class Decoded(NamedTuple):
    """What decoding showed.

    Attributes:
        fault: why the bytes are not one whole still picture, or None.
        remarks: what is unusual of an intact one: it loads, but not everywhere as meant.
    """

    fault: str | None
    remarks: tuple[str, ...] = ()


def decode(encoded: bytes, suffix: str) -> Decoded:
    """Decodes every pixel and tests checksums.

    Call it inside `strict_pillow`.

    Args:
        encoded: a picture file.
        suffix: of its name, e.g. ``".png"``.

    Returns:
        Its faults and remarks.
    """
    try:
        with open_picture(encoded) as picture:
            picture.verify()  # leaves the picture unusable: hence opened twice
        with open_picture(encoded) as picture:
            # An MPO is a JPEG of a phone with a second one behind it, which no reader shows.
            if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
                return Decoded("is animated; put a still picture there")
            picture.load()
            return Decoded(None, tuple(_remarks(picture, suffix)))
    except UNREADABLE as error:
        return Decoded(_broken(error))


def _remarks(picture: Image.Image, suffix: str) -> list[str]:
    remarks = []
    meant = Image.registered_extensions().get(suffix.lower())
    if meant != picture.format:
        remarks.append(f"pictures are {picture.format} under a name in {shown(suffix)}")
    if picture.mode == "CMYK":
        remarks.append("pictures are in CMYK, which models read as other colours")
    return remarks


def shrink(encoded: bytes, side: int, quick: bool = False) -> bytes:
    """Makes a picture smaller, in its own format; one that is small enough stays as it is, byte for byte.

    Args:
        encoded: a picture file.
        side: pixels that the longer side shall have at most.
        quick: whether a PNG is compressed with little effort: the same pixels in more bytes.

    Returns:
        A picture file.

    Raises:
        PictureError: it cannot be decoded.
    """
    try:
        with open_picture(encoded) as picture:
            if max(picture.size) <= side:
                return encoded
            # `datasets` turns a picture as its EXIF says; saved anew it has none. Palettes and bits cannot be averaged.
            turned = ImageOps.exif_transpose(picture)
            plain = turned.convert({"P": "RGBA", "PA": "RGBA", "1": "L"}.get(turned.mode, turned.mode))
            plain.thumbnail((side, side), Image.Resampling.LANCZOS)
            stream = io.BytesIO()
            plain.save(stream, picture.format, quality=90, **({"compress_level": 1} if quick else {}))
            return stream.getvalue()
    except UNREADABLE as error:
        raise PictureError(_broken(error)) from error


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Makes Pillow's warning about huge pictures an error. Process-wide: enter it outside of any threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _broken(error: BaseException) -> str:
    # Pillow's own text for unknown bytes names a BytesIO object: of no use to a reader.
    reason = "format unknown" if "cannot identify" in str(error) else str(error) or type(error).__name__
    return f"is not an intact picture ({reason}); put the original file there"


def _refuse_huge(name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise PictureError(f"picture {shown(name)} has {size} bytes, more than {MAX_BYTES}")


def _alike_on_disk(root: Path, name: str) -> str | None:
    """The file of a folder whose path is that name but for letter case or Unicode form."""
    place = root
    for part in PurePosixPath(name).parts:
        try:
            alike = sorted(path for path in place.iterdir() if fold(path.name) == fold(part))
        except OSError:
            return None
        if not alike:
            return None
        place = alike[0]
    return place.relative_to(root).as_posix() if place.is_file() else None


def _entry_faults(files: list[zipfile.ZipInfo]) -> list[str]:
    faults = []
    seen: dict[str, str] = {}
    for info in files:
        # ZipInfo cuts a name at NUL; the name as stored is judged.
        fault = path_fault(info.orig_filename)
        other = seen.get(fold(info.filename))
        if fault:
            faults.append(f"entry: {fault}")
        elif stat.S_ISLNK(info.external_attr >> 16):
            faults.append(f"entry {shown(info.filename)} is a symlink; pack the file itself")
        elif other == info.filename:
            faults.append(f"entry {shown(info.filename)} occurs twice")
        elif other is not None:
            both = f"{shown(info.filename)} and {shown(other)}"
            faults.append(f"entries {both} are one file where letter case or Unicode form is lost; rename one")
        seen.setdefault(fold(info.filename), info.filename)
    return faults
