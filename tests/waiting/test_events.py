"""Server-sent events as bytes."""

from async_reply.waiting import events


def test_event__has_name_id_and_data() -> None:
    assert events.event("running", b"{}", id=3) == b"event: running\nid: 3\ndata: {}\n\n"


def test_event__retry_comes_with_data() -> None:
    event = events.event("running", b"{}", id=3, retry=1500)
    assert event == b"event: running\nid: 3\nretry: 1500\ndata: {}\n\n"


def test_keep_alive__ends_no_event() -> None:
    assert events.KEEP_ALIVE_COMMENT == b":\n"
