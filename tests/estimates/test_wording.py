"""Durations and times as operators read them."""

from datetime import UTC, datetime

import pytest
from django.utils import timezone, translation
from pytest_django import Settings

from async_reply.estimates import wording


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0.0 s"),
        (0.26, "0.3 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (89.4, "89 s"),
        (90, "1.5 min"),
        (3_000, "50 min"),
        (5_400, "1.5 h"),
        (36_000, "10 h"),
        (129_600, "1.5 d"),
        (864_000, "10 d"),
    ],
)
def test_duration__has_the_unit_that_fits(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text.replace(" ", "\N{NO-BREAK SPACE}")


def test_duration__has_the_decimal_sign_of_the_language() -> None:
    with translation.override("de"):
        assert wording.duration(3.2).startswith("3,2")


def test_moment__is_in_the_current_time_zone(settings: Settings) -> None:
    moment = datetime(2026, 7, 1, 12, 30, 5, tzinfo=UTC)
    with timezone.override("Europe/Berlin"):
        assert wording.moment(moment) == "2026-07-01 14:30:05"
    assert wording.moment(moment.replace(tzinfo=None)) == "2026-07-01 12:30:05"
