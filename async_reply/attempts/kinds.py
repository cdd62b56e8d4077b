"""A kind of operation: the function behind it and how its attempts are treated."""

import inspect
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, get_args

Function = Callable[..., Any]
Exceptions = tuple[type[BaseException], ...]
Cancel = Literal["cooperative", "interrupt", "never"]

#: What the next attempt waits for at most: much later dates are none that Python can read.
LONGEST_DELAY = timedelta(days=365)
#: What the columns of every database hold.
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Kind:
    """What `@operation_task` was given; retry options mean what they mean in Celery."""

    name: str
    function: Function
    max_retries: int = 3
    autoretry_for: Exceptions = ()
    dont_autoretry_for: Exceptions = ()
    retry_backoff: float | bool = False
    retry_backoff_max: float | timedelta = 600
    retry_jitter: bool = True
    default_retry_delay: float | timedelta = 180
    # How often a lost attempt is repeated; 0 for a job that must not run twice.
    max_losses: int = 2
    # Seconds an attempt may take.
    time_limit: int = 3600
    # Seconds its results are kept; None: as the setting RETENTION says.
    retention: int | None = None
    # Where the message goes; '' and None leave it to Celery's routes.
    queue: str = ""
    priority: int | None = None
    # Seconds its operations are expected to run, believed until a few have told more.
    expected_duration: float | None = None
    # Which of the kind's past operations resemble one, by its input: a size class, for example.
    get_estimate_key: Callable[[Any], object] | None = None
    # "cooperative": the job is told at its next call. "interrupt": also between its calls, where
    # the pool runs it in a main thread (prefork, solo). "never": it can only be waited for.
    cancel: Cancel = "cooperative"
    # What the pool raises in a job that ran for too long.
    timeouts: Exceptions = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Raise TypeError when the function cannot be a job, or for options that mean nothing."""
        name = getattr(self.function, "__qualname__", repr(self.function))
        if inspect.iscoroutinefunction(self.function) or inspect.isgeneratorfunction(self.function):
            raise TypeError(
                f"{name} is not a plain function: Celery neither awaits nor iterates. Call async "
                "code in it with asgiref.sync.async_to_sync, and return the result."
            )
        first = next(iter(inspect.signature(self.function).parameters.values()), None)
        if first is None or not _takes_operation(first):
            raise TypeError(
                f"{name} does not take the operation first: write def {name}(operation, …), or "
                "_operation where it is not used."
            )
        self._check_options()

    def _check_options(self) -> None:
        """Raise TypeError or ValueError: at submit the database would refuse them, or nobody."""
        _check_count("max_retries", self.max_retries, least=0)
        _check_count("max_losses", self.max_losses, least=0)
        _check_count("time_limit", self.time_limit, least=1)
        if self.retention is not None:
            _check_count("retention", self.retention, least=0)
        for name in ("default_retry_delay", "retry_backoff_max"):
            seconds(getattr(self, name), name=name)
        if not isinstance(self.retry_backoff, bool):
            seconds(self.retry_backoff, name="retry_backoff")
        if self.cancel not in get_args(Cancel):
            known = ", ".join(map(repr, get_args(Cancel)))
            raise ValueError(f"cancel={self.cancel!r} is not known: write one of {known}.")

    @property
    def takes_input(self) -> bool:
        """False for a function with the one parameter `operation`, which reads its `.input`."""
        return len(inspect.signature(self.function).parameters) > 1

    def takes(self, name: str) -> bool:
        """Whether the function can be called with a value called `name`."""
        if not self.takes_input:
            return True
        try:
            inspect.signature(self.function).bind_partial(object(), **{name: None})
        except TypeError:
            return False
        return True

    def check_input(self, values: Mapping[str, Any]) -> None:
        """Raise TypeError when the function cannot be called with `values`."""
        if not self.takes_input:
            return
        try:
            inspect.signature(self.function).bind(object(), **values)
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
        """Seconds before the attempt that follows `retries` earlier ones."""
        if not self.retry_backoff:
            return seconds(self.default_retry_delay, name="default_retry_delay")
        factor = 1.0 if self.retry_backoff is True else float(self.retry_backoff)
        bound = seconds(self.retry_backoff_max, name="retry_backoff_max")
        longest = min(bound, factor * 2 ** min(retries, 32))
        return random.uniform(0, longest) if self.retry_jitter else longest  # noqa: S311


def seconds(delay: float | timedelta, *, name: str) -> float:
    """A delay that may be given as a timedelta; raises TypeError or ValueError for another."""
    number: object = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"{name} takes seconds or a timedelta, not {delay!r}.")
    longest = LONGEST_DELAY.total_seconds()
    # NaN is refused by its not being between anything.
    if not 0 <= number <= longest:
        raise ValueError(
            f"{name} takes 0 to {longest:.0f} seconds ({LONGEST_DELAY.days} days), not {delay!r}."
        )
    return float(number)


def _check_count(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} takes a whole number, {least} to {LARGEST}, not {value!r}.")
    if not least <= value <= LARGEST:
        raise ValueError(f"{name} takes a whole number, {least} to {LARGEST}, not {value!r}.")


def _takes_operation(parameter: inspect.Parameter) -> bool:
    """Whether a job's first parameter is the operation; a bare decorator has `*args`."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return True
    positional = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    return positional and parameter.name.strip("_") == "operation"
