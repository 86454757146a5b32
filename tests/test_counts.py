"""Which counts can stand behind a printed rate, against trying every count of 0 to n with Python's own decimals."""

from __future__ import annotations

import ast
import decimal
import doctest
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import counts
from trainer.counts import nearest, possible, print_rate, print_sum, read_rate, rounded, sums, truncated

ROUNDINGS = (decimal.ROUND_HALF_UP, decimal.ROUND_HALF_EVEN, decimal.ROUND_HALF_DOWN)
"""What a printed rate may have been rounded by; printed binary floats sometimes send a tie down."""
WAYS = (*ROUNDINGS, decimal.ROUND_DOWN)


def brought_to(k: int, n: int, decimals: int, way: str) -> str:
    """100 k / n with so many decimals, by `decimal`."""
    rate = decimal.Decimal(100 * k) / n
    return format(rate.quantize(decimal.Decimal(1).scaleb(-decimals), rounding=way), "f")


def tried(n: int, decimals: int, ways: tuple[str, ...]) -> dict[str, list[int]]:
    """Every rate that can be printed -> the counts behind it, by trying all of 0 to n."""
    found: dict[str, set[int]] = defaultdict(set)
    for k in range(n + 1):
        for way in ways:
            found[brought_to(k, n, decimals, way)].add(k)
    return {text: sorted(ks) for text, ks in found.items()}


def every_rate(decimals: int) -> list[str]:
    """0 to 100 in steps of the last decimal."""
    unit = decimal.Decimal(1).scaleb(-decimals)
    return [format(unit * step, "f") for step in range(100 * 10**decimals + 1)]


def floats(text: str) -> set[str]:
    """What in a file makes a float: a literal, a division, the name itself."""
    nodes = list(ast.walk(ast.parse(text)))
    found = {str(one.value) for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, float)}
    found |= {"/" for one in nodes if isinstance(one, ast.Div)}
    return found | {one.id for one in nodes if isinstance(one, ast.Name) and one.id in ("float", "round")}


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 16, 33, 64, 100, 160, 510, 1675])
@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_possible_counts_are_those_that_trying_finds(n: int, decimals: int) -> None:
    when_rounded, when_truncated = tried(n, decimals, ROUNDINGS), tried(n, decimals, (decimal.ROUND_DOWN,))
    both = tried(n, decimals, WAYS)
    for text in every_rate(decimals):
        rate = read_rate(text)
        assert list(rounded(rate, n)) == when_rounded.get(text, []), text
        assert list(truncated(rate, n)) == when_truncated.get(text, []), text
        assert list(possible(rate, n)) == both.get(text, []), text


def test_a_tie_that_half_even_or_a_binary_float_brought_down_is_taken_for_rounded() -> None:
    assert f"{100 * 7 / 4000:.2f}" == "0.17"
    assert brought_to(7, 4000, 2, decimal.ROUND_HALF_UP) == brought_to(7, 4000, 2, decimal.ROUND_HALF_EVEN) == "0.18"
    assert brought_to(1, 800, 2, decimal.ROUND_HALF_EVEN) == "0.12"
    assert list(rounded(read_rate("0.17"), 4000)) == [7]
    assert list(rounded(read_rate("0.18"), 4000)) == [7]
    assert 1 in rounded(read_rate("0.12"), 800)
    assert 1 in rounded(read_rate("0.13"), 800)


@settings(max_examples=2000, deadline=None)
@given(st.integers(1, 10**6), st.integers(0, 8), st.sampled_from(WAYS), st.fractions(0, 1))
def test_the_count_that_was_printed_is_always_possible(n: int, decimals: int, way: str, share: Fraction) -> None:
    k = int(share * n)
    assert k in possible(read_rate(brought_to(k, n, decimals, way)), n)
    # At more decimals the division of floats itself may cross a tie.
    assert k in rounded(read_rate(f"{100 * k / n:.{min(decimals, 4)}f}"), n)
    assert print_rate(k, n, decimals) == brought_to(k, n, decimals, decimal.ROUND_HALF_UP)


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 3000), st.fractions(0, 1))
def test_a_rate_half_way_between_two_counts_is_impossible_and_both_are_named(n: int, share: Fraction) -> None:
    below = min(int(share * n), n - 1)
    rate = read_rate(brought_to(2 * below + 1, 2 * n, 2, decimal.ROUND_HALF_UP))
    assert not possible(rate, n)
    assert list(nearest(rate, n)) == [below, below + 1]


def test_counts_add_up_to_everything_between_their_ends() -> None:
    assert list(sums([range(1, 3), range(5, 6), range(0, 3)])) == [6, 7, 8, 9]


@pytest.mark.parametrize(
    ("text", "digits", "decimals"),
    [("7.77", 777, 2), ("0", 0, 0), ("100", 100, 0), ("100.000", 100000, 3), (".12", 12, 2), ("007.5", 75, 1)],
)
def test_decimals_are_counted_as_printed(text: str, digits: int, decimals: int) -> None:
    found = read_rate(text)
    assert (found.text, found.digits, found.decimals) == (text, digits, decimals)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("100.01", "lies outside 0 to 100"),
        ("101", "lies outside 0 to 100"),
        ("9" * 5000, "lies outside 0 to 100"),
        ("-1.00", "has a sign; rates lie within 0 to 100"),
        ("+1.00", "has a sign; rates lie within 0 to 100"),
        ("1." + "0" * 16, "has 16 decimals, at most 15 can be read"),
        *((text, "is no number such as 7.77") for text in ("", ".", "5.", "-", "1e3", "12,5", "NaN", "inf", "12 %")),
        *(
            (text, "is no number such as 7.77")
            for text in ("\u22125", "\u0663", "\u00b2", "1_0", "0x1", "1.2.3", "5\n")
        ),
    ],
)
def test_what_is_no_rate_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"^(has|lies|is no) ") as error:
        read_rate(text)
    assert str(error.value) == says


def test_printed_rates_add_up_without_a_float() -> None:
    assert print_sum([read_rate(text) for text in ("0.1", "0.20", ".12")]) == "0.42"
    assert print_sum([read_rate("33." + "3" * 15)] * 3) == "99." + "9" * 15
    assert print_sum([]) == "0"


def test_no_float_and_no_division_but_that_of_whole_numbers_is_in_the_file() -> None:
    bare = "def f():\n    return 1.5 / float('2')\n"
    assert floats(bare) == {"1.5", "/", "float"}
    assert floats(Path(str(counts.__file__)).read_text("utf-8")) == set()


def test_the_examples_of_its_docstrings_run() -> None:
    ran = doctest.testmod(counts)
    assert ran.attempted >= 8
    assert ran.failed == 0
