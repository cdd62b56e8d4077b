"""The handle a job gets as its first argument."""

import re
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, TypeVar, cast
from uuid import UUID

from async_reply.attempts import outages, results
from async_reply.attempts.claims import Claim
from async_reply.attempts.kinds import seconds
from async_reply.exceptions import PayloadError, RetryLater
from async_reply.files import inputs, store, streams
from async_reply.models import Operation, OperationFile
from async_reply.protocol import headers

Item = TypeVar("Item")
#: Of a path, in characters: Linux knows no longer ones.
LONGEST_PATH = 4096
ABSOLUTE_PATH = re.compile(r"(?:/[\w.@+ -]+)+/?")
Content: TypeAlias = "bytes | str | Path | streams.Stream | Iterable[bytes | str]"


class Job:
    """A running attempt, seen from the job; the parameter is called `operation`."""

    def __init__(self, operation: Operation, claim: Claim) -> None:
        self._operation = operation
        self._claim = claim
        self._opened: list[inputs.Opened] = []
        self.finishers: list[Callable[[], object]] = []

    @property
    def id(self) -> UUID:
        """Stays the same over all attempts: what a job can be idempotent with."""
        return self._operation.pk

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return self._operation.attempt

    @property
    def owner(self) -> str:
        """Who submitted it, '' for nobody."""
        return self._operation.owner

    @property
    def extra(self) -> dict[str, Any]:
        """What the project attached at submit."""
        extra: dict[str, Any] = self._operation.extra
        return extra

    @cached_property
    def input(self) -> dict[str, Any]:
        """The operation's input, uploads as files open for reading bytes."""
        self._opened = outages.read(self.id, lambda: inputs.opened(self._operation))
        return inputs.put_back(self._operation.input, self._opened)

    def progress(self, done: float, total: float | None = 100, message: str = "") -> None:
        """Show `done` of `total` and a `message`; raises when the job is to stop.

        Cheap enough for a tight loop: the database hears of it once a second.
        """
        claim = self._claim
        claim.news = (_percent(done, total), message, 0, None)
        if claim.wants_check:
            claim.check()

    def track(
        self, iterable: Iterable[Item], *, total: int | None = None, description: str = ""
    ) -> Iterator[Item]:
        """Yield from `iterable`, with progress and cancellation at each item."""
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self.progress(0, total, description)
        claim = self._claim
        for done, item in enumerate(iterable, 1):
            yield item
            claim.news = (_percent(done, total), description, done, total)
            if claim.wants_check:
                claim.check()

    def check_canceled(self) -> None:
        """Raise OperationCanceled, ClaimLost or another JobInterrupted when the job is to stop."""
        self._claim.check(now=True)

    def retry(self, *, after: float | timedelta | None = None) -> NoReturn:
        """End this attempt and run again in `after` seconds, or in the kind's own delay.

        Raises TypeError or ValueError for what is no delay of a year at most.
        """
        raise RetryLater(None if after is None else seconds(after, name="retry(after=…)"))

    def file(
        self, content: Content, *, name: str, content_type: str = "application/octet-stream"
    ) -> results.Outcome:
        """A file as the result: return it. Bytes, text, a path, an open file or an iterable.

        Raises PayloadError for a `content_type` that no header could carry, and for a text that
        is the path of a file: pass Path(…) for the file's content, bytes for the text itself.
        """
        if isinstance(content, str) and _is_path(content):
            raise PayloadError(
                "operation.file() was given a text that is the path of a file: pass Path(…) to "
                "store that file's content, or the text's .encode() to store the text."
            )
        if not headers.is_media_type(content_type):
            raise PayloadError("The file's content type is not a media type.")
        with _opened(content) as stream:
            stored = store.save(
                self._operation,
                stream,
                role=OperationFile.Role.RESULT,
                name=name,
                content_type=content_type,
                attempt=self.attempt,
            )
        return results.Outcome(file=stored, content_type=content_type)

    def created(self, route: str, *args: Any, **kwargs: Any) -> results.Outcome:
        """A resource as the result, by URL name and arguments: return it.

        Raises PayloadError where the project has no such URL.
        """
        return results.created(route, args, kwargs)

    def redirect(self, url: str) -> results.Outcome:
        """An absolute URL on an allowed host as the result: return it."""
        return results.redirect(url)

    def on_finish(self, function: Callable[[], object]) -> None:
        """Call `function` inside the transaction that stores success: its writes happen once."""
        self.finishers.append(function)

    def close(self) -> None:
        """Close the files of the input, wherever the job has put them."""
        inputs.close(self._opened)


def _percent(done: Any, total: Any) -> int | None:
    """How much is done; None where the numbers do not say. Called at each item of a loop."""
    try:
        return int(100 * done / total) if total else None
    except (ArithmeticError, TypeError, ValueError):
        return None


def _is_path(text: str) -> bool:
    """Whether a text reads as an absolute path, or is one at which there is a file."""
    if ABSOLUTE_PATH.fullmatch(text):
        return True
    try:
        return len(text) <= LONGEST_PATH and Path(text).is_file()
    except (OSError, ValueError):
        return False


def _opened(content: Content) -> AbstractContextManager[streams.Stream]:
    """`content` as a seekable stream; what the job opened, the job closes."""
    if isinstance(content, Path):
        return content.open("rb")
    if isinstance(content, bytes | str):
        return streams.spool([content])
    if streams.is_stream(content):
        return nullcontext(cast("streams.Stream", content))
    return streams.spool(streams.chunks(content) if hasattr(content, "read") else content)
