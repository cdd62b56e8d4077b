"""Signals for a project's receivers: sent after the commit, at most once.

`operation_submitted(operation)`, `operation_started(operation)`,
`operation_finished(operation, status)` and `operation_asked(operation, name)` have the `Operation`
class as sender. Errors of receivers are only logged. Work that must not be lost belongs into
`operation.on_finish` in the job.
"""

from contextlib import suppress

from django.db import models, router, transaction
from django.dispatch import Signal

from async_reply.logs import logger

operation_submitted = Signal()
operation_started = Signal()
operation_finished = Signal()
operation_asked = Signal()


def announce_finished(operation: models.Model, status: str) -> None:
    """Send `operation_finished` once the transaction has committed."""
    transaction.on_commit(
        lambda: send(operation_finished, operation, status=status),
        using=router.db_for_write(type(operation)),
        robust=True,
    )


def send(signal: Signal, operation: models.Model, **arguments: object) -> None:
    """Call the receivers. No error leaves this function, not even one of a log handler.

    `send_robust` lets pass what is no Exception: asyncio.CancelledError and gevent.Timeout.
    """
    try:
        signal.send_robust(type(operation), operation=operation, **arguments)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        with suppress(Exception):
            logger.exception("A receiver of a signal failed")
