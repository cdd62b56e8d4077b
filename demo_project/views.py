from rest_framework.parsers import MultiPartParser

from async_reply.views import LongRunningOperationView
from demo_project import tasks
from demo_project.serializers import (
    CsvProfileRequestSerializer,
    SleepRequestSerializer,
    SleepSerializer,
)


class CsvProfileView(LongRunningOperationView):
    parser_classes = [MultiPartParser]
    serializer_class = CsvProfileRequestSerializer
    task = tasks.profile_csv


class SleepView(LongRunningOperationView):
    serializer_class = SleepRequestSerializer
    result_serializer_class = SleepSerializer
    task = tasks.sleep
