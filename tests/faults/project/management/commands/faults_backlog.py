"""Submits many operations for the test of a backlog."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from async_reply import services
from tests.faults.project.tasks import work


class Command(BaseCommand):
    help = "Submits jobs that take a tenth of a second each."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("count", type=int)

    def handle(self, *_args: Any, **options: Any) -> None:
        for number in range(options["count"]):
            values = {"seconds": 0.1, "manner": "silent", "token": f"backlog-{number}"}
            services.submit(work, input=values, owner="faults")
