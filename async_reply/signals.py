"""What a project may listen to: sent after the commit, at most once, errors only logged.

`operation_submitted(operation)`, `operation_started(operation)` and
`operation_finished(operation, status)`, each with the `Operation` class as sender. What must
happen does not belong here: use `operation.on_finish` in the job.
"""

from contextlib import suppress

from django.db import models, router, transaction
from django.dispatch import Signal

operation_submitted = Signal()
operation_started = Signal()
operation_finished = Signal()


def announce_finished(operation: models.Model, status: str) -> None:
    """Send `operation_finished` once the transaction has committed."""
    transaction.on_commit(
        lambda: send(operation_finished, operation, status=status),
        using=router.db_for_write(type(operation)),
        robust=True,
    )


def send(signal: Signal, operation: models.Model, **news: object) -> None:
    """Tell the receivers: what they raise, and what a log handler raises on top, ends here."""
    with suppress(Exception):
        signal.send_robust(type(operation), operation=operation, **news)
