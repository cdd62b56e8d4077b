"""The logger of the package. A failing log handler cannot end an attempt or a request."""

import logging
from contextlib import suppress
from typing import Any


class Log(logging.LoggerAdapter[logging.Logger]):
    """Suppresses the exceptions of the project's handlers and filters."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        # The record names the caller's line instead of this one.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with suppress(Exception):
            super().log(level, msg, *args, **kwargs)


logger = Log(logging.getLogger("async_reply"))
