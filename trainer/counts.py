"""Which whole counts can stand behind a rate as it was printed: whole numbers only, nothing is ever a float.

A rate of k out of n rows, 100 k / n per cent, is printed with some decimals. A table does not say how it came to them,
so two ways are tried: it was rounded, or truncated. Of two neighbours equally near, half up takes the greater and half
even the even one; a binary float, printed, may take either (0.175 becomes 0.17). So a tie counts as rounded whichever
way it went.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

MOST_DECIMALS = 15
"""More are refused: sums of such rates stay far below the 28 digits that `Decimal` keeps."""
_NUMBER = re.compile(r"(?=\.?[0-9])(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]+))?")


@dataclass(frozen=True)
class Printed:
    """A rate as a table prints it, 0 to 100 per cent.

    Attributes:
        text: What stands there, such as "7.77".
        digits: The same without the point, 777: the rate in units of its last decimal.
        decimals: How many decimals it has, 0 to `MOST_DECIMALS`.
    """

    text: str
    digits: int
    decimals: int

    @property
    def hundred(self) -> int:
        """100 per cent in the same unit as `digits`."""
        return 100 * int(10**self.decimals)


def read_rate(text: str) -> Printed:
    """A rate in per cent, its decimals counted as printed.

    >>> read_rate("7.770")
    Printed(text='7.770', digits=7770, decimals=3)

    Raises:
        ValueError: No plain number (so no sign, exponent, comma or unit), too many decimals, or outside 0 to 100.
    """
    found = _NUMBER.fullmatch(text)
    if not found:
        signed = text[:1] in ("-", "+") and _NUMBER.fullmatch(text[1:])
        raise ValueError("has a sign; rates lie within 0 to 100" if signed else "is no number such as 7.77")
    whole, part = found["whole"].lstrip("0"), found["part"] or ""
    if len(part) > MOST_DECIMALS:
        raise ValueError(f"has {len(part)} decimals, at most {MOST_DECIMALS} can be read")
    # Four digits tell as well that it is too much; of more than 4,300 Python makes no number.
    rate = Printed(text, int("0" + whole[:4] + part), len(part))
    if rate.digits > rate.hundred:
        raise ValueError("lies outside 0 to 100")
    return rate


def rounded(rate: Printed, n: int) -> range:
    """Counts of 0 to `n` whose rate is printed as `rate` when it is rounded, ties either way; may be empty.

    >>> rounded(read_rate("7.76"), 1675)
    range(130, 131)
    """
    least = _up((2 * rate.digits - 1) * n, 2 * rate.hundred)
    most = (2 * rate.digits + 1) * n // (2 * rate.hundred)
    return range(max(least, 0), min(most, n) + 1)


def truncated(rate: Printed, n: int) -> range:
    """Counts of 0 to `n` whose rate is printed as `rate` when further decimals are left out; may be empty.

    >>> truncated(read_rate("0.65"), 1675)
    range(11, 12)
    """
    return range(_up(rate.digits * n, rate.hundred), min(_up((rate.digits + 1) * n, rate.hundred), n + 1))


def possible(rate: Printed, n: int) -> range:
    """Counts of 0 to `n` that are printed as `rate` in one of the two ways; empty where the rate cannot be.

    >>> possible(read_rate("7.77"), 1675)
    range(131, 131)
    """
    # Both ways together are one range: truncation begins within what is rounded to `rate`, or just behind it.
    return range(rounded(rate, n).start, truncated(rate, n).stop)


def nearest(rate: Printed, n: int) -> range:
    """The two counts between whose rates an impossible one lies: the nearest two, one below and one above.

    >>> nearest(read_rate("7.77"), 1675)
    range(130, 132)
    """
    below = rate.digits * n // rate.hundred
    return range(below, below + 2)


def print_rate(k: int, n: int, decimals: int) -> str:
    """100 k / n per cent, rounded half up.

    >>> print_rate(130, 1675, 2)
    '7.76'
    """
    unit = 10**decimals
    whole, part = divmod((200 * unit * k + n) // (2 * n), unit)
    return f"{whole}.{part:0{decimals}}" if decimals else str(whole)


def print_sum(rates: Sequence[Printed]) -> str:
    """The sum of printed rates, in per cent, with the decimals of the most precise.

    >>> print_sum([read_rate("91.76"), read_rate("8.3")])
    '100.06'
    """
    return str(sum((Decimal(rate.text) for rate in rates), Decimal(0)))


def sums(counts: Sequence[range]) -> range:
    """What one count of each range can add up to; no range is empty.

    >>> sums([range(1, 3), range(5, 6)])
    range(6, 8)
    """
    return range(sum(one.start for one in counts), sum(one[-1] for one in counts) + 1)


def _up(number: int, by: int) -> int:
    """`number` / `by`, up to the next whole number."""
    return -(-number // by)
