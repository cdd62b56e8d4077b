"""The handle that a job gets as its first argument, `operation`."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from async_reply.attempts import contents, emitting, outages, pauses, results, tracking
from async_reply.attempts.claims import Claim
from async_reply.attempts.contents import Content
from async_reply.attempts.cursors import ResumeFrom
from async_reply.attempts.kinds import Exceptions, to_seconds
from async_reply.attempts.steps import Steps
from async_reply.exceptions import PayloadError, RetryLater
from async_reply.files import inputs, store
from async_reply.models import Operation, OperationFile
from async_reply.protocol import headers

Item = TypeVar("Item")


class Job:
    """The running attempt, as its job sees it."""

    def __init__(
        self,
        operation: Operation,
        claim: Claim,
        *,
        timeouts: Exceptions = (),
        asks: Collection[str] = (),
    ) -> None:
        self._operation = operation
        self._asks = asks
        self._claim = claim
        self._steps = Steps(operation, claim, timeouts=timeouts)
        self._opened_files: list[inputs.Opened] = []
        #: The functions given to `on_finish`, to `on_failure` and to `on_cancel`.
        self.callbacks: list[Callable[[], object]] = []
        self.failure_callbacks: list[Callable[[], object]] = []
        self.cancel_callbacks: list[Callable[[], object]] = []

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
        tracking.show(self._claim, done, total, message)

    def track(
        self,
        iterable: Iterable[Item] = (),
        *,
        total: int | None = None,
        description: str = "",
        resume: str | None = None,
        resume_from: ResumeFrom | None = None,
    ) -> Iterator[Item]:
        """Yield from `iterable`; show progress and hear of a cancel at each item.

        With a name in `resume` a later attempt goes on behind the last item that was done. The
        iterable is then a queryset, a list, a tuple or a range; or `resume_from(key)` returns the
        items behind a key, which is None at first, as pairs of key and item. A key is JSON.
        """
        if resume is None:
            return tracking.tracked(self._claim, iterable, total, description)
        return tracking.resumed(
            self._claim, self._steps, resume, iterable, resume_from, total, description
        )

    def emit(self, name: str, data: Any = None) -> None:
        """Add an event to the operation's log, which clients read at its `log` URL while it runs.

        `data` is JSON of 64 KiB at most. It is written within a quarter of a second, outside of the
        job's transactions. An attempt that begins anew makes the events of the last one void, up to
        its last step or item of a loop with `resume`.

        Raises TypeError or ValueError for a name that is not 1 to 64 letters, digits, '_', '-' and
        '.', or that is reserved; PayloadError for `data` that is not JSON; EventsTooLarge beyond
        MAX_EVENTS; EventRefused after the end of the job; JobInterrupted when the job has to stop.
        """
        emitting.emit(self._claim, name, data)

    def log(self, text: object, *, level: int | str = logging.INFO) -> None:
        """Add a line to the operation's log, for clients. The oldest lines go beyond MAX_EVENTS.

        Raises ValueError for a level that Python's logging does not know, and as `emit` does.
        """
        emitting.log(self._claim, text, level)

    @property
    def state(self) -> Any:
        """One small JSON value that is kept between attempts; None until the job sets it.

        It is written with the next heartbeat, step, retry or release. Raises PayloadError for a
        value that is not JSON, or of more than 64 KiB.
        """
        return self._claim.kept.state

    @state.setter
    def state(self, value: Any) -> None:
        self._claim.kept.state = value

    def step(
        self,
        name: str,
        function: Callable[..., Any],
        /,
        *args: Any,
        stores: Exceptions | type[Exception] = (),
        strict: bool = False,
        atomic: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Call `function` with the other arguments, and store what it returns under `name`.

        Once it is stored, later attempts return it and do not call the function. It is JSON, or
        `operation.file(…)`, of which the step returns an open file. `stores` names exceptions that
        are an outcome of the step: they are stored and raised again. With `strict` a later attempt
        fails if it has other arguments. With `atomic` the function's writes to the operations'
        database and the step are committed together: these writes happen once.

        Raises StepRefused inside a transaction, for a second step of this name, and beyond 1,000
        steps; PayloadError for a value that cannot be stored; JobInterrupted when the job has to
        stop, before the function and after the step is stored.
        """
        return self._steps.run(
            name, function, args, kwargs, stores=stores, strict=strict, atomic=atomic
        )

    def sleep(
        self,
        name: str,
        *,
        until: datetime | None = None,
        days: float | None = None,
        hours: float | None = None,
        minutes: float | None = None,
        seconds: float | None = None,
    ) -> None:
        """Sleep for this long, or until a time: the attempt ends, and a later one goes on here.

        No process waits. It raises JobPaused, which the job lets pass. In a later attempt the call
        returns at once when the time is over. The same name again in an attempt, as in a loop,
        sleeps anew.

        Raises StepRefused inside a transaction or a step, and in another thread; ValueError for
        more than a year.
        """
        units = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
        pauses.sleep(self._steps, self._operation, name, until, units)

    def ask(self, name: str, *, timeout: timedelta) -> Any:
        """Ask a person, and return the answer: the JSON of what the declared serializer validated.

        The attempt ends, no process waits, and a later attempt goes on here. `asks` of the task
        declares the question. Raises NoAnswer when the time is over, StepRefused as `sleep` does.
        """
        return pauses.ask(self._steps, self._claim, name, timeout, self._asks)

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
        if isinstance(content, str) and contents.is_path(content):
            raise PayloadError(
                "operation.file() was given a text that is the path of a file: pass Path(…) to "
                "store that file's content, or the text's .encode() to store the text."
            )
        if not headers.is_media_type(content_type):
            raise PayloadError("The file's content type is not a media type.")
        with contents.as_stream(content) as stream:
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

    def on_failure(self, function: Callable[[], object]) -> None:
        """Call `function` in the transaction that stores the failure of this attempt.

        Not if the attempt is retried, and not if its process dies: see the kind's `on_failure`.
        """
        self.failure_callbacks.append(function)

    def on_cancel(self, function: Callable[[], object]) -> None:
        """Call `function` in the transaction that stores that this attempt was canceled.

        Not if its process dies: see the kind's `on_cancel`.
        """
        self.cancel_callbacks.append(function)

    def end(self) -> None:
        """The job's function has returned: raises StepFailed if it swallowed a step's failure."""
        self._steps.end()

    def close(self) -> None:
        """Close the files of input and steps, even those that the job took out of `input`."""
        self._steps.close()
        inputs.close(self._opened_files)
