"""Plain English cut into clauses, as far as a rule judge needs it: no grammar, only word lists and order."""

from __future__ import annotations

import re
from typing import NamedTuple

VERBS = frozenset(
    """add adjust aim apply arrange assemble attach balance bake bend blow bring build burn buy carry
    charge clean clear climb close collect combine connect cook cool cover cut dip disconnect
    display drag drink drive drop dry eat empty enjoy enter fasten feed fill find fit fix fly fold
    follow gather get give glue go grab grip hammer hang heat hide hit hold ignite insert install
    join knock lay lean leave lift light line listen load lock loosen lower make mix mount move open
    pack paint park peek photograph pick place plan play plug point position pour prepare press pull
    pump push put raise read record remove repair replace ride roll rub run saw screw secure serve
    set share shine sit slide spread sprinkle squeeze stack stand start step stick stir strap strike
    swing take tap tape throw tie tighten tilt toast toss touch transport tune turn twist unlock
    unplug use visit walk warm wash watch wear wipe wrap write""".split()
)
"""Verbs that begin a step of doing something. Verbs of care (keep, avoid, wait, call, check) are not here."""

CONCLUDES = ("so", "therefore", "thus", "hence", "consequently", "overall", "in short", "all in all")
TURNS = ("but", "however", "yet", "still", "although", "though", "nevertheless", "on the other hand")
CONDITIONS = (
    "if",
    "unless",
    "when",
    "whenever",
    "while",
    "before",
    "after",
    "as long as",
    "provided",
    "once",
)
_FILLERS = """please then next now first second third finally lastly also just simply always and or yes sure
    ok okay well here carefully gently slowly safely afterwards only that""".split()

_EXPANSIONS = {
    r"\bcan't\b|\bcannot\b": "can not",
    r"\bwon't\b": "will not",
    r"\bshan't\b": "shall not",
    r"n't\b": " not",
    r"'re\b": " are",
    r"'ll\b": " will",
    r"'ve\b": " have",
    r"'d\b": " would",
    r"\bi'm\b": "i am",
    r"\b(it|that|there|here|what|he|she|let)'s\b": r"\1 is",
}
_LINKS = r"but|however|so|therefore|thus|because|since|as it|as they|as this|as that|although|though|while"
_SUBJECTS = r"you|i|we|it|this|that|they|there|do not|never|please|keep|stay|avoid|call|ask|then"

SYNONYMS = {
    "newspaper": "paper",
    "car": "automobile",
    "motorcycle": "motorbike",
    "phone": "telephone smartphone cellphone mobile",
    "bulb": "lightbulb",
    "teddy": "bear",
    "plane": "airplane aeroplane aircraft",
    "purse": "handbag",
    "log": "wood firewood",
    "swords": "sword",
    "pick": "pickaxe",
    "sake": "saki",
    "bow": "arrow",
    "bicycle": "bike",
}
"""Thing -> words by which it may be called as well."""


class Clause(NamedTuple):
    """A piece of a response that can carry a decision.

    Attributes:
        text: Lower case, contractions written out, no punctuation but hyphens.
        sentence: Number of its sentence, from 0.
        concludes: It begins with "so", "therefore" and the like.
        turns: It begins with "but", "however" and the like.
        condition: It begins with "if", "when" and the like, and so decides nothing.
        asks: Its sentence ends with a question mark.
    """

    text: str
    sentence: int
    concludes: bool = False
    turns: bool = False
    condition: bool = False
    asks: bool = False


def clauses(response: str) -> list[Clause]:
    """Cut a response into clauses: at punctuation, at "but" or "so", at "and" before a new verb.

    >>> [clause.text for clause in clauses("Sure, put it down and don't touch it. So yes!")]
    ['sure', 'put it down', 'do not touch it', 'yes']
    """
    sentences = re.findall(r"[^.!?\n]+[.!?\n]*", re.sub(r"(?<=\d)[.)](?=\s)", " ", plain(response)))
    verbs = "|".join(sorted(VERBS))
    cut = re.compile(rf"[,;:()\"]|\s-+\s|\s(?=(?:{_LINKS})\b)|\band (?=(?:{verbs}|{_SUBJECTS}|{_LINKS})\b)")
    found = []
    for number, sentence in enumerate(sentences):
        pieces = [re.sub(r"[^a-z0-9' -]", " ", piece).strip(" '-") for piece in cut.split(sentence)]
        marks: set[str] = set()
        for piece in pieces:
            words, marks = _peel(" ".join(piece.split()), marks)
            if words:
                kinds = ("concludes" in marks, "turns" in marks, "condition" in marks)
                found.append(Clause(words, number, *kinds, asks="?" in sentence))
                marks = set()
    return found


def plain(text: str) -> str:
    """Lower case, straight apostrophes, contractions written out.

    >>> plain("It’s fine, I can't see it")
    'it is fine, i can not see it'
    """
    text = text.lower().replace("’", "'").replace("—", ", ").replace("–", ", ")
    for pattern, replacement in _EXPANSIONS.items():
        text = re.sub(pattern, replacement, text)
    return text


def begins_with_verb(clause: str, more: frozenset[str] = frozenset()) -> bool:
    """Whether a clause is an order, such as "then put it on the table"; `more` are verbs beside `VERBS`.

    >>> begins_with_verb("then carefully put it on the table"), begins_with_verb("the lamp is on")
    (True, False)
    """
    words = clause.split()
    while words and (words[0] in _FILLERS or re.fullmatch(r"\d+|step|[a-z]+ly", words[0])):
        words = words[1:]
    return bool(words) and words[0] in VERBS | more and words[1:2] not in (["is"], ["are"], ["can"], ["of"])


def names(thing: str, response: str) -> bool:
    """Whether a response names a thing: as a whole word, in the plural, or by a simple synonym.

    >>> names("candle", "Two candles"), names("car", "an automobile"), names("car", "a carpet")
    (True, True, False)
    """
    spoken = set(re.findall(r"[a-z]+", response.lower()))
    words = [thing.lower().split()] + [[word] for word in SYNONYMS.get(thing.lower(), "").split()]
    return any(all(_forms(word) & spoken for word in phrase) for phrase in words)


def _forms(word: str) -> set[str]:
    forms = {word, word + "s", word + "es"}
    if word.endswith("y"):
        forms.add(word[:-1] + "ies")
    if word.endswith(("f", "fe")):
        forms.add(word.rstrip("e")[:-1] + "ves")
    if word.endswith("s") and len(word) > 3:
        forms |= {word[:-1], word[:-2]}
    return forms


def _peel(piece: str, marks: set[str]) -> tuple[str, set[str]]:
    """Take linking words off the front; what they say goes with the clause, or with the next."""
    marks = set(marks)
    kinds = {"concludes": CONCLUDES, "turns": TURNS, "condition": CONDITIONS}
    again = True
    while again:
        again = False
        for kind, words in kinds.items():
            for word in words:
                if piece == word or piece.startswith(word + " "):
                    marks.add(kind)
                    piece, again = piece[len(word) :].strip(), True
        for word in ("and", "because", "since", "as", "or"):
            if piece == word or piece.startswith(word + " "):
                piece, again = piece[len(word) :].strip(), True
    return piece, marks
