"""Switches the traces on, in each process whose settings name the app."""

from typing import Any

from celery import signals
from django.apps import AppConfig
from opentelemetry import trace

FLUSH_MILLISECONDS = 3000


class OpenTelemetryConfig(AppConfig):
    name = "async_reply.contrib.opentelemetry"
    label = "async_reply_opentelemetry"

    def ready(self) -> None:
        from async_reply import traces
        from async_reply.contrib.opentelemetry.tracer import OpenTelemetryTracer

        traces.tracer = OpenTelemetryTracer()
        signals.worker_process_shutdown.connect(flush, dispatch_uid=self.label)


def flush(**_kwargs: Any) -> None:
    """Export the spans that a process of the pool holds. It ends without `atexit`."""
    provider: Any = trace.get_tracer_provider()
    if hasattr(provider, "force_flush"):
        provider.force_flush(FLUSH_MILLISECONDS)
