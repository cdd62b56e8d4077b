"""Follows operations for a tracing system. Without one it does nothing.

`async_reply.contrib.opentelemetry` puts a tracer of its own into `tracer`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any


class Tracer:
    """Traces nothing. A subclass makes a span of each block; `operation` is the row."""

    def submit(self, operation: Any) -> AbstractContextManager[object]:
        """A block that stores the row. Before, the tracer may set `operation.traceparent`."""
        return nullcontext()

    def publish(self, operation: Any) -> AbstractContextManager[object]:
        """A block that sends the message of the operation."""
        return nullcontext()

    def attempt(self, operation: Any) -> AbstractContextManager[Callable[[Any], object]]:
        """A block that runs an attempt. It gets a function to call with the attempt's report."""
        return nullcontext(_ignore)

    def end_lost(self, operation: Any, *, event: str, reason: str) -> None:
        """Trace an attempt whose own process could not: it was lost or released."""


def _ignore(report: Any) -> None:
    pass


tracer = Tracer()
