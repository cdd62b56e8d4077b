"""A schedule of celery beat submits operations."""

import pytest

from async_reply.models import Operation
from async_reply.worker import beat
from tests.project.tasks import echo


@pytest.mark.django_db
def test_submit__as_a_schedule_calls_it() -> None:
    result = beat.submit.apply(kwargs={"kind": echo.name, "input": {"a": 1}, "owner": "7"})
    operation = Operation.objects.get()
    assert (result.state, operation.kind, operation.input) == ("SUCCESS", echo.name, {"a": 1})
    assert operation.owner == "7"
