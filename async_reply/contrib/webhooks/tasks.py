"""The Celery task that delivers webhooks, in the default queue or that of WEBHOOK_QUEUE.

It is no operation: it counts for no quota, and no webhook tells of it.
"""

import time
from typing import Any

from celery import current_app, shared_task

from async_reply import conf
from async_reply.logs import logger
from async_reply.publishing import broker, connections

NAME = "async_reply.webhooks.deliver"
#: The project's limits for all its tasks may be shorter than a post. The answers would be lost.
SOFT_LIMIT_SECONDS, LIMIT_SECONDS = 110, 120
#: A message that waited longer in its queue is dropped: others have come meanwhile.
EXPIRES_SECONDS = 60


@shared_task(
    name=NAME,
    ignore_result=True,
    soft_time_limit=SOFT_LIMIT_SECONDS,
    time_limit=LIMIT_SECONDS,
)
def deliver() -> None:
    """Deliver what is due, unless another process of this worker is doing so."""
    # Imported here, since a worker imports this module with all others at its start.
    from async_reply.contrib.webhooks import rounds

    rounds.deliver(go_on=publish)


def publish() -> bool:
    """Send the message that has a worker deliver; False if the broker did not take it."""
    if broker.breaker.is_open:
        return False
    deadline = time.monotonic() + conf.get("PUBLISH_TIMEOUT")
    queue = conf.get("WEBHOOK_QUEUE")
    options: dict[str, Any] = {"queue": queue} if queue else {}
    if current_app.conf.task_always_eager:
        deliver.apply()
        return True
    try:
        deliver.apply_async(
            producer=connections.BoundedProducer(connections.connection(), deadline=deadline),
            expires=EXPIRES_SECONDS,
            retry=True,
            retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0},
            **options,
        )
    except Exception as error:  # noqa: BLE001 each transport has errors of its own
        logger.warning("Webhooks are not sent now, but later: %s", error)
        if isinstance(error, broker.DOWN_ERRORS):
            broker.breaker.trip()
        return False
    return True
