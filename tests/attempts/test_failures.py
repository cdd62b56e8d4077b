"""The error that a client reads after a job failed, and the level at which it is logged."""

import json
import logging
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext_lazy
from rest_framework import exceptions as drf
from rest_framework import serializers

from async_reply import services
from async_reply.attempts import failures, runner
from async_reply.attempts.kinds import Kind
from async_reply.exceptions import OperationFailed, PayloadError, StorageFailed
from async_reply.models import Operation, OperationAttempt
from async_reply.tasks import operation_task
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db

#: The members of every `error`. A job may add others.
MEMBERS = {"code", "message", "type", "title", "status", "detail"}
SEE_ERRORS = "The request is not valid: see errors."


class Refusal(drf.APIException):
    status_code = 422
    default_detail = "Refused."
    default_code = "refused"


class RowSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    amount = serializers.IntegerField(min_value=1)


def serializer_errors() -> drf.ValidationError:
    rows = RowSerializer(data=[{"name": "a"}, {"name": "b", "amount": 0}], many=True)
    with pytest.raises(drf.ValidationError) as raised:
        rows.is_valid(raise_exception=True)
    return raised.value


def error_of(error: BaseException) -> dict[str, Any]:
    """The `error` of an operation whose job raised `error`, from the database."""
    operation = services.submit(echo)

    def job(operation: Any) -> None:
        raise error

    runner.run(operation.pk, Kind(name=echo.name, function=job), worker="w1", inline=True)
    operation.refresh_from_db()
    assert isinstance(operation.error, dict)
    assert operation.error["message"] == operation.error["detail"]
    return operation.error


#: An exception that the client is told of, and its code, status, text and other members.
CHOICES: list[tuple[BaseException, str, int, str, dict[str, Any]]] = [
    (OperationFailed("No."), "operation-failed", 409, "No.", {}),
    (
        OperationFailed("No.", code="no", status_code=422, errors={"year": ["Not over."]}),
        *("no", 422, "No.", {"errors": {"year": ["Not over."]}}),
    ),
    (
        OperationFailed("No.", members={"balance": 30, "accounts": ["/1"], "name": "Ada"}),
        *("operation-failed", 409, "No.", {"balance": 30, "accounts": ["/1"], "name": "Ada"}),
    ),
    (
        OperationFailed(["First.", "Second."], code="bad", status_code=400),
        *("bad", 400, "The operation failed: see errors.", {"errors": ["First.", "Second."]}),
    ),
    (
        OperationFailed({"year": ["Not over."]}),
        *("operation-failed", 409, "The operation failed: see errors."),
        {"errors": {"year": ["Not over."]}},
    ),
    (OperationFailed(gettext_lazy("No.")), "operation-failed", 409, "No.", {}),
    (OperationFailed(ValueError("No.")), "operation-failed", 409, "No.", {}),
    (drf.ValidationError("Odd."), "invalid", 400, "Odd.", {"errors": ["Odd."]}),
    (drf.ValidationError("Odd.", code="odd"), "odd", 400, "Odd.", {"errors": ["Odd."]}),
    (drf.ValidationError(["A.", "B."]), "invalid", 400, SEE_ERRORS, {"errors": ["A.", "B."]}),
    (
        drf.ValidationError({"year": ["Odd."], "page": {"size": [gettext_lazy("Big.")]}}),
        *("invalid", 400, SEE_ERRORS, {"errors": {"year": ["Odd."], "page": {"size": ["Big."]}}}),
    ),
    (
        serializer_errors(),
        *("invalid", 400, SEE_ERRORS),
        {
            "errors": {
                "0": {"amount": ["This field is required."]},
                "1": {"amount": ["Ensure this value is greater than or equal to 1."]},
            }
        },
    ),
    (ValidationError("Odd."), "invalid", 400, "Odd.", {"errors": ["Odd."]}),
    (ValidationError(["A.", "B."]), "invalid", 400, SEE_ERRORS, {"errors": ["A.", "B."]}),
    (
        ValidationError({"year": ["Odd."], "__all__": ["Both."]}),
        *(
            "invalid",
            400,
            SEE_ERRORS,
            {"errors": {"year": ["Odd."], "non_field_errors": ["Both."]}},
        ),
    ),
    (Http404(), "not_found", 409, "Not found.", {}),
    (Http404("No such report."), "not_found", 409, "No such report.", {}),
    (Http404({"tried": [["secret"]]}), "not_found", 409, "Not found.", {}),
    (
        PermissionDenied(),
        *("permission_denied", 403, "You do not have permission to perform this action.", {}),
    ),
    (PermissionDenied("Not yours."), "permission_denied", 403, "Not yours.", {}),
    (drf.NotFound(), "not_found", 409, "Not found.", {}),
    (drf.PermissionDenied("Not yours."), "permission_denied", 403, "Not yours.", {}),
    (drf.Throttled(), "throttled", 409, "Request was throttled.", {}),
    (Refusal(), "refused", 422, "Refused.", {}),
    (Refusal("No.", code="no"), "no", 422, "No.", {}),
    (Refusal(["A.", "B."]), "refused", 422, "Refused.", {"errors": ["A.", "B."]}),
    (
        Refusal({"detail": "Bad token.", "code": "token_not_valid", "messages": [{"a": "b"}]}),
        *("token_not_valid", 422, "Bad token."),
        {"messages": [{"a": "b"}]},
    ),
    (
        Refusal({"year": ["Odd."], "status": "x", "type": "y"}),
        *("refused", 422, "Refused.", {"year": ["Odd."], "errors": {"status": "x", "type": "y"}}),
    ),
]


@pytest.mark.parametrize(("error", "code", "status", "text", "members"), CHOICES)
def test_explain__has_code_status_text_and_members_of_the_job(
    error: BaseException, code: str, status: int, text: str, members: dict[str, Any]
) -> None:
    shown = error_of(error)
    assert (shown["code"], shown["status"], shown["detail"]) == (code, status, text)
    assert {name: shown[name] for name in set(shown) - MEMBERS} == members


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def changed(**attributes: Any) -> OperationFailed:
    """A failure whose attributes were set later, without its checks."""
    error = OperationFailed("No.", code="no", status_code=422)
    vars(error).update(attributes)
    return error


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({"a": ["\x00"]}, {"a": [r"\x00"]}),
        ({"a": ["\ud800"], "\x00": ["b"]}, {"a": [r"\ud800"], r"\x00": ["b"]}),
        ({"a": ("b", {1: "c"})}, {"a": ["b", {"1": "c"}]}),
    ],
)
def test_explain__escapes_texts_that_databases_refuse(errors: Any, expected: Any) -> None:
    assert error_of(OperationFailed("No.", errors=errors))["errors"] == expected
    assert error_of(drf.ValidationError(errors))["errors"] == expected
    assert error_of(OperationFailed("No.", members={"m": errors}))["m"] == expected


@pytest.mark.parametrize(
    "error",
    [
        OperationFailed("No.", code="no", status_code=422, errors=deep(40)),
        OperationFailed("No.", code="no", status_code=422, members={"m": deep(40)}),
        OperationFailed("No.", code="no", status_code=422, errors=["x" * 2_000_000]),
        changed(errors=object()),
        changed(errors=float("nan")),
        changed(members={"m": {1, 2}}),
        changed(errors=deep(100_000)),
    ],
    ids=["errors-deep", "members-deep", "large", "object", "nan", "set", "deeper"],
)
def test_explain__keeps_text_and_code_when_members_cannot_be_stored(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    shown = error_of(error)
    assert (shown["code"], shown["status"], shown["detail"]) == ("no", 422, "No.")
    assert set(shown) == MEMBERS
    assert "Errors and members of a failure of tests.project.echo are not stored" in caplog.text


@pytest.mark.parametrize("name", sorted(MEMBERS | {"errors"}))
def test_explain__members_overwrite_nothing(name: str) -> None:
    with pytest.raises(ValueError, match=f"members cannot have {name}: .* Choose other names"):
        OperationFailed("No.", members={name: 1, "other": 2})
    shown = error_of(changed(members={name: "rubbish", "other": 2}))
    assert (shown["code"], shown["status"], shown["detail"]) == ("no", 422, "No.")
    assert shown["other"] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"members": {"m": b"x"}},
        {"members": {"m": float("nan")}},
        {"members": ["m"]},
        {"members": "m"},
        {"errors": {"year": {1, 2}}},
        {"errors": float("inf")},
    ],
    ids=str,
)
def test_operation_failed__refuses_values_that_are_not_json(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="JSON"):
        OperationFailed("No.", **arguments)
    with pytest.raises(TypeError, match="a text as detail"):
        OperationFailed(["No."], errors=["No."])


@dataclass
class Secret:
    """A class whose name no client may read."""


SECRET = "/srv/project/secret-7.csv"


#: Exceptions whose text may quote a class, a path, a value or SQL.
SECRETIVE: list[BaseException] = [
    KeyError(SECRET),
    FileNotFoundError(2, "No such file", SECRET),
    StorageFailed(2, "No such file", SECRET),
    PayloadError(f"{Secret.__qualname__} {SECRET}"),
    TypeError(f"{Secret.__qualname__}() takes no {SECRET}"),
    Operation.DoesNotExist(SECRET),
    RuntimeError(f"SELECT {SECRET}"),
    Http404("No OperationAttempt matches the given query."),
]


def test_secretive__has_the_text_of_todays_django() -> None:
    with pytest.raises(Http404) as raised:
        get_object_or_404(OperationAttempt, pk=-7)
    assert raised.value.args == SECRETIVE[-1].args


@pytest.mark.parametrize("error", SECRETIVE, ids=lambda error: type(error).__name__)
def test_explain__shows_nothing_of_the_server(error: BaseException) -> None:
    shown = json.dumps(error_of(error))
    assert SECRET not in shown
    for name in ("Secret", "OperationAttempt", "Traceback", "SELECT", __name__):
        assert name not in shown
    assert type(error).__qualname__ in OperationAttempt.objects.get().traceback


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no such\x00 year"), "no such\\x00 year"),
        (ValueError("a" * 2000), "a" * 1000),
        (KeyError("year"), "'year'"),
        (Unreadable(), ""),
    ],
    ids=["cleaned", "bounded", "key", "unreadable"],
)
def test_record__stores_the_message_of_the_exception(error: Exception, message: str) -> None:
    error_of(error)
    row = OperationAttempt.objects.get()
    assert (row.exception.rpartition(".")[2], row.message) == (type(error).__name__, message)


def test_event__that_cannot_be_stored_is_not_called_a_result_alone() -> None:
    def emit(operation: Any) -> None:
        operation.emit("row", float("nan"))

    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=emit)
    runner.run(operation.pk, kind, worker="w1", inline=True)
    operation.refresh_from_db()
    assert "or an event" in (operation.error or {})["detail"]


@pytest.mark.parametrize(
    "value",
    [Secret(), {"a": [Secret()]}, {Secret: 1}, {(1, 2): 3}, float("nan"), "\x00"],
    ids=["object", "nested", "class-as-key", "tuple-as-key", "nan", "nul"],
)
def test_result__that_cannot_be_stored_is_shown_to_operators_only(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=lambda operation: value)
    runner.run(operation.pk, kind, worker="w1", inline=True)
    operation.refresh_from_db()
    shown = operation.error or {}
    assert (shown["code"], shown["detail"]) == ("invalid-result", failures.VALUE_NOT_STORED)
    assert set(shown) == MEMBERS
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    traceback = OperationAttempt.objects.get().traceback
    assert str(record.exc_info[1]) in traceback
    if "Secret" in repr(value):
        assert "Secret" in traceback or "type" in traceback


@operation_task(name="tests.failures.raise_it", max_retries=0)
def raise_it(operation: Any, *, index: int) -> None:
    raise ERRORS[index][0]


class ServerError(drf.APIException):
    """Its status is 500 by default."""


#: An exception, and whether it is a refusal: then operators need no traceback.
ERRORS: list[tuple[BaseException, bool]] = [
    *((choice[0], True) for choice in CHOICES),
    (ZeroDivisionError("division by zero"), False),
    (PayloadError("NaN"), False),
    (StorageFailed("full"), False),
    (ServerError("Broken."), False),
    (SystemExit(3), False),
    (MemoryError(), False),
    (type("Odd", (OperationFailed,), {"__init__": lambda self: None})(), False),
]


@pytest.mark.parametrize("index", range(len(ERRORS)), ids=[repr(error)[:40] for error, _ in ERRORS])
def test_log__has_one_line_for_a_refusal_and_a_traceback_for_others(
    index: int, caplog: pytest.LogCaptureFixture
) -> None:
    operation = services.submit(raise_it, input={"index": index})
    caplog.set_level(logging.INFO)
    raise_it.apply(task_id=str(operation.pk))
    operation.refresh_from_db()
    assert operation.status == "failed"
    own = [record for record in caplog.records if record.name == "async_reply"]
    (line,) = [record for record in own if "status=failed" in record.getMessage()]
    celery = [record for record in caplog.records if record.name.startswith("celery")]
    if ERRORS[index][1]:
        assert (line.levelno, line.exc_info) == (logging.INFO, None)
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert not [record for record in celery if record.exc_info]
        assert "Traceback" not in caplog.text
    else:
        assert line.levelno == logging.ERROR
        assert line.exc_info
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == [line]


def test_throws__keeps_the_exceptions_of_the_project() -> None:
    @operation_task(name="tests.failures.own_throws", throws=(LookupError,))
    def task(operation: Any) -> None:
        return None

    assert isinstance(KeyError(), task.throws)
    assert isinstance(OperationFailed("No."), task.throws)
    assert not isinstance(ValueError(), task.throws)
