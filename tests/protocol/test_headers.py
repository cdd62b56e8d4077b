import pytest

from async_reply.protocol import headers


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


def test_none_match__without_a_tag() -> None:
    assert not headers.none_match('"3"', "3")


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=2-4", range(2, 5)),
        ("bytes=2-", range(2, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-99", range(10)),
        ("bytes=0-99", range(10)),
        ("Bytes=9-9", range(9, 10)),
        (" bytes=0-1 ", range(2)),
        ("bytes=10-", range(0)),
        ("bytes=10-12", range(0)),
        ("bytes=999999999999999999-", range(0)),
        ("bytes=-0", range(0)),
        ("", None),
        ("bytes", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=a-b", None),
        ("bytes=1-2,4-5", None),
        ("bytes= 1-2", None),
        ("bytes=\u0661-\u0662", None),
        ("rows=0-1", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_byte_range(field: str, expected: range | None) -> None:
    assert headers.byte_range(field, 10) == expected


@pytest.mark.parametrize(
    ("field", "expected"), [("bytes=0-", range(0)), ("bytes=-5", None), ("bytes=-0", range(0))]
)
def test_byte_range__of_an_empty_file(field: str, expected: range | None) -> None:
    assert headers.byte_range(field, 0) == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [(range(10), "bytes 0-9/10"), (range(9, 10), "bytes 9-9/10"), (range(5, 5), "bytes */10")],
)
def test_content_range(part: range, expected: str) -> None:
    assert headers.content_range(part, 10) == expected


@pytest.mark.parametrize(
    ("field", "tag", "expected"),
    [
        ("", '"a"', True),
        ('"a"', '"a"', True),
        (' "a" ', '"a"', True),
        ('"b"', '"a"', False),
        ('W/"a"', '"a"', False),
        ('W/"a"', 'W/"a"', False),
        ("Tue, 24 Nov 2026 12:00:00 GMT", '"a"', False),
    ],
)
def test_if_range(field: str, tag: str, expected: bool) -> None:
    assert headers.if_range(field, tag) is expected


def test_strong_tag() -> None:
    assert headers.strong_tag("ab12") == '"ab12"'


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("wait=10", 10),
        ("respond-async, wait=0", 0),
        ('Wait="5"', 5),
        ("wait=007", 7),
        (f"wait={'9' * 5000}", headers.DECADE_SECONDS),
        ("", None),
        ("wait", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=²", None),
        ("wait=x, wait=3", None),
    ],
)
def test_wait(field: str, expected: int | None) -> None:
    assert headers.wait(field) == expected


@pytest.mark.parametrize(
    ("field", "expected"), [("", "wait=3"), ("respond-async", "respond-async, wait=3")]
)
def test_applied(field: str, expected: str) -> None:
    assert headers.applied(field, 3) == expected


@pytest.mark.parametrize(
    ("field", "expected"), [("7", 7), ("", 0), ("x", 0), ("-1", 0), ("²", 0), ("9" * 12, 0)]
)
def test_last_event_id(field: str, expected: int) -> None:
    assert headers.last_event_id(field) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("text/csv", True),
        ('text/csv; charset=utf-8; header="present"', True),
        ("application/vnd.api+json;version=1", True),
        ("", False),
        ("csv", False),
        ("text/", False),
        ("text/csv\r\nX: y", False),
        ("text/csv\n", False),
        ("text/csv; charset=\u00e9", False),
        ("text/\u0441sv", False),
        ("text/" + "x" * 250, True),
        ("text/" + "x" * 251, False),
    ],
)
def test_is_media_type(field: str, expected: bool) -> None:
    assert headers.is_media_type(field) is expected


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (f"00-{TRACE}-01", f"00-{TRACE}-01"),
        (f"00-{TRACE}-00", f"00-{TRACE}-00"),
        (f" 00-{TRACE}-01\t", f"00-{TRACE}-01"),
        # Only the flag "sampled" is known.
        (f"00-{TRACE}-03", f"00-{TRACE}-01"),
        (f"00-{TRACE}-fe", f"00-{TRACE}-00"),
        # Later versions begin as version 00 does.
        (f"01-{TRACE}-01", f"00-{TRACE}-01"),
        (f"cc-{TRACE}-01-what-the-future-brings", f"00-{TRACE}-01"),
        (f"cc-{TRACE}-01.more", ""),
        (f"00-{TRACE}-01-more", ""),
        (f"00-{TRACE}-01-", ""),
        (f"ff-{TRACE}-01", ""),
        (f"00-{TRACE.upper()}-01", ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", ""),
        (f"00-{TRACE}", ""),
        (f"00-{TRACE}-1", ""),
        (f"0-{TRACE}-01", ""),
        # Several fields are joined by commas.
        (f"00-{TRACE}-01,00-{TRACE}-01", ""),
        (f"00-{TRACE}-01\n", ""),
        ("", ""),
        ("00-" + "a" * 5000, ""),
    ],
)
def test_traceparent__is_stored_as_version_00_or_dropped(field: str, expected: str) -> None:
    assert headers.traceparent(field) == expected
    assert len(headers.traceparent(field)) in (0, 55)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("application/json, text/event-stream;q=0.5", True),
        ("text/event-stream;q=0", False),
        ("text/event-stream ; q=0.000", False),
        ("text/event-stream-other", False),
        ('application/json; profile="text/event-stream"', False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
    ],
)
def test_accepts_stream(field: str, expected: bool) -> None:
    assert headers.accepts_stream(field) is expected
