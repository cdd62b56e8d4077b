"""A kind of operation: the job's function, and the options of its attempts."""

import inspect
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal, get_args

Function = Callable[..., Any]
Exceptions = tuple[type[BaseException], ...]
Cancel = Literal["cooperative", "interrupt", "never"]

#: A retry waits for a year at most: Python cannot read dates after the year 9999.
MAX_DELAY = timedelta(days=365)
#: Seconds of the longest total_time_limit: a year, too.
MAX_TOTAL = int(MAX_DELAY.total_seconds())
#: A name is a part of a URL.
QUESTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
#: The largest number that the columns of every database hold.
MAX_INTEGER = 2**31 - 1
#: Options of Celery that `@operation_task` does not take -> the reason, or the option to use.
REFUSED = {
    "bind": "the job's first parameter is the operation",
    "acks_late": "messages are acknowledged early, because a lost job is repeated from its row",
    "reject_on_worker_lost": "a lost job is repeated from its row",
    "base": "the package has a class of its own for operations",
    "ignore_result": "the result is stored with the operation, and clients get it from there",
    "store_errors_even_if_ignored": "Celery's result backend gets the errors, if there is one",
    "retry_kwargs": "write max_retries=… and default_retry_delay=…",
    "countdown": "write services.submit(task, available_at=…)",
    "eta": "write services.submit(task, available_at=…)",
}


@dataclass(frozen=True)
class Kind:
    """The options of `@operation_task`. Options for retries mean the same as in Celery."""

    name: str
    function: Function
    max_retries: int = 3
    autoretry_for: Exceptions = ()
    dont_autoretry_for: Exceptions = ()
    retry_backoff: float | bool = False
    retry_backoff_max: float | timedelta = 600
    retry_jitter: bool = True
    default_retry_delay: float | timedelta = 180
    # Attempts after lost ones; 0 for a job that must not run twice.
    max_losses: int = 2
    # Seconds an attempt may take.
    time_limit: int = 3600
    # Seconds from the time at which an operation may start to its end, all attempts together.
    total_time_limit: int | None = None
    # Seconds for which results are kept; None for the setting RETENTION.
    retention: int | None = None
    # Queue and priority of the message; '' and None leave them to Celery's routes.
    queue: str = ""
    priority: int | None = None
    # Seconds that an operation is expected to run, used until enough of them have run.
    expected_duration: float | None = None
    # Maps an input to a key, for example a size class. Operations with the same key are
    # expected to take equally long.
    get_estimate_key: Callable[[Any], object] | None = None
    # Called with the operation in the transaction that stores its failure, or that it was canceled.
    on_failure: Callable[[Any], object] | None = None
    on_cancel: Callable[[Any], object] | None = None
    # "cooperative": the job hears of a cancel at its next call. "interrupt": also between calls,
    # in pools that run jobs in a main thread (prefork, solo). "never": clients cannot cancel.
    cancel: Cancel = "cooperative"
    # The questions that the job may ask: a serializer of REST framework for each name.
    asks: Mapping[str, Any] = field(default_factory=dict, hash=False)
    # Whether clients read what the job logs by Python's logging, where OperationLogHandler is used.
    public_logs: bool = False
    # Exceptions that the pool raises in a job that ran for too long.
    timeouts: Exceptions = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError for a function or an option that no job can have."""
        name = getattr(self.function, "__qualname__", repr(self.function))
        if inspect.iscoroutinefunction(self.function) or inspect.isgeneratorfunction(self.function):
            raise TypeError(
                f"{name} is not a plain function: Celery neither awaits nor iterates. Call async "
                "code in it with asgiref.sync.async_to_sync, and return the result."
            )
        first = next(iter(self._signature.parameters.values()), None)
        if first is None or not _takes_operation(first):
            raise TypeError(
                f"{name} does not take the operation first: write def {name}(operation, …), or "
                "_operation where it is not used."
            )
        self._check_options()

    def _check_options(self) -> None:
        """Raise TypeError or ValueError, since the database would refuse a value only at submit."""
        _check_count("max_retries", self.max_retries, least=0)
        _check_count("max_losses", self.max_losses, least=0)
        _check_count("time_limit", self.time_limit, least=1)
        if self.total_time_limit is not None:
            _check_count("total_time_limit", self.total_time_limit, least=1, most=MAX_TOTAL)
        if self.retention is not None:
            _check_count("retention", self.retention, least=0)
        for name in ("default_retry_delay", "retry_backoff_max"):
            to_seconds(getattr(self, name), name=name)
        if not isinstance(self.retry_backoff, bool):
            to_seconds(self.retry_backoff, name="retry_backoff")
        for name in ("on_failure", "on_cancel"):
            function = getattr(self, name)
            if function is not None and not callable(function):
                raise TypeError(f"{name} takes a function of the operation, not {function!r}.")
        _check_questions(self.asks)
        if not isinstance(self.public_logs, bool):
            raise TypeError(f"public_logs takes True or False, not {self.public_logs!r}.")
        if self.cancel not in get_args(Cancel):
            choices = ", ".join(map(repr, get_args(Cancel)))
            raise ValueError(f"cancel={self.cancel!r} is not known: write one of {choices}.")

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @property
    def takes_input(self) -> bool:
        """Whether the function has parameters for the input, besides `operation`."""
        return len(self._signature.parameters) > 1

    def takes(self, name: str) -> bool:
        """Whether the function can be called with an input called `name`."""
        if not self.takes_input:
            return True
        try:
            self._signature.bind_partial(object(), **{name: None})
        except TypeError:
            return False
        return True

    def check_input(self, values: Mapping[str, Any]) -> None:
        """Raise TypeError when the function cannot be called with `values`."""
        if not self.takes_input:
            return
        try:
            self._signature.bind(object(), **values)
        except TypeError as error:
            raise TypeError(
                f"{self.name} cannot be called with {', '.join(values) or 'no input'}: {error}. "
                "Make the view's get_input() and the task's parameters agree."
            ) from error

    def retries_on(self, error: BaseException) -> bool:
        """Whether `autoretry_for` covers `error`."""
        return isinstance(error, self.autoretry_for) and not isinstance(
            error, self.dont_autoretry_for
        )

    def delay(self, retries: int) -> float:
        """Seconds until the next attempt, after `retries` earlier retries."""
        if not self.retry_backoff:
            return to_seconds(self.default_retry_delay, name="default_retry_delay")
        factor = 1.0 if self.retry_backoff is True else float(self.retry_backoff)
        maximum = to_seconds(self.retry_backoff_max, name="retry_backoff_max")
        longest = min(maximum, factor * 2 ** min(retries, 32))
        return random.uniform(0, longest) if self.retry_jitter else longest  # noqa: S311


def to_exceptions(option: str, given: Any) -> Exceptions:
    """A tuple of exception classes. `given` may be a single class, as in an except clause."""
    classes = tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(item, type) and issubclass(item, BaseException) for item in classes):
        raise TypeError(f"{option} takes exception classes, not {given!r}.")
    return classes


def to_seconds(delay: float | timedelta, *, name: str) -> float:
    """A delay as seconds; raises TypeError or ValueError unless it is between 0 and a year."""
    number: object = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"{name} takes seconds or a timedelta, not {delay!r}.")
    longest = MAX_DELAY.total_seconds()
    # NaN fails this comparison too.
    if not 0 <= number <= longest:
        raise ValueError(
            f"{name} takes 0 to {longest:.0f} seconds ({MAX_DELAY.days} days), not {delay!r}."
        )
    return float(number)


def _check_questions(asks: object) -> None:
    """Raise TypeError or ValueError for names that no URL has, and for what is no serializer."""
    if not isinstance(asks, Mapping):
        raise TypeError(f"asks takes a dict of names and serializers, not {asks!r}.")
    for name, serializer in asks.items():
        if not isinstance(name, str) or not QUESTION_NAME.fullmatch(name):
            raise ValueError(f"asks takes names of letters, digits, - and _, not {name!r}.")
        # The worker does without REST framework, where no task needs it.
        if not isinstance(serializer, type) or not hasattr(serializer, "run_validation"):
            raise TypeError(f"asks[{name!r}] takes a serializer's class, not {serializer!r}.")


def _check_count(name: str, value: object, *, least: int, most: int = MAX_INTEGER) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} takes a whole number, {least} to {most}, not {value!r}.")
    if not least <= value <= most:
        raise ValueError(f"{name} takes a whole number, {least} to {most}, not {value!r}.")


def _takes_operation(parameter: inspect.Parameter) -> bool:
    """Whether a job's first parameter is the operation. A decorated job may show `*args` alone."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return True
    positional = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    return positional and parameter.name.strip("_") == "operation"
