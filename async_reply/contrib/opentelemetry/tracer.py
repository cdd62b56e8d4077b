"""Makes OpenTelemetry's spans for operations: of the submit, of each message and of each attempt.

The row keeps the context of the submit's span, so all spans of an operation are in one trace.
Names and attributes follow the semantic conventions for messaging.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import async_reply
from async_reply import traces
from async_reply.attempts.reports import Report, reason
from async_reply.models import Operation
from async_reply.publishing import routing

_propagator = TraceContextTextMapPropagator()


class OpenTelemetryTracer(traces.Tracer):
    """Makes spans by the project's tracer provider."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("async_reply", async_reply.__version__, provider)

    @contextmanager
    def submit(self, operation: Operation) -> Iterator[None]:
        """A span in the trace of the request, whose context the row keeps."""
        is_in_trace = trace.get_current_span().get_span_context().is_valid
        with self._tracer.start_as_current_span(
            **_described("submit", "create", operation),
            context=None if is_in_trace else _context(operation),
            kind=SpanKind.PRODUCER,
        ) as span:
            created = span.get_span_context()
            if created.is_valid:
                trace_id = trace.format_trace_id(created.trace_id)
                span_id = trace.format_span_id(created.span_id)
                flags = created.trace_flags & trace.TraceFlags.SAMPLED
                operation.traceparent = f"00-{trace_id}-{span_id}-{flags:02x}"
            yield

    @contextmanager
    def publish(self, operation: Operation) -> Iterator[None]:
        parent = _context(operation)
        if _traces_celery():
            # Celery's instrumentation makes the span of the message, in the operation's trace.
            token = context.attach(parent)
            try:
                yield
            finally:
                context.detach(token)
            return
        with self._tracer.start_as_current_span(
            **_described("publish", "send", operation),
            context=parent,
            kind=SpanKind.CLIENT,
            links=_links(parent),
        ):
            yield

    @contextmanager
    def attempt(self, operation: Operation) -> Iterator[Callable[[Report], None]]:
        described, parent = _described("process", "process", operation), _context(operation)
        current = trace.get_current_span()
        if _is_span_of_message(current, parent):
            current.set_attributes(described["attributes"])
            yield partial(_end, current, is_own=False)
            return
        with self._tracer.start_as_current_span(
            **described, context=parent, kind=SpanKind.CONSUMER, links=_links(parent)
        ) as span:
            yield partial(_end, span, is_own=True)

    def end_lost(self, operation: Operation, *, event: str, reason: str) -> None:
        started, parent = operation.started_at, _context(operation)
        span = self._tracer.start_span(
            **_described("process", "process", operation),
            context=parent,
            kind=SpanKind.CONSUMER,
            links=_links(parent),
            start_time=None if started is None else int(started.timestamp() * 1e9),
        )
        span.set_attribute("async_reply.event", event)
        if event == "lost":
            span.set_attribute("error.type", "worker-lost")
            span.set_status(Status(StatusCode.ERROR, reason))
        span.end()


def _described(name: str, sort: str, operation: Operation) -> dict[str, Any]:
    """The span's name and attributes, by the semantic conventions for messaging.

    The queue is '' where an exchange decides, or this process knows no route.
    """
    attributes: dict[str, str | int] = {
        "messaging.system": "celery",
        "messaging.operation.name": name,
        "messaging.operation.type": sort,
        "messaging.message.id": str(operation.pk),
        "async_reply.kind": operation.kind,
    }
    queue = routing.route_or_unknown(
        operation.kind, queue=operation.queue, priority=operation.priority
    ).queue
    if queue:
        attributes["messaging.destination.name"] = queue
    if name == "process":
        attributes["async_reply.attempt"] = operation.attempt
    return {"name": f"{name} {queue}" if queue else name, "attributes": attributes}


def _context(operation: Operation) -> Context:
    """The context of the row, or the current one if the row has none."""
    carrier = {"traceparent": operation.traceparent}
    return _propagator.extract(carrier, context=context.get_current())


def _links(parent: Context) -> list[Link]:
    """Links to the submit, as the conventions ask, and to the current span of another trace."""
    created = trace.get_current_span(parent).get_span_context()
    current = trace.get_current_span().get_span_context()
    links = [created, *([current] if current.trace_id != created.trace_id else [])]
    return [Link(span) for span in links if span.is_valid]


def _traces_celery() -> bool:
    """Whether opentelemetry-instrumentation-celery makes a span of each message."""
    module: Any = sys.modules.get("opentelemetry.instrumentation.celery")
    return module is not None and module.CeleryInstrumentor().is_instrumented_by_opentelemetry


def _is_span_of_message(span: Span, parent: Context) -> bool:
    """Whether Celery's instrumentation has a span for this attempt, in the operation's trace."""
    if not _traces_celery() or getattr(span, "kind", None) is not SpanKind.CONSUMER:
        return False
    created = trace.get_current_span(parent).get_span_context()
    return span.get_span_context().trace_id == created.trace_id


def _end(span: Span, report: Report, *, is_own: bool) -> None:
    """Write into the span how the attempt ended. The block that made the span ends it."""
    span.set_attribute("async_reply.event", report.event)
    if report.status is not None:
        span.set_attribute("async_reply.status", report.status.value)
    if report.code:
        span.set_attribute("async_reply.code", report.code)
    error = report.error
    if error is None or not (report.is_defect or report.event == "retried"):
        return
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(Status(StatusCode.ERROR, reason(error)))
    # Celery's instrumentation records the exceptions that Celery hears of.
    if is_own or not report.is_defect:
        span.record_exception(error)
