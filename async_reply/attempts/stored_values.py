"""Turns what a step returns or raises into text for its row, and back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from async_reply.attempts.kinds import Exceptions
from async_reply.attempts.results import JobResult
from async_reply.database import payloads
from async_reply.exceptions import PayloadError, PayloadTooLarge, StepFailed
from async_reply.models import OperationStep
from async_reply.stored_steps import NAME_LENGTH

#: Bytes of JSON for the arguments and attributes of an exception.
MAX_EXCEPTION_BYTES = 64 * 1024


def of_value(value: Any, *, limit: int) -> str:
    """`value` as JSON; raises PayloadError for a value that is neither JSON nor a file."""
    if isinstance(value, JobResult):
        raise PayloadError(
            "A step returns JSON or operation.file(…): created(…) and redirect(…) are results of "
            "the whole job."
        )
    try:
        return _to_text(payloads.to_json(value, limit=limit))
    except PayloadTooLarge as error:
        raise PayloadTooLarge(f"{error} Return operation.file(...) instead.") from error


def to_value(row: OperationStep) -> Any:
    """A new copy of the stored value, which the job may change."""
    return json.loads(row.value)


def digest(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A digest of a step's arguments; '' if they are not JSON."""
    try:
        return payloads.digest(payloads.to_json([args, kwargs]))
    except PayloadError:
        return ""


def of_exception(error: Exception) -> tuple[str, str]:
    """Arguments and attributes of an exception as JSON, and the path of its class.

    Arguments that are not JSON become text, attributes that are not JSON are left out.
    """
    args = [value if _is_json(value) else str(value) for value in error.args]
    attributes = {name: value for name, value in vars(error).items() if _is_json(value)}
    stored = {"args": args, "attributes": attributes}
    text = _to_text(payloads.to_clean_json(stored, limit=MAX_EXCEPTION_BYTES))
    return text, _path(type(error))


def to_exception(row: OperationStep, classes: Sequence[type[Exception]]) -> Exception:
    """A new exception as the step raised it; raises StepFailed if `classes` have none like it."""
    for found in _with_subclasses(classes):
        if _path(found) == row.exception:
            stored = json.loads(row.value)
            error = _made_again(found, stored["args"], row.name)
            error.args = tuple(stored["args"])
            vars(error).update(stored["attributes"])
            return error
    raise StepFailed(
        f"The step {row.name!r} stored a {row.exception}, and its stores=(…) does not name it now."
    )


def _made_again(cls: type[Exception], args: Sequence[Any], step: str) -> Exception:
    """An exception of this class, as its arguments make it. It may keep more than its attributes.

    Its __init__ may want other arguments than those that it keeps. Then it is not called.
    """
    with suppress(Exception):
        return cls(*args)
    try:
        return cls.__new__(cls, *args)
    except Exception as error:
        raise StepFailed(
            f"The step {step!r} stored a {_path(cls)}, which its arguments as JSON do not make "
            "again: raise another exception in the step's function."
        ) from error


def _with_subclasses(classes: Sequence[type[Exception]]) -> Iterator[type[Exception]]:
    for known in classes:
        yield known
        yield from _with_subclasses(known.__subclasses__())


def _path(exception: type[Exception]) -> str:
    return f"{exception.__module__}.{exception.__qualname__}"[:255]


def _is_json(value: Any) -> bool:
    try:
        payloads.to_json(value)
    except PayloadError:
        return False
    return True


def _to_text(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False)


def check_name(name: object) -> None:
    """Raise TypeError or ValueError for a name that no step can have."""
    if not isinstance(name, str):
        raise TypeError(f"A step's name is a text, not {name!r}.")
    if not 0 < len(name) <= NAME_LENGTH or not name.isprintable():
        raise ValueError(f"A step's name has 1 to {NAME_LENGTH} printable characters.")


def to_classes(stores: Exceptions | type[Exception]) -> tuple[type[Exception], ...]:
    """The exceptions that a step stores. Those that interrupt a job are no outcome of a step."""
    classes = stores if isinstance(stores, tuple) else (stores,)
    if not all(isinstance(item, type) and issubclass(item, Exception) for item in classes):
        raise TypeError(f"stores takes subclasses of Exception, not {stores!r}.")
    return classes  # type: ignore[return-value]
