"""A view for probes of orchestrators and load balancers. No URL of ours leads to it."""

import time
from collections.abc import Collection
from typing import Any, ClassVar

from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View

from async_reply.protocol import headers
from async_reply.statistics import health
from async_reply.statistics.health import Health, Level, Limits


@method_decorator(login_not_required, name="dispatch")
class HealthView(View):
    """Answers 200, or 503 if a part is critical, with counts and without a name.

    `parts` says what is asked. The default suits a probe of a web process: it answers requests as
    long as the database does. A view with more parts suits a monitor, which is to notice that no
    worker lives; a load balancer would then take all web processes away.
    """

    http_method_names = ("get", "head", "options")

    #: Any of "database", "broker", "workers", "queues" and "failures".
    parts: Collection[str] = (health.DATABASE,)
    #: From when on values are critical. Warnings change no answer.
    limits: Limits | None = None
    #: Seconds for which a process gives the same answer, since anybody may ask.
    keep_seconds: float = 1.0

    _answers: ClassVar[dict[Any, tuple[float, Health]]] = {}

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """A view outside of ATOMIC_REQUESTS, which would fail before it without a database."""
        view = super().as_view(**initkwargs)
        for alias in connections:
            view = transaction.non_atomic_requests(using=alias)(view)
        return view

    def get(self, request: HttpRequest) -> HttpResponse:
        state = self._read()
        is_critical = state.level is Level.CRITICAL
        document: dict[str, Any] = {"status": "failing" if is_critical else "ok"}
        for part in (health.DATABASE, health.BROKER):
            if (answers := getattr(state, part)) is not None:
                document[part] = answers
        if state.workers is not None:
            document["workers"] = len(state.workers)
        if state.queues is not None and state.unpublished is not None:
            document["waiting"] = sum(queue.waiting for queue in state.queues)
            ages = [queue.oldest_seconds for queue in state.queues]
            document["oldest_seconds"] = round(max(ages, default=0.0), 3)
            document["unpublished"] = state.unpublished.count
        if state.failures is not None:
            document["failures"] = sum(state.failures.values())
        response = JsonResponse(document, status=503 if is_critical else 200)
        response[headers.CACHE_CONTROL] = headers.PRIVATE
        return response

    def _read(self) -> Health:
        key = tuple(self.parts), self.limits
        kept_until, state = self._answers.get(key, (0.0, None))
        if state is None or time.monotonic() >= kept_until:
            state = health.read(self.parts, self.limits)
            self._answers[key] = time.monotonic() + self.keep_seconds, state
        return state
