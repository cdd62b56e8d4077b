"""Server-sent events, as bytes (the HTML standard, section 9.2)."""

#: A comment. No empty line follows: some clients take that for an event without data.
KEEP_ALIVE = b":\n"
PROGRESS = "progress"


def event(name: str, data: bytes, *, id: int, retry: int | None = None) -> bytes:
    """One event; `data` is a single line, `retry` the milliseconds until a client reconnects.

    `retry` stands inside an event with data: on its own, some clients take it for an event.
    """
    lines = [b"event: " + name.encode(), b"id: %d" % id]
    if retry is not None:
        lines.append(b"retry: %d" % retry)
    return b"\n".join([*lines, b"data: " + data, b"", b""])
