"""Makes the ids of operations, which sort by time."""

import re
import secrets
import time
import uuid

#: An id in a path. The paths of all views of one operation contain one.
IN_PATH = re.compile("[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


def uuid7() -> uuid.UUID:
    """A UUID of version 7, which sorts by its time of creation to a quarter of a microsecond.

    RFC 9562, section 5.7. The 12 bits after the milliseconds are a fraction of a millisecond
    (section 6.2, method 3).
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    value = milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | secrets.randbits(62)
    return uuid.UUID(int=value)
