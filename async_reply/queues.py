"""Queues in which operations wait and that no worker reads."""

from datetime import timedelta

from async_reply import relay
from async_reply.clock import DatabaseNow
from async_reply.logs import logger
from async_reply.models import Operation, Worker

#: Workers write that they live each 10 to 20 seconds.
SEEN_WITHIN = timedelta(minutes=1)
WAITING_FOR = timedelta(minutes=1)


def unserved() -> list[str]:
    """Queues with operations that were published a minute ago, and without a live worker."""
    now = DatabaseNow()
    waiting = Operation.objects.due().filter(published_at__lte=now - WAITING_FOR).order_by()
    lines = waiting.values(*relay.LINE).distinct()
    named = {relay.place(line)[0] for line in lines}
    if not named:
        return []
    alive = Worker.objects.filter(seen_at__gte=now - SEEN_WITHIN).values_list("queues", flat=True)
    return sorted(named.difference(*alive))


def warn() -> int:
    """Write each unserved queue into the log; 0, since there is nothing to hurry for."""
    for queue in unserved():
        logger.warning(
            "Operations wait in queue %s, which no worker reads: start one with -Q %s, or mend "
            "CELERY_TASK_ROUTES",
            queue,
            queue,
        )
    return 0
