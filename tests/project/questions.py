"""A job that asks for an approval."""

from datetime import timedelta
from typing import Any

from rest_framework import serializers

from async_reply.attempts.jobs import Job
from async_reply.exceptions import NoAnswer
from async_reply.tasks import operation_task


class ApprovalSerializer(serializers.Serializer[Any]):
    """May the invoice be paid?"""

    approved = serializers.BooleanField(label="Approved")
    note = serializers.CharField(required=False, max_length=80, help_text="For the sender.")
    day = serializers.DateField(required=False)


@operation_task(name="tests.approve", asks={"approve": ApprovalSerializer}, max_retries=0)
def approve(operation: Job) -> dict[str, Any]:
    try:
        return {"answer": operation.ask("approve", timeout=timedelta(days=3))}
    except NoAnswer:
        return {"answer": None}
