from datetime import timedelta

import pytest
from django.db.models import F
from pytest_django import DjangoAssertNumQueries

from async_reply import lifecycle, services
from async_reply.models import Operation, Worker
from async_reply.statistics import workers
from async_reply.tasks import process_name
from async_reply.worker import presence
from tests.project.tasks import echo

pytestmark = pytest.mark.django_db


def report(name: str, boot_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "BOOT_ID", boot_id)
    presence.Presence(name=name, concurrency=2, queues=["celery"]).report()


def claim(process: str) -> Operation:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker=process)
    return operation


def test_living__gives_each_worker_of_one_name_its_own_jobs(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    report("celery@host", "aaaa", monkeypatch)
    report("celery@host", "bbbb", monkeypatch)
    first, second = claim("celery@host/12-aaaa"), claim("celery@host/13-aaaa")
    third = claim("celery@host/12-bbbb")
    claim("celery@host/12-gone")
    with django_assert_num_queries(2):
        one, other = workers.living()
    assert [(job.id, job.pid) for job in one.running] == [(first.pk, 12), (second.pk, 13)]
    assert [(job.id, job.kind) for job in other.running] == [(third.pk, echo.name)]
    assert one.running[0].since is not None
    assert (one.idle, other.idle) == (0, 1)
    assert one.host
    assert one.started_at <= one.seen_at


def test_living__knows_the_processes_of_this_worker() -> None:
    presence.Presence(name="w1", concurrency=1, queues=[]).report()
    claim(process_name("w1", 4711))
    (worker,) = workers.living()
    assert [job.pid for job in worker.running] == [4711]


def test_living__worker_that_stops_has_no_idle_process() -> None:
    presence.Presence(name="w1", concurrency=2, queues=[]).report()
    (worker,) = workers.living()
    assert worker.idle == 0


def test_living__leaves_out_dead_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    report("dead", "dddd", monkeypatch)
    Worker.objects.update(seen_at=F("seen_at") - timedelta(minutes=5))
    claim("dead/1-dddd")
    report("alive", "eeee", monkeypatch)
    assert [worker.name for worker in workers.living()] == ["alive"]
