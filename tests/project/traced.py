"""Settings whose processes write their spans into a file, one JSON document a line.

No span is written before its process ends.
"""

import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "async_reply.contrib.opentelemetry"]

exporter = ConsoleSpanExporter(
    out=(Path(os.environ["DEMO_DIR"]) / "spans.jsonl").open("a"),
    formatter=lambda span: f"{span.to_json(indent=None)}\n",
)
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=600_000))
trace.set_tracer_provider(provider)
