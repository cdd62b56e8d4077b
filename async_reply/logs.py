"""The log of the package: one logger, `async_reply`, and one line for each event of an operation.

A failing log handler cannot end an attempt or a request.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from django.core.exceptions import SuspiciousOperation

#: Columns that each line of an event carries as attributes of its record.
COLUMNS = ("kind", "status", "attempt", "owner", "queue")
MAX_VALUE_CHARACTERS = 500
_PAIR = "{0}=%s".format
#: The part of a valet key's URL that gives access.
_KEY = re.compile(r"(\bsig=)[^&\s\"'<>#]+", re.IGNORECASE)
MASKED = r"\1***"

#: Loggers whose records hold the URL of a request: in the text, or as the request itself.
LOGGERS_OF_REQUESTS = (
    "django.request",
    "django.security.csrf",
    "django.server",
    "gunicorn.access",
    "uvicorn.access",
)


class Log(logging.LoggerAdapter[logging.Logger]):
    """Suppresses the exceptions of the project's handlers and filters."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        # LoggerAdapter's own would replace `extra`.
        return msg, kwargs

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        # The record names the caller's line instead of this one.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with suppress(Exception):
            super().log(level, msg, *args, **kwargs)

    def event(
        self,
        event: str,
        operation: Any,
        *,
        level: int = logging.INFO,
        error: BaseException | None = None,
        remedy: str = "",
        **fields: Any,
    ) -> None:
        """Log one line about an operation: `Operation id=… kind=… status=… <event> <fields>`.

        `operation` is a row, or a mapping of the columns that are known. Every value is also an
        attribute of the record, as are the row's owner and queue. `error` adds its traceback,
        and `remedy` follows the event in the text.
        """
        if not self.isEnabledFor(level):
            return
        with suppress(Exception):
            # A column that was not read stays unread, because a log line costs no statement.
            row = operation if isinstance(operation, Mapping) else vars(operation)
            values: dict[str, Any] = {"event": event, "id": str(row["id"])}
            values |= {name: row[name] for name in COLUMNS if name in row} | fields
            for name, value in values.items():
                if type(value) is not int:
                    values[name] = _plain(value)
            text, names = _template(
                event,
                remedy,
                tuple(fields),
                has_kind=values.get("kind") is not None,
                has_status=values.get("status") is not None,
            )
            arguments = [values[name] for name in names]
            self.logger.log(level, text, *arguments, exc_info=error, extra=values, stacklevel=2)


@lru_cache(maxsize=256)
def _template(
    event: str, remedy: str, fields: tuple[str, ...], *, has_kind: bool, has_status: bool
) -> tuple[str, list[str]]:
    """The text of a line, and the names of its arguments."""
    first = ["id", *["kind"] * has_kind, *["status"] * has_status]
    last = [name for name in fields if name not in ("kind", "status")]
    words = ["Operation", *map(_PAIR, first), event.replace("_", " ") + remedy, *map(_PAIR, last)]
    return " ".join(words), first + last


#: Takes the level and the text of each line that the running job logs. None outside of jobs.
sink: ContextVar[Callable[[str, str], None] | None] = ContextVar("async_reply.sink", default=None)


class OperationLogHandler(logging.Handler):
    """Adds the lines that a job logs to the log of its operation. Use it in the workers' LOGGING.

    Lines of other threads are not added, and neither are those of async_reply and of Django's
    database layer, which belong to the machinery. Operators read the lines, and clients do so where
    the task has `public_logs=True`.
    """

    #: Starts of the names of loggers.
    LEFT_OUT = ("async_reply.", "django.db.")

    def emit(self, record: logging.LogRecord) -> None:
        take = sink.get()
        if take is None or f"{record.name}.".startswith(self.LEFT_OUT):
            return
        try:
            take(record.levelname, self.format(record))
        except Exception:  # noqa: BLE001 as each handler of Python's logging does
            self.handleError(record)


logger = Log(logging.getLogger("async_reply"))


def _plain(value: Any) -> Any:
    """A number as it is, seconds rounded, and every other value as one printable line."""
    if isinstance(value, float):
        return round(value, 3)
    if value is None or isinstance(value, int):
        return value
    text = (value if type(value) is str else str(value))[:MAX_VALUE_CHARACTERS]
    return text if text.isprintable() else text.encode("unicode_escape").decode()


class ValetKeyFilter(logging.Filter):
    """Masks the valet keys in the text, the arguments and the request of each record.

    The loggers of LOGGERS_OF_REQUESTS have it. A project may add it to its own handlers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = mask(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(map(mask, record.args))
        elif isinstance(record.args, dict):
            # gunicorn's own class of mapping. It belongs to this record alone.
            record.args.update({name: mask(value) for name, value in record.args.items()})
        request = getattr(record, "request", None)
        meta = getattr(request, "META", None)
        if isinstance(meta, dict) and any(mask(value) is not value for value in meta.values()):
            # A formatter may write the request, and the handler that sends mails does.
            record.request = _without_key(request, meta)
        return True


def mask(value: Any) -> Any:
    """The text without the valet keys in its URLs; every other value as it is."""
    if not isinstance(value, str) or not _KEY.search(value):
        return value
    return _KEY.sub(MASKED, value)


def _without_key(request: Any, meta: dict[str, Any]) -> Any:
    """A copy of Django's request whose URL and header fields hold no key."""
    copy = object.__new__(type(request))
    vars(copy).update(vars(request))
    copy.META = {name: mask(value) for name, value in meta.items()}
    if hasattr(request, "environ"):
        copy.environ = copy.META
    # Django reads it again, from META.
    vars(copy).pop("GET", None)
    return copy


def add_filter(log_filter: logging.Filter, names: Iterable[str]) -> None:
    """Add the filter to the loggers with these names, once."""
    for name in names:
        logging.getLogger(name).addFilter(log_filter)


_valet_keys = ValetKeyFilter()


def mask_valet_keys() -> None:
    """Keep valet keys out of the logs of Django and of the servers that log through Python."""
    # Django logs a suspicious request on a logger with the name of the exception.
    errors = [SuspiciousOperation, *_subclasses(SuspiciousOperation)]
    suspicious = [f"django.security.{error.__name__}" for error in errors]
    add_filter(_valet_keys, (*LOGGERS_OF_REQUESTS, *suspicious))


def _subclasses(cls: type) -> Iterator[type]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
