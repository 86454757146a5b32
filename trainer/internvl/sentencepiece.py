r"""A SentencePiece ``tokenizer.model`` -> the same tokenizer of `tokenizers`, for InternLM2.

The file is a protocol buffer, of which four messages and ten fields matter, so it is read here and neither
`sentencepiece` nor `protobuf` is needed to convert a model; the tests hold what comes out against SentencePiece.

Source: src/sentencepiece_model.proto of google/sentencepiece; src/bpe_model.cc for which pieces are merged.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers
from tokenizers.models import BPE

from trainer.internvl.layout import ConvertError

_BPE = 2
"""`TrainerSpec.model_type`; 1 is unigram, 3 words, 4 letters."""
_NORMAL, _USER_DEFINED = 1, 4
_SPACE = "\u2581"
_ALL = 2**31


class Pieces(NamedTuple):
    """A SentencePiece model.

    Attributes:
        pieces: by id: text, score and type.
        unknown: the piece for what has none.
        bytes_for_unknown: whether such letters become their bytes.
        charsmap: a table that text is normalised by; empty: as it is.
        prefix: whether a text begins with a space of its own.
        squeeze: whether spaces at the ends go, and of several in a row one stays.
    """

    pieces: list[tuple[str, float, int]]
    unknown: str
    bytes_for_unknown: bool
    charsmap: bytes
    prefix: bool
    squeeze: bool


def read_pieces(path: Path) -> Pieces:
    """Reads a ``tokenizer.model``.

    Raises:
        ConvertError: It is none, is cut off, or is not byte-pair encoding.
    """
    try:
        model = list(_fields(path.read_bytes()))
        trainer, normalizer = (_last(dict(model).get(number, b"")) for number in (2, 3))
        pieces = [_piece(value) for number, value in model if number == 1 and isinstance(value, bytes)]
        unknown, charsmap = trainer.get(45, b"<unk>"), normalizer.get(2, b"")
        if not isinstance(unknown, bytes) or not isinstance(charsmap, bytes) or not pieces:
            raise ValueError("no pieces")
        read = Pieces(
            pieces=pieces,
            unknown=unknown.decode(),
            bytes_for_unknown=bool(trainer.get(35, 0)),
            charsmap=charsmap,
            prefix=bool(normalizer.get(3, 1)),
            squeeze=bool(normalizer.get(4, 1)),
        )
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise ConvertError(f"{path}: is no SentencePiece model ({error}); fetch it again") from error
    if trainer.get(3, 1) != _BPE or not normalizer.get(5, 1) or trainer.get(24, 0):
        raise ConvertError(f"{path}: is no byte-pair encoding with spaces before words, as that of InternLM2")
    return read


def make_tokenizer(read: Pieces, added: Mapping[int, AddedToken]) -> Tokenizer:
    """The same tokenizer, with the same ids.

    Two texts are cut otherwise than by SentencePiece: where `read` has a prefix or squeezes spaces, as InternLM2's does
    not, what follows a user-defined piece begins anew; and the name that an added token had before is plain text, where
    SentencePiece would let a question write ``<|im_start|>`` by its old name.

    Args:
        read: the SentencePiece model.
        added: id -> a token that is found whole in a text, in place of the piece of that id or behind all pieces.

    Raises:
        ConvertError: An added token would get another id.
    """
    from transformers.tokenization_utils_base import generate_merges

    names = {id_: added[id_].content if id_ in added else text for id_, (text, _, _) in enumerate(read.pieces)}
    vocabulary = {text: id_ for id_, text in names.items()}
    # Only these are ever merged; a byte, or a name in angle brackets, that stands in a text is plain letters.
    merged = {
        text: score for id_, (text, score, kind) in enumerate(read.pieces) if kind == _NORMAL and id_ not in added
    }
    apart = set(vocabulary) - set(merged)
    tokenizer = Tokenizer(
        BPE(
            vocabulary,
            generate_merges(vocabulary, merged, skip_tokens=apart),
            unk_token=read.unknown,
            fuse_unk=True,
            byte_fallback=read.bytes_for_unknown,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(_normalizers(read))
    spaces = _ALL if read.squeeze else int(read.prefix)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", spaces, 0)]
    )
    own = {
        id_: AddedToken(text, normalized=False, special=False)
        for id_, (text, _, kind) in enumerate(read.pieces)
        if kind == _USER_DEFINED
    }
    for id_, token in sorted({**own, **added}.items()):
        tokenizer.add_special_tokens([token]) if token.special else tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != id_:
            raise ConvertError(f"added token {token.content!r} cannot have the id {id_}; ids must follow one another")
    return tokenizer


def _normalizers(read: Pieces) -> list[Any]:
    """What SentencePiece does to a text before it looks for pieces, in its order."""
    first = [normalizers.Precompiled(read.charsmap)] if read.charsmap else []
    squeezed = [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")] if read.squeeze else []
    prefix = [normalizers.Prepend(_SPACE)] if read.prefix else []
    return [*first, *squeezed, *prefix, normalizers.Replace(" ", _SPACE)]


def _piece(message: bytes) -> tuple[str, float, int]:
    fields = dict(_fields(message))
    text, score, kind = fields.get(1, b""), fields.get(2, b"\0\0\0\0"), fields.get(3, _NORMAL)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
        raise ValueError("a piece is none")
    return text.decode(), struct.unpack("<f", score)[0], kind


def _last(message: int | bytes) -> dict[int, int | bytes]:
    if not isinstance(message, bytes):
        raise ValueError("a number where a message is expected")
    return dict(_fields(message))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field of a protocol buffer: a number, or the bytes of all else.

    Raises:
        ValueError: It is none, or cut off.
        IndexError: It is cut off within a number.
    """
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _number(message, place)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, place = _number(message, place)
        if size is None or place + size > len(message):
            raise ValueError(f"cut off, or no protocol buffer, at byte {place}")
        yield key >> 3, message[place : place + size]
        place += size


def _number(message: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    number = shift = 0
    while True:
        byte = message[place]
        number |= (byte & 127) << shift
        shift += 7
        place += 1
        if byte < 128:
            return number, place
        if shift > 63:
            raise ValueError(f"no number at byte {place}")
