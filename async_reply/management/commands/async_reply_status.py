"""Says what waits, what runs and what is broken, for operators and for monitoring."""

import json
from argparse import Action, ArgumentParser, Namespace
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from async_reply.statistics import health
from async_reply.statistics.health import Limits

DEFAULTS = Limits()
HELP = {
    "oldest": "seconds for which the oldest operation of a queue has been due",
    "waiting": "operations that wait in one queue",
    "unpublished": "seconds for which the oldest operation has been due and not published",
    "failures": "operations that failed in the last hour",
}


class LimitAction(Action):
    """Takes one or two numbers: from where on a value is a warning, and is critical."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option: Any = None
    ) -> None:
        is_number = all(value >= 0 for value in values)  # "nan" is none
        if len(values) > 2 or values != sorted(values) or not is_number:
            parser.error(f"{option} takes WARNING and CRITICAL, in this order, both 0 or more")
        setattr(namespace, self.dest, (values[0], values[-1]))


class Command(BaseCommand):
    help = (
        "Shows queues, workers, unpublished operations and failures. The exit status is 0, or 1 "
        "after a warning, or 2 if something is critical: the database or the broker does not "
        "answer, no worker lives, or operations wait in a queue that no living worker reads."
    )
    # A probe has to answer quickly, also while the database is away.
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="write one JSON document")
        for name, text in HELP.items():
            default = getattr(DEFAULTS, name)
            parser.add_argument(
                f"--{name}",
                action=LimitAction,
                nargs="+",
                type=float,
                metavar="LIMIT",
                default=default,
                help=f"{text}: a warning from the first number on, critical from the second on. "
                f"Default: {'no limit' if default is None else ' '.join(map(str, default))}",
            )

    def handle(self, *_args: Any, **options: Any) -> None:
        state = health.read(limits=Limits(**{name: options[name] for name in HELP}))
        if options["json"]:
            self.stdout.write(json.dumps(health.document(state), indent=2))
        else:
            self.stdout.write("\n".join(health.lines(state)))
        if state.problems:
            text = "\n".join(f"{problem.level.name}: {problem.text}" for problem in state.problems)
            raise CommandError(text, returncode=int(state.level))
