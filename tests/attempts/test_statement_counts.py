"""The statements of a job that uses neither steps nor cursors: as many as before."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from async_reply import services
from async_reply.attempts import claims, rescue, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.database.clock import after
from async_reply.exceptions import WorkerStopping
from async_reply.models import Operation
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db


def work(operation: Job) -> list[int]:
    return list(operation.track([1, 2]))


def fail(operation: Job) -> None:
    raise OSError("broken")


def stop(operation: Job) -> None:
    operation._claim.interruption = WorkerStopping
    raise WorkerStopping


def lose(operation: Job) -> None:
    Operation.objects.update(lease_expires_at=after(-1))
    assert rescue.rescue() == 1


#: Measured before there were steps, with an UPDATE that returns its row, and with two statements.
STATEMENTS = {work: (4, 6), fail: (4, 5), stop: (4, 5), lose: (7, 8)}


@pytest.mark.parametrize("function", STATEMENTS, ids=lambda function: function.__name__)
def test_job__without_steps_pays_the_statements_of_before(
    function: Callable[..., Any], one_statement: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "INLINE_BEAT_SECONDS", 60)
    kind = Kind(name=echo.name, function=function, autoretry_for=(OSError,))
    operation = services.submit(echo)
    Operation.objects.update(max_retries=1)
    with CaptureQueriesContext(connection) as captured:
        runner.run(operation.pk, kind, worker="w", inline=True)
    sql = [query["sql"] for query in captured if "SAVEPOINT" not in query["sql"]]
    expected = STATEMENTS[function][not one_statement]
    # A rescue locks the row where the database can.
    expected += function is lose and connection.features.has_select_for_update_skip_locked
    assert len(sql) == expected, "\n".join(sql)
