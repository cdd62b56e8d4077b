"""What happens to operations whose time is over."""

from django.db import transaction

from async_reply import conf, files, lifecycle, results
from async_reply.clock import DatabaseNow
from async_reply.models import Operation, OperationAttempt, database
from async_reply.status import FINAL


def bury(operation: Operation, *, expired: bool) -> bool:
    """Remove the content of a finished operation and keep a tombstone; False if it has none."""
    using = database()
    with transaction.atomic(using=using):
        if not lifecycle.bury(operation, expired=expired):
            return False
        removed = results.discard(operation)
        OperationAttempt.objects.filter(operation_id=operation.pk).delete()
        transaction.on_commit(lambda: files.remove(removed), using=using, robust=True)
    return True


def purge() -> int:
    """Bury expired operations and remove tombstones past their time, a batch at most; how many."""
    batch = list(
        Operation.objects.expired()
        .order_by("purge_at")
        .only("id", "deleted_at")[: conf.get("BATCH")]
    )
    tombstones = [operation.pk for operation in batch if operation.deleted_at is not None]
    for operation in batch:
        if operation.deleted_at is None:
            bury(operation, expired=True)
    Operation.objects.expired().filter(pk__in=tombstones, deleted_at__isnull=False).delete()
    return len(batch)


def disown(owner: str) -> int:
    """Let all that `owner` submitted expire now, or as soon as it has finished; how many."""
    theirs = Operation.objects.filter(owner=owner, deleted_at=None)
    finished = theirs.filter(status__in=sorted(FINAL))
    return finished.update(expires_at=DatabaseNow(), purge_at=DatabaseNow()) + (
        theirs.unfinished().update(expires_at=DatabaseNow())
    )
