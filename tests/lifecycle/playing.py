"""The job of the state machine's operations. It runs the script of a rule."""

from typing import Any
from uuid import UUID

from rest_framework import serializers

from async_reply.attempts.jobs import Job
from async_reply.tasks import operation_task

#: Seconds of a delay. Rules let longer times pass.
LATER = 600


def _play(operation: Job) -> Any:
    """The job of these operations: runs the script of the rule."""
    return scripts[operation.id](operation)


scripts: dict[UUID, Any] = {}


class AnswerSerializer(serializers.Serializer[Any]):
    word = serializers.CharField()


play = operation_task(
    name="tests.lifecycle.play",
    max_retries=1,
    max_losses=1,
    default_retry_delay=LATER,
    asks={"approve": AnswerSerializer},
)(_play)
