"""Does the duties of maintenance outside of workers, for ever or in one turn from cron."""

import signal
import threading
from argparse import ArgumentParser
from dataclasses import replace
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from async_reply import tasks
from async_reply.worker.duties import cleanup, delivery
from async_reply.worker.maintenance import Duty, Maintenance


class Command(BaseCommand):
    help = "Publishes, rescues and purges operations. Every Celery worker does this by itself."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="one turn, then exit")

    def handle(self, *_args: Any, once: bool, **_options: Any) -> None:
        # A rescue calls on_failure and on_cancel of kinds, so this process has to know them.
        tasks.known_kinds()
        if once:
            self._run_once()
        else:
            self._run_until_stopped()

    def _run_once(self) -> None:
        """Do each duty once. Raises CommandError if one failed, so that cron sends a mail."""
        failed: list[str] = []
        threads = [
            Maintenance([_noting_failure(duty, failed) for duty in duties])
            for duties in (delivery(alone=True), cleanup(alone=True))
        ]
        changed = sum(thread.turn() for thread in threads)
        self.stdout.write(f"{changed} operations published, rescued or purged.")
        if failed:
            raise CommandError(f"Duties that failed: {', '.join(failed)}. The log says why.")

    def _run_until_stopped(self) -> None:
        threads = [Maintenance(delivery()), Maintenance(cleanup())]
        stop = threading.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda *_: stop.set())
        for thread in threads:
            thread.start()
        self.stdout.write("Maintaining operations; stop with Ctrl-C.")
        stop.wait()
        for thread in threads:
            thread.stop()


def _noting_failure(duty: Duty, failed: list[str]) -> Duty:
    """A copy of `duty` that adds its name to `failed` when it raises."""

    def function() -> int:
        try:
            return duty.function()
        except Exception:
            failed.append(duty.name)
            raise

    return replace(duty, function=function)
