"""Writes server-sent events as bytes (the HTML standard, section 9.2)."""

#: A comment. No empty line follows it: some clients take an empty line for an event without data.
KEEP_ALIVE_COMMENT = b":\n"
PROGRESS = "progress"


def event(name: str, data: bytes, *, id: int, retry: int | None = None) -> bytes:
    """One event; `data` is a single line, `retry` the milliseconds until a client reconnects.

    `retry` always comes with data: some clients take a `retry` without data for an event.
    """
    lines = [b"event: " + name.encode(), b"id: %d" % id]
    if retry is not None:
        lines.append(b"retry: %d" % retry)
    return b"\n".join([*lines, b"data: " + data, b"", b""])
