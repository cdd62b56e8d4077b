"""Submit views of the project: one for each task, attribute and hook."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib.auth import get_user_model
from django.http.response import HttpResponseBase
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.permissions import AllowAny, IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from async_reply.models import Operation
from async_reply.tasks import OperationTask
from async_reply.views import LongRunningOperationMixin, LongRunningOperationView
from tests.project import tasks


class EchoSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField(required=False)
    day = serializers.DateField(required=False)
    price = serializers.DecimalField(max_digits=8, decimal_places=2, required=False)
    user = serializers.SlugRelatedField(
        slug_field="username", queryset=get_user_model().objects.all(), required=False
    )
    anything = serializers.JSONField(required=False)


class FilesSerializer(serializers.Serializer[Any]):
    title = serializers.CharField()
    files = serializers.ListField(child=serializers.FileField())


class OverrunSerializer(serializers.Serializer[Any]):
    calls = serializers.BooleanField()


class EchoView(LongRunningOperationView):
    parser_classes = [JSONParser]
    serializer_class = EchoSerializer
    task = tasks.echo


class HookedView(EchoView):
    """Takes a callback, in JSON or in a form."""

    parser_classes = [JSONParser, MultiPartParser]
    webhook = True


class ManyView(EchoView):
    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        return super().get_serializer(*args, many=True, **kwargs)


class DressedView(EchoView):
    location_target = "result"
    operation_headers = ["Operation-Location", "Azure-AsyncOperation"]
    redirect_status = 303
    result_status = 201
    retention = 3600
    idempotency_key_required = True

    def get_accepted_headers(self, operation: Operation) -> Mapping[str, str]:
        return {"X-Kind": operation.kind}

    def get_extra(self, request: Request) -> Mapping[str, Any]:
        return {"agent": request.headers.get("User-Agent", "")}

    def perform_submit(self, operation: Operation) -> None:
        if operation.input.get("number") == 13:
            raise serializers.ValidationError({"number": ["Not thirteen."]})


class RefuseView(EchoView):
    task = tasks.refuse


class BreakDownView(EchoView):
    task = tasks.break_down


class ExportView(EchoView):
    task = tasks.export


class CreateView(EchoView):
    task = tasks.create


class ForwardView(EchoView):
    task = tasks.forward


class PersistView(EchoView):
    task = tasks.persist


class OverrunView(LongRunningOperationView):
    serializer_class = OverrunSerializer
    task = tasks.overrun


class StubbornView(OverrunView):
    task: ClassVar[OperationTask[..., Any]] = tasks.stubborn


class DeafView(OverrunView):
    task: ClassVar[OperationTask[..., Any]] = tasks.be_deaf


class WaitView(OverrunView):
    task: ClassVar[OperationTask[..., Any]] = tasks.wait


class OnceView(OverrunView):
    task: ClassVar[OperationTask[..., Any]] = tasks.once


class DisturbSerializer(serializers.Serializer[Any]):
    way = serializers.CharField()


class DisturbView(LongRunningOperationView):
    serializer_class = DisturbSerializer
    task = tasks.disturb


class GilView(OverrunView):
    task: ClassVar[OperationTask[..., Any]] = tasks.hold_gil


class TalkSerializer(serializers.Serializer[Any]):
    dies = serializers.BooleanField()


class TalkView(LongRunningOperationView):
    serializer_class = TalkSerializer
    task: ClassVar[OperationTask[..., Any]] = tasks.talk


class DeadlyStepsSerializer(serializers.Serializer[Any]):
    boundary = serializers.CharField()
    journal = serializers.CharField()
    atomic = serializers.BooleanField(default=False)


class DeadlyStepsView(LongRunningOperationView):
    serializer_class = DeadlyStepsSerializer
    task: ClassVar[OperationTask[..., Any]] = tasks.deadly_steps


class LongStepsSerializer(serializers.Serializer[Any]):
    steps = serializers.IntegerField()
    journal = serializers.CharField()


class LongStepsView(LongRunningOperationView):
    serializer_class = LongStepsSerializer
    task: ClassVar[OperationTask[..., Any]] = tasks.long_steps


class FilesView(LongRunningOperationView):
    parser_classes = [MultiPartParser]
    serializer_class = FilesSerializer
    task: ClassVar[OperationTask[..., Any]] = tasks.read


class UpperView(FilesView):
    task = tasks.upper


class StaffView(EchoView):
    permission_classes = [IsAdminUser]


class ApprovalView(EchoView):
    task = tasks.approve


class OpenApprovalView(ApprovalView):
    permission_classes = [AllowAny]
    location_access = "signed"
    valet_key_scope = "cancel"


class SharedApprovalView(OpenApprovalView):
    valet_key_scope = "read"


class OpenView(EchoView):
    permission_classes = [AllowAny]
    location_access = "signed"
    valet_key_scope = "cancel"


class SharedView(EchoView):
    location_access = "signed"


class NoTaskView(LongRunningOperationView):
    serializer_class = EchoSerializer


class ThingViewSet(LongRunningOperationMixin, ViewSet):
    def retrieve(self, request: Request, number: int) -> Response:
        return Response({"number": number})

    @action(detail=True, methods=["post"])
    def rebuild(self, request: Request, number: int) -> HttpResponseBase:
        return self.submit(request, tasks.echo, {"number": number})
