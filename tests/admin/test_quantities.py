import pytest
from django.utils.safestring import SafeString
from django.utils.translation import override

from async_reply.admin import quantities


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.254, "0.25"), (3.14, "3.1"), (5.0, "5"), (42.7, "43"), (12_345.6, "12,346")],
)
def test_format_number__has_two_digits_or_is_whole(number: float, text: str) -> None:
    assert quantities.format_number(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0.0 s"),
        (0.0012, "1.2 ms"),
        (0.5, "500 ms"),
        (3.21, "3.2 s"),
        (600.0, "10 min"),
    ],
)
def test_format_seconds__has_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert quantities.format_seconds(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(("seconds", "text"), [(0.1, "100 ms"), (1, "1 s"), (1000, "1,000 s")])
def test_format_power__is_a_whole_number(seconds: float, text: str) -> None:
    assert quantities.format_power(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


def test_format_count__says_that_there_are_more() -> None:
    assert quantities.format_count(20_000) == "20,000"
    assert quantities.format_count(20_000, is_exact=False) == "20,000+"


@pytest.mark.parametrize(("percent", "text"), [(None, "-"), (0.254, "0.25 %"), (50, "50 %")])
def test_format_percent(percent: float | None, text: str) -> None:
    assert quantities.format_percent(percent).replace("\N{NO-BREAK SPACE}", " ") == text


def test_formats__follow_the_language() -> None:
    with override("de"):
        assert quantities.format_number(3.14) == "3,1"
        assert quantities.format_count(20_000) == "20.000"


def test_linked__escapes_text_and_link() -> None:
    assert quantities.linked("<b>", "/?a=1&b=2") == '<a href="/?a=1&amp;b=2">&lt;b&gt;</a>'
    assert not isinstance(quantities.linked("<b>"), SafeString)
