from async_reply.waiting import events


def test_event() -> None:
    assert events.event("running", b"{}", id=3) == b"event: running\nid: 3\ndata: {}\n\n"


def test_event__retry_stands_beside_data() -> None:
    told = events.event("running", b"{}", id=3, retry=1500)
    assert told == b"event: running\nid: 3\nretry: 1500\ndata: {}\n\n"


def test_keep_alive__ends_no_event() -> None:
    assert events.KEEP_ALIVE_COMMENT == b":\n"
