"""Do, outside a worker, what the maintenance thread of each worker does."""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from async_reply.maintenance import Maintenance
from async_reply.workers import cleaning_steps, steps


class Command(BaseCommand):
    help = "Publishes, rescues and purges operations. Every Celery worker does this by itself."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="one turn, then exit")

    def handle(self, *_args: Any, once: bool, **_options: Any) -> None:
        threads = [Maintenance(steps()), Maintenance(cleaning_steps())]
        if once:
            found = sum(thread.turn() for thread in threads)
            self.stdout.write(f"{found} operations published, rescued or purged.")
            return
        stop = threading.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda *_: stop.set())
        for thread in threads:
            thread.start()
        self.stdout.write("Maintaining operations; stop with Ctrl-C.")
        stop.wait()
        for thread in threads:
            thread.stop()
