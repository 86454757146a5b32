"""Plain questions without pictures, each with a short response: does fine-tuning cost what the model knew?

Fourteen families of everyday questions. A family is chosen by how often SmolLM2 is right on its ``choose`` half
and measured on its ``measure`` half. The bank is ``text_questions.tsv``; a line of it before and after::

    capitals    France    Paris    (columns: family, about, right and other)
    TextQuestion("text/0", "capitals", "choose", "What is the capital of France? ...", ("Paris",), ())

``|`` parts spellings that are all right. Lines of the same answer stand together, so that both halves get some of each.
"""

from __future__ import annotations

import csv
import re
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

Half = Literal["choose", "measure"]


class TextQuestion(NamedTuple):
    """One question.

    Attributes:
        id: ``text/<n>``, n from 0 on.
        family: what kind of question it is, e.g. ``"capitals"``.
        half: ``choose`` or ``measure``; each family is split evenly.
        question: ends with what form the response should have.
        expected: spellings that are right.
        rivals: words of the same kind that would be wrong, e.g. the other option of an either/or.
    """

    id: str
    family: str
    half: Half
    question: str
    expected: tuple[str, ...]
    rivals: tuple[str, ...]


_BANK = Path(__file__).with_suffix(".tsv")

_TEMPLATES: dict[str, str] = {
    "capitals": "What is the capital of {}? Answer with the name of the city.",
    "continents": "On which continent is {}? Answer with the name of the continent.",
    "languages": "What is the main language spoken in {}?",
    "symbols": "What is the chemical symbol for {}?",
    "cities": "In which country is {}? Answer with the name of the country.",
    "landmarks": "In which country is {}? Answer with the name of the country.",
    "currencies": "What is the currency of {}?",
    "made": "What is {} made from?",
    "famous": "Who {}?",
    "opposites": "What is the opposite of the word '{}'? Answer in one word.",
    "plurals": "What is the plural of {}?",
    "people": "A person who rides horses is called a rider. What is a person who {} called?",
    "bigger": "Which is bigger, {} or {}? Answer with one of the two.",
    "kind": "Is {0} {1} or {2}? Answer with one of the two.",
}
"""family -> its question; its slots are what it is about and, in some, the two options."""
_CLOSED = ("capitals", "continents", "languages", "cities", "landmarks")
"""Families in which every response of another question is wrong here."""
_SYMBOL = 2
_UNDECIDED = re.compile(r"\b(both|neither|either|or)\b", re.IGNORECASE)
_DENIAL = re.compile(r"\b(not|no|never|cannot)\b|n['’]t\b", re.IGNORECASE)
_END = re.compile(r"(?<![\s.][A-Z])[.!?](?:\s|$)|\n")  # initials such as J. R. R. end no sentence


@lru_cache(maxsize=1)
def text_questions() -> tuple[TextQuestion, ...]:
    """Makes the bank: 14 families of 44 to 240 questions, half of each family to choose by and half to measure.

    Returns:
        The same 1,464 questions at every call; halves alternate within a family.
    """
    lines = _read_bank()
    words = {
        family: {word for line in lines if line["family"] == family for word in line["right"].split("|")}
        for family in _CLOSED
    }
    drafts = [
        _option(line, right_first=number // 2 % 2 == 0)
        if line["other"]
        else _pair(line, words.get(line["family"], set()))
        for number, line in enumerate(lines)
    ]
    halves: tuple[Half, Half] = ("choose", "measure")
    return tuple(draft._replace(id=f"text/{number}", half=halves[number % 2]) for number, draft in enumerate(drafts))


@cache
def bank_sha256() -> str:
    """sha256 of all that is asked and expected: what a file of responses keeps, as it names questions by id alone."""
    return sha256(repr(text_questions()).encode()).hexdigest()


def is_right(expected: tuple[str, ...], response: str, rivals: tuple[str, ...] = ()) -> bool:
    """Marks a response by its first sentence.

    Right is a sentence that holds one of the `expected` as a whole word, upper or lower case (but in symbols such as S
    or He), unless

    - a word that denies (not, no, never, n't) stands before it;
    - a rival stands before it ("Tokyo, then Paris");
    - a rival stands behind it and the sentence leaves the choice open (both, either, neither, or).

    "An elephant is bigger than a mouse." is right for an elephant, since it is named first. What is right only
    when read backwards ("A mouse is smaller than an elephant.") or in another number ("Elephants are bigger.") is
    marked wrong, for every model alike.

    Args:
        expected: `TextQuestion.expected`.
        response: the decoded text.
        rivals: `TextQuestion.rivals`.

    Returns:
        Whether it is right; False for an empty response.
    """
    sentence = next((part for part in _END.split(response) if part.strip()), "")
    place = _first_place(expected, sentence)
    if place is None:
        return False
    before = sentence[:place]
    # "No" may itself be what is expected, so only what stands before it counts.
    if _DENIAL.search(before) or _first_place(rivals, before) is not None:
        return False
    return _first_place(rivals, sentence) is None or not _UNDECIDED.search(sentence)


def _first_place(words: tuple[str, ...], sentence: str) -> int | None:
    """Where the first of `words` begins in `sentence` as a whole word."""
    found = (_pattern(word).search(sentence) for word in words)
    return min((match.start() for match in found if match), default=None)


@cache
def _pattern(word: str) -> re.Pattern[str]:
    """`word` as a whole one; in symbols such as S the case counts, and neither "it's" nor °C holds one."""
    if len(word) <= _SYMBOL and word != word.lower():
        return re.compile(rf"(?<![\w'’°]){re.escape(word)}(?![\w'’])")
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)


def _read_bank() -> list[dict[str, str]]:
    with _BANK.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _pair(line: dict[str, str], family_words: set[str]) -> TextQuestion:
    """A question with one right answer; `family_words` are those of its family, where they are all rivals."""
    question = _TEMPLATES[line["family"]].format(line["about"])
    expected = tuple(line["right"].split("|"))
    rivals = sorted(family_words - set(expected))
    named = tuple(rival for rival in rivals if _first_place((rival,), question) is None)
    return TextQuestion("", line["family"], "choose", question, expected, named)


def _option(line: dict[str, str], right_first: bool) -> TextQuestion:
    """A question between two options, each asked in its first spelling."""
    right, other = (line[name].split("|") for name in ("right", "other"))
    options = (right[0], other[0]) if right_first else (other[0], right[0])
    subject = [line["about"]] if line["about"] else []
    question = _TEMPLATES[line["family"]].format(*subject, *options)
    return TextQuestion("", line["family"], "choose", question, tuple(map(_bare, right)), tuple(map(_bare, other)))


def _bare(option: str) -> str:
    """An option without its article."""
    return re.sub(r"^(an?|the) ", "", option)
