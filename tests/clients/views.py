"""Submit views in the dialects of clients."""

from collections.abc import Mapping

from django.http import HttpResponse
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from async_reply.documents import links
from async_reply.models import Operation
from async_reply.views import LongRunningOperationMixin
from demo_project.views import SleepView
from tests.clients import tasks


class AzureAsyncOperationView(SleepView):
    operation_headers = ["Azure-AsyncOperation"]


class LocationView(SleepView):
    location_target = "result"
    operation_headers = []


class BulkExportView(LongRunningOperationMixin):
    """Kick-off of a FHIR bulk export: GET, and the status is to be asked at Content-Location."""

    def get(self, request: Request) -> Response:
        values = {
            "request": request.build_absolute_uri(),
            "types": request.query_params.get("_type", "Patient").split(","),
            "files": request.build_absolute_uri("/fhir/files/"),
        }
        return self.submit(request, tasks.bulk_export, values)

    def get_accepted_headers(self, operation: Operation) -> Mapping[str, str]:
        return {"Content-Location": links(operation, self.request)["result"]}


class SlowExportView(BulkExportView):
    """One that takes its time, to be canceled meanwhile."""

    def get(self, request: Request) -> Response:
        values = {"seconds": 600.0, "steps": 6000, "outcome": "succeed", "value": None}
        return self.submit(request, SleepView.task, values)


class NdjsonView(APIView):
    permission_classes = [IsAuthenticated]

    def get(self, request: Request, name: str) -> HttpResponse:
        line = f'{{"resourceType": "{name}", "id": "1"}}\n'
        return HttpResponse(line, content_type="application/fhir+ndjson")
