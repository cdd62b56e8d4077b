"""The main process of a worker hears that the process of a job died."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from async_reply import lifecycle, services, tasks
from async_reply.database.identifiers import uuid7
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.tasks import process_name
from async_reply.worker import requests
from tests.project.tasks import echo


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_own", [True, False])
def test_take_back__spares_the_same_name_in_another_container(
    is_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers that are started in the same way have the same node name, and each a process 7."""
    operation = services.submit(echo)
    with monkeypatch.context() as elsewhere:
        if not is_own:
            elsewhere.setattr(tasks, "BOOT_ID", "0" * 8)
        assert lifecycle.claim(operation, worker=process_name("celery@worker", 7))
    before = set(threading.enumerate())
    request: Any = SimpleNamespace(id=str(operation.pk), hostname="celery@worker", worker_pid=7)
    requests.OperationRequest._take_back(request, timed_out=False)
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    operation.refresh_from_db()
    assert operation.status == (Status.PENDING if is_own else Status.RUNNING)


@pytest.mark.parametrize("id", ["not-an-id", ""])
def test_request__without_operation_starts_no_thread(
    id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))
    request = SimpleNamespace(id=id, hostname="w1", worker_pid=1)
    requests.OperationRequest._take_back(request, timed_out=False)  # type: ignore[arg-type]
    assert started == []
    request.id = str(uuid7())
    requests.OperationRequest._take_back(request, timed_out=False)  # type: ignore[arg-type]
    assert len(started) == 1


@pytest.mark.django_db(transaction=True)
def test_take_back__before_the_claim_hands_the_message_back() -> None:
    operation = services.submit(echo)
    Operation.objects.update(published_at=timezone.now())
    requests._take_back(operation.pk, worker="w1/7", timed_out=False)
    operation.refresh_from_db()
    assert (operation.status, operation.published_at) == (Status.PENDING, None)
