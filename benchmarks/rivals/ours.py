"""The same by async_reply."""

from typing import Any

from async_reply.tasks import operation_task
from async_reply.views import LongRunningOperationView
from benchmarks.rivals.serializers import OrderSerializer


@operation_task(name="ours.work", queue="rivals-ours")
def work(operation: Any, *, number: int, text: str) -> int:
    return number


class SubmitView(LongRunningOperationView):
    serializer_class = OrderSerializer
    task = work
