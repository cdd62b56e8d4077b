from datetime import timedelta
from typing import Any

import pytest
from django.core import checks
from django.db import models
from django.utils import timezone

from async_reply import queues, services
from async_reply.models import Operation, Worker
from async_reply.presence import Presence
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db


def waiting(**changes: Any) -> None:
    operation = services.submit(echo)
    long_ago = timezone.now() - timedelta(minutes=5)
    changes = {"published_at": long_ago, **changes}
    Operation.objects.filter(pk=operation.pk).update(**changes)


def test_unserved__queue_without_a_worker() -> None:
    waiting(queue="reports")
    waiting()
    assert queues.unserved() == ["celery", "reports"]
    Presence(name="w1", concurrency=1, queues=["celery"]).report()
    assert queues.unserved() == ["reports"]
    Presence(name="w2", concurrency=1, queues=["reports", "celery"]).report()
    assert queues.unserved() == []


def test_unserved__worker_that_is_gone_reads_nothing() -> None:
    waiting()
    Presence(name="w1", concurrency=1, queues=["celery"]).report()
    Worker.objects.update(seen_at=models.F("seen_at") - timedelta(minutes=5))
    assert queues.unserved() == ["celery"]


def test_unserved__what_was_just_published_may_be_on_its_way() -> None:
    waiting(published_at=timezone.now())
    waiting(published_at=None)
    assert queues.unserved() == []


def test_warn__names_queue_and_remedy(caplog: pytest.LogCaptureFixture) -> None:
    waiting(queue="reports")
    assert queues.warn() == 0
    assert "-Q reports" in caplog.text


def test_check__names_queue_and_remedy() -> None:
    waiting(queue="reports")
    found = checks.run_checks(tags=["async_reply"], databases=["default"])
    told = [message for message in found if message.id == "async_reply.W110"]
    assert [
        "reports" in message.msg and "-Q reports" in (message.hint or "") for message in told
    ] == [True]
    found = checks.run_checks(tags=["async_reply"], databases=[])
    assert "async_reply.W110" not in {message.id for message in found}
