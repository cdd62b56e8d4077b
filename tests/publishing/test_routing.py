"""Where messages go, by whatever way a project tells Celery."""

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
        # Not one queue: nobody could count what waits there.
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


def test_route__asks_a_router_as_delay_does(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_route__of_a_kind_that_this_process_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    route(monkeypatch, [lambda name, args, kwargs, options, task=None: f"{name}-{task}"])
    assert routing.route("tests.absent").queue == "tests.absent-None"


def _looks_at_task(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
    return {"queue": task.request.delivery_info["routing_key"]}


def _looks_at_args(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
    return {"queue": args[0]}


def _looks_at_headers(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
    return {"queue": options["headers"]["tenant"]}


def _reads_a_file(*args: Any, **kwargs: Any) -> Any:
    """An error that would else say that the broker is down."""
    raise FileNotFoundError("routes.yaml")


def _returns_rubbish(*args: Any, **kwargs: Any) -> Any:
    return 7


#: Routers that fail for a message of ours, and a queue that does not exist.
BROKEN: list[Any] = [
    _looks_at_task,
    _looks_at_args,
    _looks_at_headers,
    _reads_a_file,
    _returns_rubbish,
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
def test_submit__that_cannot_be_routed_is_accepted_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, router: Any
) -> None:
    use_memory(monkeypatch)
    route(monkeypatch, [router], Queue("celery"), create_missing=False)
    monkeypatch.setattr("async_reply.publishing.broker.send", send)
    operation = services.submit(echo)
    assert "not published" in caplog.text
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
def test_interval__between_starts(
    monkeypatch: pytest.MonkeyPatch, limit: Any, default: Any, seconds: float
) -> None:
    monkeypatch.setattr(echo, "rate_limit", limit)
    configure_celery(monkeypatch, task_default_rate_limit=default)
    assert routing.seconds_between_starts(echo.name) == seconds
    configure_celery(monkeypatch, worker_disable_rate_limits=True)
    assert routing.seconds_between_starts(echo.name) == 0


def test_kinds__are_those_of_operations() -> None:
    names = routing.kinds()
    assert echo.name in names
    assert "celery.ping" not in names


def checked(monkeypatch: pytest.MonkeyPatch, *routes: Any) -> list[Any]:
    """What the checks say about a kind and its routes, whichever kinds other tests have made."""
    monkeypatch.setattr(routing, "kinds", lambda: [echo.name])
    route(monkeypatch, routes, *QUEUES, create_missing=False)
    found = run_checks(tags=["async_reply"], databases=[])
    return [
        each for each in found if each.id in {f"async_reply.{n}" for n in ("E039", "E040", "W111")}
    ]


@pytest.mark.parametrize("router", BROKEN)
def test_check__names_kinds_that_cannot_be_routed(
    monkeypatch: pytest.MonkeyPatch, router: Any
) -> None:
    found = checked(monkeypatch, router)
    assert {each.id for each in found} == {
        "async_reply.E040" if isinstance(router, dict) else "async_reply.E039"
    }
    assert any(echo.name in each.msg for each in found)


def test_check__names_a_kinds_own_queue_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(echo, "kind", replace(echo.kind, queue="misspelt"))
    (found,) = checked(monkeypatch)
    assert found.id == "async_reply.E040"
    assert "misspelt" in found.msg


def test_check__names_an_exchange_of_no_known_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = checked(monkeypatch, {echo.name: {"exchange": "reports", "routing_key": "csv"}})
    assert found.id == "async_reply.W111"


def test_check__says_nothing_of_routes_that_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(monkeypatch, {echo.name: {"exchange": "reports", "routing_key": "pdf"}}) == []
