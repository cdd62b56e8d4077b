"""What a job tells of its progress: taken at each of its calls, made text of once a second."""

from typing import Any

from async_reply.database import payloads

#: Percent done, text, and how many of how many items the text is to say.
News = tuple[int | None, str, int, int | None]


def shown(news: News) -> dict[str, Any]:
    """Progress and message as the row takes them."""
    percent = None if news[0] is None else max(0, min(100, news[0]))
    return {"progress": percent, "message": _text(news)}


def _text(news: News) -> str:
    """Nothing where what the job gave as a message refuses to be text: its outcome counts."""
    _, message, done, total = news
    counted = f"{done} of {total}" if total else str(done)
    try:
        text = str(message) if message else ""
    except Exception:  # noqa: BLE001 it is the job's own code
        return ""
    if done:
        text = f"{text} {counted}" if text else counted
    return payloads.clean(text[:255])[:255]
