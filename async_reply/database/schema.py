"""Recognizes errors of a database in which the migrations have not been run."""

import re

from django.db import OperationalError, ProgrammingError

REMEDY = "The tables of async_reply are missing or old: run manage.py migrate."
_MISSING = re.compile(r"no such|has no|unknown column|does(n't| not) exist", re.IGNORECASE)


def is_behind(error: BaseException) -> bool:
    """Whether a statement failed because a table or a column of ours is missing."""
    if not isinstance(error, OperationalError | ProgrammingError):
        return False
    text = str(error)
    return "async_reply_" in text and _MISSING.search(text) is not None
