"""The handle that a job gets as its first argument, `operation`."""

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
from async_reply.attempts.kinds import to_seconds
from async_reply.exceptions import PayloadError, RetryLater
from async_reply.files import inputs, store, streams
from async_reply.models import Operation, OperationFile
from async_reply.protocol import headers

Item = TypeVar("Item")
#: Linux refuses longer paths.
MAX_PATH_CHARACTERS = 4096
ABSOLUTE_PATH = re.compile(r"(?:/[\w.@+ -]+)+/?")
Content: TypeAlias = "bytes | str | Path | streams.Stream | Iterable[bytes | str]"


class Job:
    """The running attempt, as its job sees it."""

    def __init__(self, operation: Operation, claim: Claim) -> None:
        self._operation = operation
        self._claim = claim
        self._opened_files: list[inputs.Opened] = []
        #: The functions given to `on_finish`.
        self.callbacks: list[Callable[[], object]] = []

    @property
    def id(self) -> UUID:
        """The same in all attempts: use it to make the job's effects idempotent."""
        return self._operation.pk

    @property
    def attempt(self) -> int:
        """1 for the first attempt."""
        return self._operation.attempt

    @property
    def owner(self) -> str:
        """The owner's key as text; '' for an operation without an owner."""
        return self._operation.owner

    @property
    def extra(self) -> dict[str, Any]:
        """The values that the project attached at submit."""
        extra: dict[str, Any] = self._operation.extra
        return extra

    @cached_property
    def input(self) -> dict[str, Any]:
        """The operation's input. Uploads in it are files, open for reading bytes."""
        self._opened_files = outages.read_for_job(self.id, lambda: inputs.opened(self._operation))
        return inputs.put_back(self._operation.input, self._opened_files)

    def progress(self, done: float, total: float | None = 100, message: str = "") -> None:
        """Show `done` of `total` and a `message`; raises JobInterrupted when the job has to stop.

        Calls are cheap enough for a tight loop: progress is written once a second.
        """
        claim = self._claim
        claim.progress = (_percent(done, total), message, 0, None)
        if claim.needs_check:
            claim.check()

    def track(
        self, iterable: Iterable[Item], *, total: int | None = None, description: str = ""
    ) -> Iterator[Item]:
        """Yield from `iterable`; show progress and hear of a cancel at each item."""
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self.progress(0, total, description)
        claim = self._claim
        for done, item in enumerate(iterable, 1):
            yield item
            claim.progress = (_percent(done, total), description, done, total)
            if claim.needs_check:
                claim.check()

    def check_canceled(self) -> None:
        """Raise OperationCanceled, ClaimLost or another JobInterrupted when the job has to stop."""
        self._claim.check(now=True)

    def retry(self, *, after: float | timedelta | None = None) -> NoReturn:
        """End this attempt; the next one begins in `after` seconds, or after the kind's delay.

        Raises TypeError or ValueError for a delay that is not between 0 and a year.
        """
        raise RetryLater(None if after is None else to_seconds(after, name="retry(after=…)"))

    def file(
        self, content: Content, *, name: str, content_type: str = "application/octet-stream"
    ) -> results.JobResult:
        """A file as the job's result: return it. Bytes, text, a path, an open file or an iterable.

        Raises PayloadError for a `content_type` that is not a media type, and for a text that is
        the path of a file: pass Path(…) for the file's content, bytes for the text itself.
        """
        if isinstance(content, str) and _is_path(content):
            raise PayloadError(
                "operation.file() was given a text that is the path of a file: pass Path(…) to "
                "store that file's content, or the text's .encode() to store the text."
            )
        if not headers.is_media_type(content_type):
            raise PayloadError("The file's content type is not a media type.")
        with _as_stream(content) as stream:
            file = store.save(
                self._operation,
                stream,
                role=OperationFile.Role.RESULT,
                name=name,
                content_type=content_type,
                attempt=self.attempt,
            )
        return results.JobResult(file=file, content_type=content_type)

    def created(self, route: str, *args: Any, **kwargs: Any) -> results.JobResult:
        """A resource of this project as the job's result, by URL name and arguments: return it.

        Raises PayloadError where the project has no such URL.
        """
        return results.created(route, args, kwargs)

    def redirect(self, url: str) -> results.JobResult:
        """An absolute URL as the job's result: return it.

        Raises ValueError for a host that `REDIRECT_HOSTS` does not name.
        """
        return results.redirect(url)

    def on_finish(self, function: Callable[[], object]) -> None:
        """Call `function` in the transaction that stores success, so its writes happen once."""
        self.callbacks.append(function)

    def close(self) -> None:
        """Close the input's files, even those that the job took out of `input`."""
        inputs.close(self._opened_files)


def _percent(done: Any, total: Any) -> int | None:
    """Percent done; None for numbers that have no percentage."""
    try:
        return int(100 * done / total) if total else None
    except (ArithmeticError, TypeError, ValueError):
        return None


def _is_path(text: str) -> bool:
    """Whether a text looks like an absolute path, or is the path of a file that exists."""
    if ABSOLUTE_PATH.fullmatch(text):
        return True
    try:
        return len(text) <= MAX_PATH_CHARACTERS and Path(text).is_file()
    except (OSError, ValueError):
        return False


def _as_stream(content: Content) -> AbstractContextManager[streams.Stream]:
    """`content` as a seekable stream. A stream that the job opened stays open."""
    if isinstance(content, Path):
        return content.open("rb")
    if isinstance(content, bytes | str):
        return streams.spool([content])
    if streams.is_stream(content):
        return nullcontext(cast("streams.Stream", content))
    return streams.spool(streams.chunks(content) if hasattr(content, "read") else content)
