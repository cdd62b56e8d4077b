import json
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import RequestFactory
from pytest_django import DjangoAssertNumQueries, Settings

from async_reply import services
from async_reply.statistics.health import ALL, Limits
from async_reply.views import HealthView
from tests.project.tasks import echo
from tests.publishing.brokers import pass_time, read_by, use_memory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HealthView, "_answers", {})
    use_memory(monkeypatch)


def ask(**attributes: Any) -> tuple[int, Any]:
    view = HealthView.as_view(**attributes)
    response: HttpResponse = view(RequestFactory().get("/health"))
    assert response["Cache-Control"] == "private, no-store"
    return response.status_code, json.loads(response.content)


def test_health__by_default_asks_the_database_alone(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(1):
        assert ask() == (200, {"status": "ok", "database": True})


def refuse(*_args: Any) -> Any:
    raise OperationalError("password authentication failed for user secret")


def test_health__without_the_database_is_503(settings: Settings) -> None:
    with connection.execute_wrapper(refuse):
        assert ask() == (503, {"status": "failing", "database": False})
    assert ask(keep_seconds=0)[0] == 503  # an answer is kept


def test_health__answer_is_kept_for_a_time(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(1):
        assert [ask(keep_seconds=60), ask(keep_seconds=60)] == [ask()] * 2


def test_health__of_all_parts_has_counts_and_no_names() -> None:
    services.submit(echo)
    pass_time(30)
    read_by("celery")
    code, document = ask(parts=ALL)
    age = document.pop("oldest_seconds")
    assert 25 < age < 300
    assert (code, document) == (
        200,
        {
            "status": "ok",
            "database": True,
            "broker": True,
            "workers": 1,
            "waiting": 1,
            "unpublished": 0,
            "failures": 0,
        },
    )


def test_health__is_failing_at_its_limits() -> None:
    assert ask(parts=["workers"]) == (503, {"status": "failing", "workers": 0})
    services.submit(echo)
    pass_time(30)
    read_by("celery")
    assert ask(parts=["queues"], limits=Limits(oldest=(1, 900)))[0] == 200
    assert ask(parts=["queues"], limits=Limits(oldest=(1, 10)))[0] == 503


def test_health__needs_no_login_and_no_transaction() -> None:
    view: Any = HealthView.as_view()
    assert view.login_required is False
    assert view._non_atomic_requests == {"default"}


def test_health__other_methods() -> None:
    view = HealthView.as_view()
    assert view(RequestFactory().head("/health")).status_code == 200
    assert view(RequestFactory().post("/health")).status_code == 405
