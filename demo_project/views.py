"""The demo's views: each submits one kind of operation. One shows an imported dataset."""

from django.db.models import QuerySet
from rest_framework.generics import RetrieveAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.permissions import AllowAny

from async_reply.views import LongRunningOperationView
from demo_project import tasks
from demo_project.models import Dataset
from demo_project.serializers import (
    CsvProfileRequestSerializer,
    DatasetRequestSerializer,
    DatasetSerializer,
    ExportRequestSerializer,
    SleepRequestSerializer,
    SleepSerializer,
)


class CsvProfileView(LongRunningOperationView):
    parser_classes = [MultiPartParser]
    serializer_class = CsvProfileRequestSerializer
    task = tasks.profile_csv


class ExportView(LongRunningOperationView):
    serializer_class = ExportRequestSerializer
    task = tasks.export


class DatasetImportView(LongRunningOperationView):
    parser_classes = [MultiPartParser]
    serializer_class = DatasetRequestSerializer
    result_serializer_class = DatasetSerializer
    task = tasks.import_dataset


class DatasetView(RetrieveAPIView[Dataset]):
    """Shows a complete dataset to its owner only."""

    serializer_class = DatasetSerializer
    lookup_field = "id"

    def get_queryset(self) -> QuerySet[Dataset]:
        return Dataset.objects.filter(owner=str(self.request.user.pk), rows__isnull=False)


class SleepView(LongRunningOperationView):
    serializer_class = SleepRequestSerializer
    result_serializer_class = SleepSerializer
    task = tasks.sleep


class PublicSleepView(SleepView):
    """Takes sleeps from anonymous callers. Each link has a key that also allows a cancel."""

    authentication_classes = []
    permission_classes = [AllowAny]
    location_access = "signed"
    valet_key_scope = "cancel"
