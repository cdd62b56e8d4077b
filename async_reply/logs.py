"""The log of the worker's side: a handler of the project that raises takes no attempt with it."""

import logging
from contextlib import suppress
from typing import Any


class Log(logging.LoggerAdapter[logging.Logger]):
    """A logger whose handlers and filters may fail, each by whatever exception it likes."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        # The line is that of whoever calls, and not this one.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with suppress(Exception):
            super().log(level, msg, *args, **kwargs)


logger = Log(logging.getLogger("async_reply"))
