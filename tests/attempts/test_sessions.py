"""Transactions and sessions that a job leaves open or changed do not reach the next job."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, connections, transaction

from async_reply import services, signals
from async_reply.attempts import runner, sessions
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Ending, Report
from async_reply.database import alias
from async_reply.exceptions import OperationFailed, TimeLimitExceeded
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.concurrency import in_thread
from tests.project.tasks import echo

#: Keeps a generator alive after its job.
generators: list[Any] = []


@pytest.fixture(autouse=True)
def _clear_generators() -> Iterator[None]:
    yield
    generators.clear()


def rows() -> Iterator[int]:
    with transaction.atomic():
        Operation.objects.count()
        yield from range(1000)


def times_out_in_a_generator(operation: Job) -> None:
    for _ in operation.track(rows()):
        operation._claim.interruption = TimeLimitExceeded


def fails_beside_a_generator(operation: Job) -> None:
    generator = rows()
    next(generator)
    raise OperationFailed("no more pages")


def fails_because_of_another_error(operation: Job) -> None:
    try:
        fails_beside_a_generator(operation)
    except OperationFailed as cause:
        raise ZeroDivisionError from cause


def fails_in_a_group(operation: Job) -> None:
    try:
        fails_beside_a_generator(operation)
    except OperationFailed as cause:
        error = ExceptionGroup("several", [cause])
    raise error


def fails_with_a_generator_in_a_cycle(operation: Job) -> None:
    cycle: list[Any] = [rows()]
    cycle.append(cycle)
    next(cycle[0])
    raise ZeroDivisionError


def keeps_a_generator_after_its_end(operation: Job) -> None:
    generators.append(rows())
    next(generators[-1])


def enters_and_never_leaves(operation: Job) -> None:
    transaction.atomic().__enter__()
    transaction.atomic().__enter__()


def turns_autocommit_off(operation: Job) -> None:
    transaction.set_autocommit(False)
    Operation.objects.count()


def turns_autocommit_off_and_writes_nothing(operation: Job) -> None:
    transaction.set_autocommit(False)


def begins_by_itself(operation: Job) -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    Operation.objects.update(message="never committed")


def begins_by_itself_and_fails(operation: Job) -> None:
    begins_by_itself(operation)
    raise ZeroDivisionError


def fails_inside_its_own_transaction(operation: Job) -> None:
    begins_by_itself(operation)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM there_is_no_such_table")


def closes_inside_a_block(operation: Job) -> None:
    transaction.atomic().__enter__()
    connections[alias()].close()


def leaves_a_savepoint_and_needs_rollback(operation: Job) -> None:
    transaction.atomic().__enter__()
    transaction.set_rollback(True)


LEAVES_OPEN = [
    times_out_in_a_generator,
    fails_beside_a_generator,
    fails_because_of_another_error,
    fails_in_a_group,
    fails_with_a_generator_in_a_cycle,
    keeps_a_generator_after_its_end,
    enters_and_never_leaves,
    turns_autocommit_off,
    turns_autocommit_off_and_writes_nothing,
    begins_by_itself,
    begins_by_itself_and_fails,
    fails_inside_its_own_transaction,
    closes_inside_a_block,
    leaves_a_savepoint_and_needs_rollback,
]


def run(function: Callable[[Job], Any], **options: Any) -> Report:
    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=function)
    return runner.run(operation.pk, kind, worker="w1", **options)


def committed_statuses() -> list[str]:
    """The statuses that another session reads."""
    with in_thread(
        lambda: [*Operation.objects.order_by("pk").values_list("status", flat=True)]
    ) as future:
        statuses: list[str] = future.result(30)
    return statuses


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("job", LEAVES_OPEN)
def test_run__transaction_that_a_job_leaves_open_is_ended(
    job: Callable[[Job], Any], inline: bool, one_statement: bool
) -> None:
    report = run(job, inline=inline)
    assert report.ending in {Ending.SUCCEEDED, Ending.FAILED}
    assert committed_statuses() == [report.ending.value]
    assert not connection.in_atomic_block
    assert run(lambda operation: 7, inline=inline).ending is Ending.SUCCEEDED
    assert committed_statuses() == [report.ending.value, Status.SUCCEEDED]
    assert not Operation.objects.filter(message="never committed").exists()


@pytest.mark.django_db(transaction=True)
def test_run__callback_that_leaves_a_transaction_open_fails_its_job() -> None:
    def job(operation: Job) -> None:
        operation.on_finish(lambda: keeps_a_generator_after_its_end(operation))

    assert run(job).ending is Ending.FAILED
    assert committed_statuses() == [Status.FAILED]


@pytest.mark.django_db(transaction=True)
def test_run__transaction_that_a_receiver_leaves_open_is_ended() -> None:
    def begin(**_: Any) -> None:
        transaction.atomic().__enter__()

    signals.operation_started.connect(begin)
    try:
        assert run(lambda operation: 7).ending is Ending.SUCCEEDED
    finally:
        signals.operation_started.disconnect(begin)
    assert committed_statuses() == [Status.SUCCEEDED]


@pytest.mark.django_db(transaction=True)
def test_reset_open__ends_transactions_of_other_tasks() -> None:
    transaction.atomic().__enter__()
    sessions.reset_open()
    assert run(lambda operation: 7).ending is Ending.SUCCEEDED
    assert committed_statuses() == [Status.SUCCEEDED]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "job",
    [
        times_out_in_a_generator,
        fails_beside_a_generator,
        fails_because_of_another_error,
        fails_in_a_group,
        fails_with_a_generator_in_a_cycle,
        lambda operation: 7,
    ],
)
def test_run__inline_keeps_the_callers_transaction(job: Callable[[Job], Any]) -> None:
    """TestCase begins one, and so may a view, with CELERY_TASK_ALWAYS_EAGER."""
    before = services.submit(echo, owner="ada")
    blocks = list(connection.atomic_blocks)
    with transaction.atomic():
        report = run(job, inline=True)
        assert Operation.objects.filter(owner="ada").exists()
    assert connection.atomic_blocks == blocks
    assert report.ending in {Ending.SUCCEEDED, Ending.FAILED}
    del report
    assert Operation.objects.exclude(pk=before.pk).get().status in {"succeeded", "failed"}


@pytest.mark.django_db
def test_run_operations__goes_on_after_a_timeout_in_a_generator() -> None:
    services.submit(echo)
    run(times_out_in_a_generator, inline=True)
    assert [report.ending for report in run_operations()] == [Ending.SUCCEEDED]


#: Vendor -> statements that change a session beyond its transaction, and a query that shows it.
CHANGES = {
    "postgresql": [
        ("SET ROLE pg_monitor", "SELECT current_user = 'pg_monitor'"),
        ("SET search_path TO pg_temp", "SELECT current_setting('search_path') = 'pg_temp'"),
        (
            "SELECT set_config('search_path', 'pg_temp', false)",
            "SELECT current_setting('search_path') = 'pg_temp'",
        ),
        (
            "SET default_transaction_read_only = on",
            "SELECT current_setting('default_transaction_read_only') = 'on'",
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SELECT current_setting('default_transaction_read_only') = 'on'",
        ),
        ("SET statement_timeout = 7", "SELECT current_setting('statement_timeout') = '7ms'"),
        ("CREATE TEMPORARY TABLE left_behind (a int)", "SELECT to_regclass('left_behind') > 0"),
        ("SELECT 1 AS a INTO TEMP left_behind", "SELECT to_regclass('left_behind') > 0"),
        ("CREATE TEMP TABLE left_behind AS SELECT 1", "SELECT to_regclass('left_behind') > 0"),
        (
            "SELECT pg_advisory_lock(7)",
            "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory'",
        ),
        (
            "SELECT pg_try_advisory_lock_shared(7)",
            "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory'",
        ),
        ("LISTEN news", "SELECT count(*) > 0 FROM pg_listening_channels()"),
        (
            "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
            "SELECT count(*) > 0 FROM pg_cursors WHERE name = 'left_behind'",
        ),
        (
            "PREPARE left_behind AS SELECT 1",
            "SELECT count(*) > 0 FROM pg_prepared_statements WHERE name = 'left_behind'",
        ),
        (
            "DO $$ BEGIN PERFORM set_config('statement_timeout', '7', false); END $$",
            "SELECT current_setting('statement_timeout') = '7ms'",
        ),
        (
            "SELECT 1; SET statement_timeout = 7",
            "SELECT current_setting('statement_timeout')='7ms'",
        ),
        (
            "/* why */ SET statement_timeout = 7",
            "SELECT current_setting('statement_timeout') = '7ms'",
        ),
    ],
    "mysql": [
        ("SET SESSION sql_mode = 'ANSI_QUOTES'", "SELECT @@sql_mode = 'ANSI_QUOTES'"),
        ("SET autocommit = 0", "SELECT @@autocommit = 0"),
        ("SET foreign_key_checks = 0", "SELECT @@foreign_key_checks = 0"),
        ("SELECT @left_behind := 7", "SELECT @left_behind IS NOT NULL"),
        ("SELECT GET_LOCK('left_behind', 0)", "SELECT IS_USED_LOCK('left_behind') IS NOT NULL"),
        ("CREATE TEMPORARY TABLE left_behind (a int)", "SELECT count(*) >= 0 FROM left_behind"),
        ("LOCK TABLES async_reply_worker READ", "SELECT count(*) < 0 FROM async_reply_operation"),
        ("USE information_schema", "SELECT database() = 'information_schema'"),
    ],
    "sqlite": [
        ("PRAGMA query_only = 1", "SELECT query_only FROM pragma_query_only"),
        ("PRAGMA foreign_keys = 0", "SELECT NOT foreign_keys FROM pragma_foreign_keys"),
        (
            "CREATE TEMPORARY TABLE left_behind (a)",
            "SELECT count(*) FROM temp.sqlite_master WHERE name = 'left_behind'",
        ),
        (
            "ATTACH ':memory:' AS left_behind",
            "SELECT count(*) FROM pragma_database_list WHERE name = 'left_behind'",
        ),
    ],
}


def is_changed(query: str) -> bool:
    """The answer of `query`; False after an error, since the thing may not exist any more."""
    with suppress(Exception), connection.cursor() as cursor:
        cursor.execute(query)
        return bool(cursor.fetchone()[0])
    return False


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("change", "query"), CHANGES[connection.vendor])
def test_run__session_that_a_job_changed_is_closed(change: str, query: str) -> None:
    answers: list[bool] = []

    def job(operation: Job) -> None:
        with connection.cursor() as cursor:
            cursor.execute(change)
            if cursor.description:
                cursor.fetchall()
        answers.append(is_changed(query))

    def next_job(operation: Job) -> None:
        answers.append(is_changed(query))

    assert run(job).ending is Ending.SUCCEEDED
    assert run(next_job).ending is Ending.SUCCEEDED
    # LOCK TABLES forbids the query itself.
    assert answers == [not change.startswith("LOCK"), False]


@pytest.mark.django_db(transaction=True)
def test_run__session_that_a_job_did_not_change_stays_open() -> None:
    def job(operation: Job) -> int:
        with transaction.atomic():
            Operation.objects.select_for_update().count()
            with transaction.atomic():
                Operation.objects.filter(pk=operation.id).update(extra={"a": "SET ROLE x"})
        return Operation.objects.count()

    run(lambda operation: None)
    session = connection.connection
    run(job)
    assert connection.connection is session


@pytest.mark.django_db(transaction=True)
def test_run__removes_the_execute_wrappers_of_a_job() -> None:
    def job(operation: Job) -> None:
        connection.execute_wrappers.append(lambda execute, *rest: 1 / 0)

    before = list(connection.execute_wrappers)
    assert run(job).ending is Ending.SUCCEEDED
    assert connection.execute_wrappers == before
