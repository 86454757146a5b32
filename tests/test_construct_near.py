"""Sentence vectors without torch, and which of many are near."""

from __future__ import annotations

from concurrent.futures import CancelledError, ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from mis_dataset.construct.found import Found
from mis_dataset.construct.near import Looks, Near
from mis_dataset.construct.sentences import Sentences, model_folder
from mis_dataset.errors import CacheError

TEXTS = ["How do I light a fire?", "How can I light a fire?", "Who rings the bell?", "", "\u706b " * 400]


def test_texts_that_mean_nearly_the_same_are_near_and_others_are_not(tmp_path: Path) -> None:
    with Found(tmp_path / "found.sqlite") as found:
        near = Near(1, 0.9, Sentences(found))
        assert [near.add([text]) for text in TEXTS] == [0, 1, 2, 3, 4]
        assert [place for place, _ in near.find(["how do i  LIGHT a fire?"])] == [0, 1]
        assert [place for place, _ in near.find(["How do I light a fire?"], among=[1, 2])] == [1]
        [(place, least)] = near.find(["Who rings that bell?"])
        assert (place, 0.9 < least <= 1) == (2, True)
        assert list(near.find(["A recipe of soup"])) == []


def test_without_a_limit_only_equal_texts_are_near() -> None:
    near = Near(2)
    near.add(["One?", "a b"])
    assert list(near.find(["ONE? ", "a  B"])) == [(0, 1.0)]
    assert list(near.find(["One?", "a c"])) == []


def test_all_texts_of_a_row_must_be_near(tmp_path: Path) -> None:
    with Found(tmp_path / "found.sqlite") as found:
        near = Near(2, 0.9, Sentences(found))
        near.add([TEXTS[0], TEXTS[2]])
        assert len(list(near.find([TEXTS[1], TEXTS[2]]))) == 1
        assert list(near.find([TEXTS[0], TEXTS[0]])) == []


@pytest.mark.parametrize("columns", [1, 2])
def test_signatures_miss_nothing_that_all_vectors_find(tmp_path: Path, columns: int) -> None:
    things = ["a lamp", "a candle", "a knife", "a kite", "a rope", "a small red lamp", "a burning candle", "a red kite"]
    texts = [f"How do I bring {one} to {two}?" for one in things for two in things]
    rows = list(zip(texts, texts[7:] + texts[:7], strict=True))
    count = 0
    with Found(tmp_path / "found.sqlite") as found:
        sentences = Sentences(found)
        near = Near(columns, 0.85, sentences)
        for row in rows:
            near.add(row[:columns])
        vectors = [[sentences(text.lower()) for text in row[:columns]] for row in rows]
        for row, own in zip(rows, vectors, strict=True):
            least = [min(float(one @ two) for one, two in zip(own, other, strict=True)) for other in vectors]
            wanted = [place for place, cosine in enumerate(least) if cosine >= 0.85 - 1e-6]
            assert [place for place, _ in near.find(row[:columns])] == wanted
            assert 1 <= len(wanted) < len(texts)
            count += len(wanted)
    assert count > len(rows)


def test_a_vector_that_is_kept_is_made_once(tmp_path: Path) -> None:
    with Found(tmp_path / "found.sqlite") as found:
        first = Sentences(found)(TEXTS[0])
        again = Sentences(found)
        assert (again(TEXTS[0]) == first).all()
        assert again._model is None


def test_a_file_of_what_was_found_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "found.sqlite").write_text("x" * 5000)
    with Found(tmp_path / "found.sqlite") as found, pytest.raises(CacheError, match="move it away"):
        found.get("one", "two")


def test_pictures_are_alike_in_any_order_and_all_of_them() -> None:
    looks = Looks()
    looks.add([0, 2**64 - 1])
    looks.add([0, 2**32])
    looks.add([0b111111, 2**64 - 1, 2**32 - 1])
    assert looks.alike([2**64 - 1, 0]) == [0]
    assert looks.alike([0, 1]) == [1]
    assert looks.alike([0]) == [1]


def test_a_picture_looks_like_one_of_a_row() -> None:
    looks = Looks()
    assert looks.with_one_like(0) is None
    looks.add([2**64 - 1])
    looks.add([2**40, 2**32 - 1])
    looks.add([0])
    assert [looks.with_one_like(look) for look in (0, 2**32 - 2**6, 2**32 - 2**7, 2**64 - 2)] == [1, 1, None, 0]


@pytest.mark.slow
def test_vectors_are_those_of_transformers(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = (kind.from_pretrained(model_folder()) for kind in (AutoTokenizer, AutoModel))
    with Found(tmp_path / "found.sqlite") as found, torch.inference_mode():
        for text in TEXTS:
            tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
            mean = model(**tokens).last_hidden_state.mean(dim=1)[0]
            wanted = (mean / mean.norm()).numpy()
            assert float(abs(Sentences(found)(text) - wanted).max()) < 1e-5


def test_threads_that_still_look_when_the_block_ends_are_told(tmp_path: Path) -> None:
    def looks(found: Found) -> str:
        for number in count():
            try:
                found.put("a", str(number % 1000), b"x" * 1000)
                found.get("a", str(number % 1000))
            except CancelledError:
                return "ended"
        raise AssertionError

    with ThreadPoolExecutor(4) as threads:
        with Found(tmp_path / "found.sqlite") as found:
            looking = [threads.submit(looks, found) for _ in range(4)]
            while found.get("a", "999") is None:
                pass
        assert [one.result(timeout=10) for one in looking] == ["ended"] * 4
    with Found(tmp_path / "found.sqlite") as again:
        assert again.get("a", "999") == b"x" * 1000
