"""How long an endpoint asks to wait. What becomes of each status is in test_client_faults.py."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from mis_dataset.remote.faults import wait_asked


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "inf"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "Sun, 09 Sep 2001 01:47:40 GMT", "date": "Sun, 09 Sep 2001 01:46:40 GMT"}, 60),
        ({"retry-after": "Sun, 09 Sep 2001 01:45:40 GMT", "date": "Sun, 09 Sep 2001 01:46:40 GMT"}, 0),
        ({"retry-after": "Sun, 09 Sep 2001 01:47:40 GMT"}, 0),
    ],
)
def test_a_wait_is_read_in_both_forms_and_nonsense_is_none(headers: dict[str, str], seconds: float) -> None:
    assert wait_asked(headers) == seconds


def test_a_date_without_one_of_the_endpoint_is_taken_against_our_clock() -> None:
    assert 58 < wait_asked({"retry-after": formatdate(time.time() + 60, usegmt=True)}) <= 60
