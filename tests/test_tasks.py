"""`@operation_task`: its options, and the Celery task that it makes."""

import inspect
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_overloads

import pytest
from celery import chain, current_app, group
from celery.exceptions import Ignore
from django.utils import timezone
from django_celery_results.models import TaskResult

from async_reply import services, tasks
from async_reply.attempts import interrupts
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import REFUSED
from async_reply.exceptions import NotCalledThisWay, UnknownKind
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.tasks import get_task, operation_task
from async_reply.testing import run_operations
from async_reply.worker import duties
from tests.conftest import configure_celery
from tests.project.tasks import break_down, echo, persist


def test_operation_task__default_name_leaves_out_the_module() -> None:
    assert echo.name == "tests.project.echo"
    assert persist.name == "tests.persist"


def test_operation_task__aliases_run_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "registered", {})

    @operation_task(name="tests.new_name", aliases=["tests.old_name"], soft_time_limit=5)
    def renamed(operation: Any) -> int:
        return 7

    old = get_task("tests.old_name")
    assert old.kind.function(None) == renamed(None) == 7
    assert renamed.soft_time_limit == 5


def test_operation_task__takes_the_timeout_of_gevent_for_a_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gevent = pytest.importorskip("gevent")
    monkeypatch.setattr(tasks, "registered", {})

    @operation_task(name="tests.waits")
    def waits(operation: Any) -> None:
        return None

    assert issubclass(gevent.Timeout, waits.kind.timeouts)


@pytest.mark.parametrize("option", [*REFUSED])
def test_operation_task__refuses_options_that_mean_something_else(option: str) -> None:
    options: dict[str, Any] = {option: True}
    with pytest.raises(TypeError, match=f"takes no {option}: [A-Za-z]"):
        operation_task(**options)(leave.kind.function)


@pytest.mark.parametrize(
    ("option", "remedy"), [("max_loses", "max_losses"), ("colour", "neither does Celery")]
)
def test_operation_task__refuses_an_unknown_option(option: str, remedy: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(TypeError, match=f"option {option}.*{remedy}"):
        operation_task(**options)(leave.kind.function)


@pytest.mark.parametrize("given", [OSError, (OSError,), [OSError], {OSError}])
@pytest.mark.parametrize("option", ["autoretry_for", "dont_autoretry_for"])
def test_operation_task__takes_one_exception_or_several(
    option: str, given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "registered", {})
    options: dict[str, Any] = {option: given, "name": f"tests.{option}.{type(given).__name__}"}
    assert getattr(operation_task(**options)(leave.kind.function).kind, option) == (OSError,)


@pytest.mark.parametrize("given", ["OSError", None, 7, OSError(), (OSError, "x"), (int,)])
@pytest.mark.parametrize("option", ["autoretry_for", "dont_autoretry_for"])
def test_operation_task__refuses_values_that_are_no_exceptions(option: str, given: Any) -> None:
    options: dict[str, Any] = {option: given}
    with pytest.raises(TypeError, match=f"{option} takes exception classes, not "):
        operation_task(**options)(leave.kind.function)


def test_operation_task__refuses_a_value_that_makes_no_sense() -> None:
    options: dict[str, Any] = {"max_retries": None}
    with pytest.raises(TypeError, match="max_retries takes a whole number"):
        operation_task(**options)(leave.kind.function)


def test_operation_task__signature_has_all_options() -> None:
    _, with_options = get_overloads(operation_task)
    declared = inspect.signature(with_options).parameters.keys() - {"options"}
    assert declared == tasks.OWN_OPTIONS | {"name", "aliases"}


@pytest.mark.parametrize(
    "method", ["delay", "apply_async", "delay_on_commit", "apply_async_on_commit"]
)
def test_task__methods_of_celery_name_the_remedy(method: str) -> None:
    with pytest.raises(NotCalledThisWay, match=r"services\.submit"):
        getattr(echo, method)()


def test_task__canvas_names_the_remedy() -> None:
    for start in (
        chain(echo.s(), break_down.s()),
        group(echo.s(), break_down.s()),
        echo.si(number=1),
    ):
        with pytest.raises(NotCalledThisWay, match=r"services\.submit"):
            start.apply_async()


@pytest.mark.parametrize(
    "given", [{}, {"kwargs": {"number": 1}}, {"args": (1,)}, {"task_id": "x", "kwargs": {"a": 1}}]
)
def test_task__apply_of_no_operation_names_the_remedy(given: dict[str, Any]) -> None:
    with pytest.raises(NotCalledThisWay, match=r"services\.submit"):
        echo.apply(**given)
    with pytest.raises(NotCalledThisWay, match=r"services\.submit"):
        echo.s(**given.get("kwargs", {})).apply()


@pytest.mark.parametrize("setting", ["task_acks_late", "task_reject_on_worker_lost"])
def test_task__is_acknowledged_early_whatever_the_settings_say(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_celery(monkeypatch, **{setting: True})
    monkeypatch.setattr(tasks, "registered", {})
    task = operation_task(name=f"tests.{setting}")(leave.kind.function)
    task.bind(current_app)
    assert (task.acks_late, task.reject_on_worker_lost) == (False, False)


def test_get_task__unknown() -> None:
    with pytest.raises(UnknownKind):
        get_task("nobody.knows")


def test_get_task__module_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down() -> None:
        raise ImportError("no such library")

    monkeypatch.setattr(tasks, "discover", break_down)
    with pytest.raises(UnknownKind) as caught:
        get_task("nobody.knows")
    assert str(caught.value.__cause__) == "no such library"


@pytest.mark.django_db
def test_execute__gives_celery_the_outcome() -> None:
    operation, failing_operation = services.submit(echo), services.submit(break_down)
    assert echo.apply(task_id=str(operation.pk)).state == "SUCCESS"
    assert break_down.apply(task_id=str(failing_operation.pk)).state == "FAILURE"
    second_run = echo.apply(task_id=str(operation.pk))
    assert isinstance(second_run.result, Ignore) or second_run.state in {"IGNORED", "PENDING"}


@pytest.mark.django_db
def test_run_operations__raises_after_the_limit() -> None:
    services.submit(echo)
    services.submit(echo)
    with pytest.raises(AssertionError, match="1 attempts"):
        run_operations(limit=1)


@operation_task(name="tests.worker.exit")
def leave(operation: Job) -> None:
    raise SystemExit(3)


@operation_task
def count(operation: Any, *, by: int = 1) -> int:
    return by + 1


def test_operation_task__default_name_and_plain_call() -> None:
    assert count.name == "tests.test_tasks.count"
    assert (count(None), count(None, by=2)) == (2, 3)


def test_operation_task__gives_each_option_to_kind_or_celery() -> None:
    @operation_task(
        name="tests.worker.options",
        rate_limit="1/s",
        max_retries=7,
        time_limit=60,
        queue="slow",
        priority=3,
    )
    def task(operation: Any) -> None: ...

    assert (task.rate_limit, task.time_limit, task.ignore_result) == ("1/s", 63, True)
    assert (task.kind.max_retries, task.kind.time_limit) == (7, 60)
    assert (task.kind.queue, task.kind.priority) == ("slow", 3)
    # Celery 6 ignores these attributes, 5.7 warns of them.
    assert (getattr(task, "queue", None), task.priority) == (None, None)


@pytest.mark.django_db
def test_execute__system_exit_of_a_job_does_not_end_the_worker() -> None:
    operation = services.submit(leave)
    task_result = leave.apply(task_id=str(operation.pk), throw=False)
    assert (task_result.state, type(task_result.result)) == ("FAILURE", RuntimeError)
    assert isinstance(task_result.result.__cause__, SystemExit)
    operation.refresh_from_db()
    assert operation.status == Status.FAILED


@pytest.mark.django_db
def test_execute__only_failures_are_in_celerys_results() -> None:
    for task in (echo, break_down):
        task.apply(task_id=str(services.submit(task).pk), throw=False)
    row = TaskResult.objects.get()
    assert (row.task_id, row.status) == (str(Operation.objects.latest("pk").pk), "FAILURE")
    assert "a secret of the server" in row.result


@pytest.mark.django_db
def test_execute__operation_that_is_not_due_is_ignored() -> None:
    operation = services.submit(echo, available_at=timezone.now() + timedelta(hours=1))
    state: str = echo.apply(task_id=str(operation.pk)).state
    assert state == "IGNORED"


@pytest.mark.django_db
def test_execute__stopping_worker_hands_the_operation_back(
    stopping: None, broker: list[str]
) -> None:
    """It publishes nothing either, since it might receive the message itself."""
    operation = services.submit(echo)
    Operation.objects.update(published_at=timezone.now())
    echo.push_request(id=str(operation.pk), hostname="w1")
    try:
        with pytest.raises(Ignore):
            echo.execute()
    finally:
        echo.pop_request()
    operation.refresh_from_db()
    assert (operation.status, operation.published_at) == (Status.PENDING, None)
    assert [duty.function() for duty in duties.delivery()[:2]] == [0, 0]
    assert broker == []


@pytest.mark.django_db
def test_execute__stopping_worker_ignores_an_operation_that_does_not_exist(stopping: None) -> None:
    echo.push_request(id=str(uuid.uuid4()), hostname="w1")
    try:
        with pytest.raises(Ignore):
            echo.execute()
    finally:
        echo.pop_request()


@pytest.fixture
def stopping() -> Iterator[None]:
    interrupts.stopping.set()
    yield
    interrupts.stopping.clear()
