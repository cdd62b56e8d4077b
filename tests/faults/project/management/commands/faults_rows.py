"""Prints the rows as JSON once all operations are final, or after the time to wait."""

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder

from async_reply.models import (
    Operation,
    OperationAttempt,
    OperationEvents,
    OperationResult,
    OperationStep,
)
from tests.faults.project.models import Effect, StepEffect, TutorialJob

COLUMNS = (
    *("id", "kind", "status", "version", "attempt", "retries", "max_retries", "losses"),
    *("max_losses", "error", "input", "publishes", "worker", "created_at", "available_at"),
    *("published_at", "started_at", "lease_expires_at", "finished_at", "idempotency_digest"),
    *("events", "kept_events"),
)


class Command(BaseCommand):
    help = "Prints the rows that the fault suite judges."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--wait", type=float, default=0, help="seconds")

    def handle(self, *_args: Any, **options: Any) -> None:
        give_up = time.monotonic() + options["wait"]
        while _unfinished() and time.monotonic() < give_up:
            time.sleep(0.5)
        rows = {
            "operations": list(Operation.objects.values(*COLUMNS)),
            "results": list(OperationResult.objects.values("operation_id", "attempt", "value")),
            "attempts": list(
                OperationAttempt.objects.values(
                    "operation_id", "number", "outcome", "exception", "ended_at"
                )
            ),
            "steps": list(OperationStep.objects.values("operation_id", "name", "attempt", "value")),
            "events": list(
                OperationEvents.objects.order_by("operation_id", "last").values(
                    "operation_id", "first", "last", "attempt", "events"
                )
            ),
            "step_effects": list(StepEffect.objects.values("operation", "step")),
            "effects": list(Effect.objects.values("operation", "attempt")),
            "tutorial": list(TutorialJob.objects.values("id", "status")),
        }
        self.stdout.write(json.dumps(rows, cls=DjangoJSONEncoder))


def _unfinished() -> bool:
    tutorial = TutorialJob.objects.exclude(status="succeeded")
    return Operation.objects.unfinished().exists() or tutorial.exists()
