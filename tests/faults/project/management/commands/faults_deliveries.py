"""Prints the deliveries as JSON once all have ended, or after the time to wait."""

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder

from async_reply.contrib.webhooks.models import Delivery, DeliveryTry, Endpoint
from async_reply.models import Operation

COLUMNS = ("id", "operation", "endpoint", "state", "event", "tries", "claims", "due_at")


class Command(BaseCommand):
    help = "Prints what the fault suite judges of webhooks."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--wait", type=float, default=0, help="seconds")

    def handle(self, *_args: Any, **options: Any) -> None:
        give_up = time.monotonic() + options["wait"]
        while _is_unfinished() and time.monotonic() < give_up:
            time.sleep(0.5)
        rows = {
            "operations": list(Operation.objects.values("id", "status")),
            "endpoints": list(Endpoint.objects.values("id", "url")),
            "deliveries": list(Delivery.objects.values(*COLUMNS)),
            "tries": list(DeliveryTry.objects.values("message_id", "status", "error")),
        }
        self.stdout.write(json.dumps(rows, cls=DjangoJSONEncoder))


def _is_unfinished() -> bool:
    is_open = Delivery.objects.filter(state=Delivery.State.OPEN)
    return is_open.exists() or Operation.objects.unfinished().exists()
