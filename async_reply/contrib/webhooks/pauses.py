"""The pauses between two tries of a delivery: growing ones, or as long as the receiver wants."""

import random
import time
from datetime import UTC
from email.utils import parsedate_to_datetime

#: Seconds until the second try. Each pause is twice as long as the one before it.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 3600.0


def pause_seconds(tries: int) -> float:
    """Seconds until the next try after so many before this one; some are shorter by chance."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(tries, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 no secret


def retry_after_seconds(text: str) -> float:
    """The seconds of a Retry-After, a number or a date (RFC 9110, section 10.2.3); 0 without."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - time.time())
