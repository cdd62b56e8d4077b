"""Do, outside a worker, what the maintenance thread of each worker does."""

import signal
import threading
from argparse import ArgumentParser
from dataclasses import replace
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from async_reply.worker.duties import cleaning_steps, steps
from async_reply.worker.maintenance import Maintenance, Step


class Command(BaseCommand):
    help = "Publishes, rescues and purges operations. Every Celery worker does this by itself."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="one turn, then exit")

    def handle(self, *_args: Any, once: bool, **_options: Any) -> None:
        if once:
            self._turn_once()
        else:
            self._go_on()

    def _turn_once(self) -> None:
        """One turn; raises CommandError when a step failed, for cron to tell."""
        failed: list[str] = []
        watched = [[_noting(step, failed) for step in each] for each in (steps(), cleaning_steps())]
        found = sum(Maintenance(each).turn() for each in watched)
        self.stdout.write(f"{found} operations published, rescued or purged.")
        if failed:
            raise CommandError(f"Steps that failed: {', '.join(failed)}. The log says why.")

    def _go_on(self) -> None:
        threads = [Maintenance(steps()), Maintenance(cleaning_steps())]
        stop = threading.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda *_: stop.set())
        for thread in threads:
            thread.start()
        self.stdout.write("Maintaining operations; stop with Ctrl-C.")
        stop.wait()
        for thread in threads:
            thread.stop()


def _noting(step: Step, failed: list[str]) -> Step:
    """`step`, which adds its name to `failed` when it raises."""

    def function() -> int:
        try:
            return step.function()
        except Exception:
            failed.append(step.name)
            raise

    return replace(step, function=function)
