"""Routes of messages, in each way in which a project may declare them to Celery."""

from dataclasses import replace
from typing import Any

import pytest
from django.core.checks import run_checks
from kombu import Exchange, Queue, binding

from async_reply import services
from async_reply.database.clock import after
from async_reply.models import Operation
from async_reply.publishing import relay, routing
from async_reply.publishing.broker import breaker
from async_reply.publishing.routing import Route, Unroutable
from tests.conftest import configure_celery
from tests.project.tasks import echo
from tests.publishing.brokers import route, send, use_memory

TOPIC, FANOUT = Exchange("topics", "topic"), Exchange("all", "fanout")
QUEUES = (
    Queue("celery"),
    Queue("direct", Exchange("reports"), "pdf"),
    Queue("topical", TOPIC, "reports.*"),
    Queue("deep", TOPIC, "logs.#"),
    Queue("bound", bindings=[binding(TOPIC, "one"), binding(Exchange("reports"), "two")]),
    Queue("everything", FANOUT),
    Queue("twin1", Exchange("twins"), "key"),
    Queue("twin2", Exchange("twins"), "key"),
)


@pytest.mark.parametrize(
    ("routed", "queue"),
    [
        (None, "celery"),
        ({}, "celery"),
        ({"queue": "topical"}, "topical"),
        ({"queue": Queue("own")}, "own"),
        ({"queue": "topical", "routing_key": "reports.csv"}, "topical"),
        ({"exchange": "reports", "routing_key": "pdf"}, "direct"),
        ({"exchange": Exchange("reports"), "routing_key": "pdf"}, "direct"),
        ({"exchange": "", "routing_key": "direct"}, "direct"),
        ({"exchange": "topics", "routing_key": "reports.csv"}, "topical"),
        ({"exchange": "topics", "routing_key": "logs.a.b"}, "deep"),
        ({"exchange": "topics", "routing_key": "one"}, "bound"),
        ({"exchange": "reports", "routing_key": "two"}, "bound"),
        ({"exchange": "all", "routing_key": "x"}, "everything"),
        ({"routing_key": "pdf"}, "celery"),
        # These lead to no queue or to two, so messages cannot be counted.
        ({"exchange": "twins", "routing_key": "key"}, ""),
        ({"exchange": "reports", "routing_key": "csv"}, ""),
        ({"exchange": "nowhere", "routing_key": "pdf"}, ""),
    ],
)
def test_route__queue(
    monkeypatch: pytest.MonkeyPatch, routed: dict[str, Any] | None, queue: str
) -> None:
    route(monkeypatch, [{echo.name: routed}] if routed is not None else [], *QUEUES)
    assert routing.route(echo.name).queue == queue


def test_route__asks_routers_like_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def router(
        name: str, args: Any, kwargs: Any, options: dict[str, Any], task: Any = None, **_: Any
    ) -> dict[str, str]:
        asked.append((name, args, kwargs, options.get("queue"), task))
        return {"queue": "routed"}

    route(monkeypatch, [router])
    assert routing.route(echo.name) == Route(queue="routed", priority=None)
    assert asked == [(echo.name, (), {}, None, echo)]
    use_memory(monkeypatch)
    send(Operation(kind=echo.name))
    assert len(asked) == 2


def test_route__of_a_kind_that_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    route(monkeypatch, [lambda name, args, kwargs, options, task=None: f"{name}-{task}"])
    assert routing.route("tests.absent").queue == "tests.absent-None"


def _uses_task(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
    return {"queue": task.request.delivery_info["routing_key"]}


def _uses_args(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
    return {"queue": args[0]}


def _uses_headers(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
    return {"queue": options["headers"]["tenant"]}


def _reads_a_file(*args: Any, **kwargs: Any) -> Any:
    """Raises an OSError. It must not count as a broker that is down."""
    raise FileNotFoundError("routes.yaml")


def _returns_a_number(*args: Any, **kwargs: Any) -> Any:
    return 7


#: Routers that fail for our messages, and a queue that does not exist.
BROKEN: list[Any] = [
    _uses_task,
    _uses_args,
    _uses_headers,
    _reads_a_file,
    _returns_a_number,
    {echo.name: {"queue": "misspelt"}},
]


@pytest.mark.parametrize("router", BROKEN)
def test_route__that_fails_is_unroutable(monkeypatch: pytest.MonkeyPatch, router: Any) -> None:
    route(monkeypatch, [router], Queue("celery"), create_missing=False)
    with pytest.raises(Unroutable):
        routing.route(echo.name)
    assert routing.route_or_unknown(echo.name) == routing.UNKNOWN


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("router", BROKEN)
def test_submit__without_a_route_is_accepted_and_published_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, router: Any
) -> None:
    use_memory(monkeypatch)
    route(monkeypatch, [router], Queue("celery"), create_missing=False)
    monkeypatch.setattr("async_reply.publishing.broker.send", send)
    operation = services.submit(echo)
    assert "not published" in caplog.text
    assert caplog.messages[-1].endswith("submitted published=False")
    assert not breaker.is_open
    Operation.objects.update(available_at=after(-60))
    assert relay.publish_due() == 0
    route(monkeypatch)
    Operation.objects.update(available_at=after(-60))
    assert relay.publish_due() == 1
    operation.refresh_from_db()
    assert operation.publishes == 3


@pytest.mark.parametrize(
    ("limit", "default", "seconds"),
    [(None, None, 0), ("12/m", None, 5), (4, None, 0.25), (None, "1/h", 0)],
)
def test_seconds_between_starts(
    monkeypatch: pytest.MonkeyPatch, limit: Any, default: Any, seconds: float
) -> None:
    monkeypatch.setattr(echo, "rate_limit", limit)
    configure_celery(monkeypatch, task_default_rate_limit=default)
    assert routing.seconds_between_starts(echo.name) == seconds
    configure_celery(monkeypatch, worker_disable_rate_limits=True)
    assert routing.seconds_between_starts(echo.name) == 0


def test_kinds__are_tasks_of_operations() -> None:
    names = routing.kinds()
    assert echo.name in names
    assert "celery.ping" not in names


def messages_about(monkeypatch: pytest.MonkeyPatch, *routes: Any) -> list[Any]:
    """The messages of checks about routes of one kind. Other tests may have declared more kinds."""
    monkeypatch.setattr(routing, "kinds", lambda: [echo.name])
    route(monkeypatch, routes, *QUEUES, create_missing=False)
    about_routes = {"async_reply.E039", "async_reply.E040", "async_reply.W111"}
    messages = run_checks(tags=["async_reply"], databases=[])
    return [message for message in messages if message.id in about_routes]


@pytest.mark.parametrize("router", BROKEN)
def test_check__names_a_kind_without_a_route(monkeypatch: pytest.MonkeyPatch, router: Any) -> None:
    messages = messages_about(monkeypatch, router)
    assert {message.id for message in messages} == {
        "async_reply.E040" if isinstance(router, dict) else "async_reply.E039"
    }
    assert any(echo.name in message.msg for message in messages)


def test_check__names_a_missing_queue_of_a_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(echo, "kind", replace(echo.kind, queue="misspelt"))
    (message,) = messages_about(monkeypatch)
    assert message.id == "async_reply.E040"
    assert "misspelt" in message.msg


def test_check__names_an_exchange_without_a_known_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    (message,) = messages_about(
        monkeypatch, {echo.name: {"exchange": "reports", "routing_key": "csv"}}
    )
    assert message.id == "async_reply.W111"


def test_check__accepts_routes_that_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        messages_about(monkeypatch, {echo.name: {"exchange": "reports", "routing_key": "pdf"}})
        == []
    )
