"""All spans of an operation are in the trace of the request that submitted it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import current_app
from celery.app.trace import trace_task
from rest_framework.test import APIClient

from async_reply import lifecycle, services, traces
from async_reply.attempts import rescue, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.database.clock import after
from async_reply.exceptions import OperationFailed, WorkerStopping
from async_reply.models import Operation
from async_reply.publishing import relay
from async_reply.testing import run_operations
from tests.project.tasks import echo

opentelemetry = pytest.importorskip("async_reply.contrib.opentelemetry.tracer")
sdk = pytest.importorskip("opentelemetry.sdk.trace")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402 below the skip
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: E402
    InMemorySpanExporter,
)
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False)


@pytest.fixture
def spans(
    provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[ReadableSpan]]:
    """The finished spans, in the order of their ends."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces, "tracer", opentelemetry.OpenTelemetryTracer(provider))
    return lambda: list(exporter.get_finished_spans())


def post(api: APIClient, **fields: str) -> Operation:
    response = api.post("/echoes/", {"number": 7}, format="json", headers=fields)
    assert response.status_code == 202
    operation: Operation = Operation.objects.get(pk=response["Operation-Id"])
    return operation


def run(job: Any, **options: Any) -> None:
    kind = Kind(name=echo.name, function=job, **options)
    operation = services.submit(echo)
    Operation.objects.update(max_retries=1, available_at=after(-1))
    runner.run(operation.pk, kind, worker="w", inline=True)


def trace_ids(spans: list[ReadableSpan]) -> set[str]:
    contexts = [span.get_span_context() for span in spans]
    return {format_trace_id(context.trace_id) for context in contexts if context}


def span_id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize(
    ("field", "stored"), [(TRACEPARENT, TRACEPARENT), ("00-odd", ""), (None, "")]
)
def test_submit__without_tracer_stores_the_field_of_the_request(
    api: APIClient, field: str | None, stored: str
) -> None:
    operation = post(api, **({} if field is None else {"traceparent": field}))
    assert operation.traceparent == stored


def test_spans__are_one_trace_from_the_request_to_the_job(
    api: APIClient, spans: Callable[[], list[ReadableSpan]]
) -> None:
    operation = post(api, traceparent=TRACEPARENT)
    assert operation.traceparent != TRACEPARENT
    run_operations()
    publish, submit, process = spans()
    assert trace_ids(spans()) == {TRACE_ID}
    assert [(span.name, span.kind) for span in (submit, publish, process)] == [
        ("submit celery", SpanKind.PRODUCER),
        ("publish celery", SpanKind.CLIENT),
        ("process celery", SpanKind.CONSUMER),
    ]
    parents = [span.parent.span_id for span in (publish, process) if span.parent]
    assert parents == [span_id(submit), span_id(submit)]
    assert [link.context.span_id for link in process.links] == [span_id(submit)]
    assert attributes(process) == {
        "messaging.system": "celery",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "celery",
        "messaging.message.id": str(operation.pk),
        "async_reply.kind": "tests.project.echo",
        "async_reply.attempt": 1,
        "async_reply.event": "finished",
        "async_reply.status": "succeeded",
    }
    assert process.status.status_code is StatusCode.UNSET


def test_submit__under_a_span_is_its_child(
    provider: TracerProvider, spans: Callable[[], list[ReadableSpan]]
) -> None:
    with provider.get_tracer("project").start_as_current_span("nightly") as span:
        operation = services.submit(echo)
        again = services.submit(echo, available_at=after(60))
    trace_id = format_trace_id(span.get_span_context().trace_id)
    operation.refresh_from_db()
    for row in (operation, again):
        assert row.traceparent.startswith(f"00-{trace_id}-")
    assert trace_ids(spans()) == {trace_id}


def test_job__makes_its_own_spans_below_that_of_its_attempt(
    provider: TracerProvider, spans: Callable[[], list[ReadableSpan]]
) -> None:
    def job(operation: Job) -> None:
        with provider.get_tracer("project").start_as_current_span("render"):
            pass

    run(job)
    render, process = spans()[-2:]
    assert render.parent is not None
    assert render.parent.span_id == span_id(process)


def test_publish__by_the_relay_is_in_the_trace_of_the_submit(
    api: APIClient, spans: Callable[[], list[ReadableSpan]]
) -> None:
    """A message that is sent again has no headers, and another process sends it."""
    post(api, traceparent=TRACEPARENT)
    Operation.objects.update(published_at=None)
    assert relay.publish_due() == 1
    assert [span.name for span in spans()] == ["publish celery", "submit celery", "publish celery"]
    assert trace_ids(spans()) == {TRACE_ID}


def test_attempt__that_is_retried_is_an_error_and_the_next_is_in_its_trace(
    spans: Callable[[], list[ReadableSpan]],
) -> None:
    def job(operation: Job) -> int:
        if operation.attempt == 1:
            raise OSError("no route")
        return 7

    run(job, autoretry_for=(OSError,))
    Operation.objects.update(available_at=after(-1))
    run_operations()
    first, second = [span for span in spans() if span.kind is SpanKind.CONSUMER]
    assert len(trace_ids([first, second])) == 1
    assert (first.status.status_code, first.status.description) == (
        StatusCode.ERROR,
        "OSError: no route",
    )
    assert attributes(first).items() >= {
        ("error.type", "OSError"),
        ("async_reply.event", "retried"),
        ("async_reply.status", "pending"),
        ("async_reply.attempt", 1),
    }
    assert [event.name for event in first.events] == ["exception"]
    assert attributes(second)["async_reply.attempt"] == 2


def refuse(operation: Job) -> None:
    raise OperationFailed("no more pages", code="empty")


def stop(operation: Job) -> None:
    operation._claim.interruption = WorkerStopping
    operation.check_canceled()


@pytest.mark.parametrize(
    ("job", "expected", "error"),
    [
        (refuse, {"event": "finished", "status": "failed", "code": "empty"}, None),
        (
            lambda operation: 1 / 0,
            {"event": "finished", "status": "failed", "code": "internal-error"},
            "ZeroDivisionError",
        ),
        (stop, {"event": "released", "status": "pending"}, None),
    ],
)
def test_attempt__is_an_error_where_the_log_says_so(
    job: Any,
    expected: dict[str, str],
    error: str | None,
    spans: Callable[[], list[ReadableSpan]],
) -> None:
    run(job)
    process = spans()[-1]
    told = attributes(process)
    assert {name: told.get(f"async_reply.{name}") for name in expected} == expected
    assert told.get("error.type") == error
    assert (process.status.status_code is StatusCode.ERROR) == (error is not None)
    assert len(process.events) == (error is not None)


def test_attempt__that_is_lost_has_a_span_from_the_process_that_rescues_it(
    spans: Callable[[], list[ReadableSpan]],
) -> None:
    operation = services.submit(echo)
    assert lifecycle.claim(operation, worker="w")
    Operation.objects.update(lease_expires_at=after(-1), started_at=after(-30))
    assert rescue.rescue() == 1
    run_operations()
    lost, second = spans()[-2:]
    assert trace_ids([lost, second]) == {operation.traceparent.split("-")[1]}
    assert lost.start_time is not None
    assert lost.end_time is not None
    assert lost.end_time - lost.start_time > 20 * 10**9
    assert attributes(lost).items() >= {
        ("async_reply.attempt", 1),
        ("async_reply.event", "lost"),
        ("error.type", "worker-lost"),
    }
    assert attributes(second)["async_reply.attempt"] == 2


def test_tracer__adds_no_statement(
    api: APIClient,
    provider: TracerProvider,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: Any,
    django_assert_max_num_queries: Any,
) -> None:
    def live() -> None:
        post(api)
        Operation.objects.update(published_at=None)
        relay.publish_due()
        run_operations()

    live()
    with django_assert_max_num_queries(100) as plain:
        live()
    monkeypatch.setattr(traces, "tracer", opentelemetry.OpenTelemetryTracer(provider))
    with django_assert_num_queries(len(plain)):
        live()


@pytest.fixture
def instrumented(provider: TracerProvider) -> Iterator[None]:
    """OpenTelemetry's own instrumentations of Django and Celery are switched on."""
    celery = pytest.importorskip("opentelemetry.instrumentation.celery").CeleryInstrumentor()
    django = pytest.importorskip("opentelemetry.instrumentation.django").DjangoInstrumentor()
    for instrumentor in (celery, django):
        instrumentor.instrument(tracer_provider=provider)
    yield
    for instrumentor in (celery, django):
        instrumentor.uninstrument()


def receive(operation: Operation, **headers: str) -> None:
    """Run the task as a worker does for a message with these headers."""
    pk = str(operation.pk)
    request = {"id": pk, "is_eager": True, "hostname": "w", **headers}
    trace_task(echo, pk, (), {}, request, app=current_app)


@pytest.mark.usefixtures("instrumented")
def test_instrumentations__get_no_second_span_for_one_thing(
    user: Any, client_of: Callable[..., APIClient], spans: Callable[[], list[ReadableSpan]]
) -> None:
    operation = post(client_of(user), traceparent=TRACEPARENT)
    receive(operation, traceparent=operation.traceparent)
    assert [(span.name, span.kind) for span in spans()] == [
        ("submit celery", SpanKind.PRODUCER),
        ("POST echoes/", SpanKind.SERVER),
        ("run/tests.project.echo", SpanKind.CONSUMER),
    ]
    assert trace_ids(spans()) == {TRACE_ID}
    submit, server, run = spans()
    assert submit.parent is not None
    assert submit.parent.span_id == span_id(server)
    assert attributes(run)["async_reply.status"] == "succeeded"


@pytest.mark.usefixtures("instrumented")
def test_instrumentations__attempt_of_a_message_without_headers_is_in_the_operations_trace(
    api: APIClient, spans: Callable[[], list[ReadableSpan]]
) -> None:
    operation = post(api, traceparent=TRACEPARENT)
    receive(operation)
    process, run = spans()[-2:]
    assert (process.name, trace_ids([process])) == ("process celery", {TRACE_ID})
    assert trace_ids([run]) != {TRACE_ID}
    assert span_id(run) in {link.context.span_id for link in process.links}


def test_package__imports_no_opentelemetry_by_itself() -> None:
    code = (
        "import django, sys; django.setup(); import async_reply.urls;"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert output.stdout.strip() == "[]"
