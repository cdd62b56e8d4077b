import pytest

from async_reply import headers


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        (r'"a\"b\\c"', r"a\"b\c".replace(r"\"", '"')),
        ("x" * 255, "x" * 255),
        ("x" * 256, None),
        ('"' + "x" * 255 + '"', "x" * 255),
        ('"' + "x" * 256 + '"', None),
        ('"é"', None),
        ('"a"b"', None),
        (r'"a\b"', None),
        ('a"b', 'a"b'),
        ("", None),
        ('""', None),
        ('"half', None),
        ("é", None),
        ("a\nb", None),
    ],
)
def test_idempotency_key(field: str, expected: str | None) -> None:
    assert headers.idempotency_key(field) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('W/"3"', True),
        ('"3"', True),
        ('"1", W/"3"', True),
        ("*", True),
        ('W/"33"', False),
        ("3", False),
        ('"a, 3", W/"4"', False),
        ("", False),
    ],
)
def test_none_match(field: str, expected: bool) -> None:
    assert headers.none_match(field, headers.entity_tag(3)) is expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("", {}),
        ("respond-async", {"respond-async": ""}),
        ("respond-async, wait=10", {"respond-async": "", "wait": "10"}),
        ('Wait="5"; x=1, wait=7', {"wait": "5"}),
        (" , ", {}),
        ("=5", {}),
        (";;", {}),
        ('note="a, wait=9; b", wait=7', {"note": "a, wait=9; b", "wait": "7"}),
        ('note="open, wait=9', {"note": "open, wait=9"}),
        ('note="a\\", wait=9"', {"note": 'a\\", wait=9'}),
    ],
)
def test_preferences(field: str, expected: dict[str, str]) -> None:
    assert headers.preferences(field) == expected


def test_link() -> None:
    assert headers.link({"a": "u", "b": "v"}) == '<u>; rel="a", <v>; rel="b"'


def test_none_match__against_no_tag() -> None:
    assert not headers.none_match('"3"', "3")
