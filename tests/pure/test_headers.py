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
    ],
)
def test_preferences(field: str, expected: dict[str, str]) -> None:
    assert headers.preferences(field) == expected


def test_link() -> None:
    assert headers.link({"a": "u", "b": "v"}) == '<u>; rel="a", <v>; rel="b"'
