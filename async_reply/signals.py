"""What a project may listen to: sent after the commit, at most once, errors only logged.

`operation_submitted(operation)`, `operation_started(operation)` and
`operation_finished(operation, status)`, each with the `Operation` class as sender. What must
happen does not belong here: use `operation.on_finish` in the job.
"""

from django.db import models, router, transaction
from django.dispatch import Signal

operation_submitted = Signal()
operation_started = Signal()
operation_finished = Signal()


def announce_finished(operation: models.Model, status: str) -> None:
    """Send `operation_finished` once the transaction has committed."""
    model = type(operation)
    transaction.on_commit(
        lambda: operation_finished.send_robust(model, operation=operation, status=status),
        using=router.db_for_write(model),
        robust=True,
    )
