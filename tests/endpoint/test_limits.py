"""How fast requests go out, and how long a request waits before it is sent again."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitalfactory.endpoint.limits import FIRST_WAIT, LONGEST_BACKOFF, Pace, backoff, retry_after


@given(st.integers(1, 1000), st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 50)), min_size=1, max_size=200))
def test_no_minute_holds_more_than_the_limit_but_for_its_last_request(
    limit: int, steps: list[tuple[float, float]]
) -> None:
    pace, now, starts = Pace(limit), 0.0, []
    for gap, amount in steps:
        now += gap
        starts.append((now + pace.reserve(now, amount), amount))
    for first, _ in starts:
        inside = [amount for start, amount in starts if first <= start < first + 60]
        assert sum(inside[:-1]) <= limit * (1 + 1e-9)


def test_what_a_request_did_not_take_is_given_back() -> None:
    pace = Pace(60)
    assert pace.reserve(0.0, 30) == 0
    pace.correct(-20)
    assert pace.reserve(0.0) == pytest.approx(10)


def test_without_a_limit_nothing_waits() -> None:
    pace = Pace(None)
    assert [pace.reserve(0.0, 1000) for _ in range(3)] == [0, 0, 0]


@given(st.integers(0, 1500))
def test_backoff_doubles_up_to_its_longest(attempt: int) -> None:
    most = min(FIRST_WAIT * 2.0 ** min(attempt, 100), LONGEST_BACKOFF)
    assert most / 2 <= backoff(attempt) <= most


@given(st.integers(0, 10), st.floats(0, 600))
def test_a_wait_is_never_shorter_than_asked_for(attempt: int, asked: float) -> None:
    assert asked <= backoff(attempt, asked) <= 1.1 * asked + 0.1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "0.25"}, 0.25),
        ({"Retry-After-Ms": "250", "Retry-After": "7"}, 0.25),
        ({"Retry-After-Ms": "soon", "Retry-After": "7"}, 7),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 25 Nov 2020 10:00:00 GMT"}, 0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_a_date() -> None:
    then = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    seconds = retry_after({"Retry-After": format_datetime(then, usegmt=True)})
    assert seconds == pytest.approx(then.timestamp() - time.time(), abs=60)
