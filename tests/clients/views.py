"""Views for submits in the dialects of Azure's and FHIR's clients."""

from collections.abc import Mapping

from django.http.response import HttpResponseBase
from rest_framework.authentication import TokenAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
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


class FhirRenderer(JSONRenderer):
    media_type = "application/fhir+json"


class BulkExportView(LongRunningOperationMixin):
    """The kick-off of a FHIR bulk export by GET. Content-Location names the status URL."""

    # A cookie must not be enough for a GET that starts a job.
    authentication_classes = [TokenAuthentication]
    renderer_classes = [FhirRenderer]

    def get(self, request: Request) -> HttpResponseBase:
        values = {
            "request": request.build_absolute_uri(),
            "types": request.query_params.get("_type", "Patient").split(","),
            "files": request.build_absolute_uri("/fhir/files/"),
        }
        return self.submit(request, tasks.bulk_export, values)

    def get_accepted_headers(self, operation: Operation) -> Mapping[str, str]:
        return {"Content-Location": links(operation, self.request)["result"]}


class SlowExportView(BulkExportView):
    """An export that takes ten minutes, so that a test can cancel it."""

    def get(self, request: Request) -> HttpResponseBase:
        values = {"seconds": 600.0, "steps": 6000, "outcome": "succeed", "value": None}
        return self.submit(request, SleepView.task, values)


class NdjsonRenderer(JSONRenderer):
    media_type = "application/fhir+ndjson"


class NdjsonView(APIView):
    permission_classes = [IsAuthenticated]
    renderer_classes = [NdjsonRenderer]

    def get(self, request: Request, name: str) -> Response:
        return Response({"resourceType": name, "id": "1"})
