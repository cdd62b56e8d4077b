"""Prometheus reads counters, histograms and gauges as its own parser understands them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIRequestFactory, force_authenticate

from async_reply import lifecycle, services
from async_reply.database.clock import as_stored
from async_reply.models import KindStatistics, Operation
from async_reply.statistics.histograms import Histogram
from async_reply.statistics.kinds import Span
from tests.project.tasks import echo
from tests.publishing.brokers import read_by

pytest.importorskip("prometheus_client", reason="needs the extra prometheus")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from async_reply.contrib.prometheus import MetricsView, OperationCollector

pytestmark = pytest.mark.django_db

Samples = dict[tuple[str, str], float]
DAY = datetime(2026, 5, 4, tzinfo=UTC)


def samples(families: Any) -> Samples:
    """The value of each sample by its name and the values of its labels."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def scrape() -> Samples:
    registry = CollectorRegistry()
    registry.register(OperationCollector())
    return samples(text_string_to_metric_families(generate_latest(registry).decode()))


def count(kind: str, **columns: Any) -> None:
    KindStatistics.objects.create(kind=kind, span=Span.DAY, start=as_stored(DAY), **columns)


def get(*, accept: str = "", is_staff: bool = True) -> Any:
    request = APIRequestFactory().get("/metrics", HTTP_ACCEPT=accept)
    force_authenticate(request, User(username="ada", is_staff=is_staff))
    return MetricsView.as_view()(request)


def test_collector__counts_finished_operations_of_each_kind() -> None:
    count("a", succeeded=5, failed=2, canceled=1, retries=4, losses=3)
    count("b", succeeded=7)
    read = scrape()
    operations = "async_reply_operations_total"
    assert [read[operations, f"a,{name}"] for name in ("succeeded", "failed", "canceled")] == [
        5,
        2,
        1,
    ]
    assert read[operations, "b,succeeded"] == 7
    assert read["async_reply_retries_total", "a"] == 4
    assert read["async_reply_lost_attempts_total", "a"] == 3


def test_collector__histograms_of_waits_and_runs() -> None:
    waits = Histogram.of([0.01, 0.1, 0.3, 100_000])
    runs = Histogram.of([3, 3])
    count("a", waits=waits.to_json(), runs=runs.to_json(), wait_seconds=100_000.41, run_seconds=6)
    read = scrape()
    buckets = {
        labels.partition(",")[2]: value
        for (name, labels), value in read.items()
        if name == "async_reply_wait_seconds_bucket"
    }
    assert (buckets["0.0625"], buckets["0.25"], buckets["1.0"], buckets["4.0"]) == (1, 2, 3, 3)
    assert (buckets["65536.0"], buckets["+Inf"], len(buckets)) == (3, 4, 12)
    assert read["async_reply_wait_seconds_count", "a"] == 4
    assert read["async_reply_wait_seconds_sum", "a"] == 100_000.41
    run = "async_reply_run_seconds"
    assert (read[f"{run}_bucket", "a,1.0"], read[f"{run}_bucket", "a,4.0"]) == (0, 2)
    assert (read[f"{run}_count", "a"], read[f"{run}_sum", "a"]) == (2, 6)


def test_collector__what_waits_and_who_works() -> None:
    due_at = timezone.now() - timedelta(seconds=300)
    waiting, unpublished, running = (services.submit(echo) for _ in range(3))
    assert lifecycle.claim(running, worker="w1/1")
    for operation, published_at in ((waiting, due_at), (unpublished, None)):
        Operation.objects.filter(pk=operation.pk).update(
            available_at=due_at, published_at=published_at
        )
    Operation.objects.filter(pk__in=[running.pk, waiting.pk]).update(idle_releases=3)
    read_by("celery", concurrency=4)
    read = scrape()
    assert read["async_reply_waiting_operations", "celery"] == 2
    assert read["async_reply_oldest_waiting_seconds", "celery"] == pytest.approx(300, abs=30)
    assert read["async_reply_running_operations", "celery"] == 1
    assert read["async_reply_capacity", "celery"] == 4
    assert read["async_reply_unpublished_operations", ""] == 1
    assert read["async_reply_oldest_unpublished_seconds", ""] == pytest.approx(300, abs=30)
    assert read["async_reply_idle_operations", ""] == 2
    assert read["async_reply_workers", ""] == 1


def test_collector__takes_six_statements_however_many_kinds_there_are(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        count(f"kind{number}", succeeded=1)
    read_by("celery")
    read_by("reports")
    with django_assert_num_queries(6):
        scrape()


def test_registering__asks_no_database(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        CollectorRegistry(auto_describe=True).register(OperationCollector())


def test_view__answers_staff_alone() -> None:
    response = get(is_staff=False)
    assert response.status_code == 403
    response = get()
    assert response.status_code == 200
    assert response["Cache-Control"] == "private, no-store"
    read = samples(text_string_to_metric_families(response.content.decode()))
    assert read["async_reply_workers", ""] == 0


def test_view__speaks_openmetrics_where_it_is_asked_for() -> None:
    count("a", succeeded=5)
    response = get(accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert response["Content-Type"].startswith("application/openmetrics-text")
    families = openmetrics.text_string_to_metric_families(  # type: ignore[no-untyped-call]
        response.content.decode()
    )
    read = samples(families)
    assert read["async_reply_operations_total", "a,succeeded"] == 5
