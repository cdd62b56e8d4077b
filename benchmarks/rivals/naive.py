"""Long-running work as tutorials write it: a Celery task, its id, and `AsyncResult`."""

from typing import Any

from celery import shared_task
from celery.result import AsyncResult
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from benchmarks.rivals.serializers import OrderSerializer


@shared_task(name="naive.work")
def work(number: int, text: str) -> int:
    return number


class SubmitView(APIView):
    def post(self, request: Request) -> Response:
        serializer = OrderSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        result = work.delay(**serializer.validated_data)
        url = reverse("naive-status", args=[result.id], request=request)
        return Response({"id": result.id, "url": url}, status=202, headers={"Location": url})


class StatusView(APIView):
    def get(self, request: Request, id: str) -> Response:
        result: Any = AsyncResult(id)
        return Response({"id": id, "status": result.status, "result": result.result})
