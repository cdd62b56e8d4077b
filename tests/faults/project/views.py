"""The views to which the clients of the fault suite submit."""

from functools import partial
from typing import Any

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import serializers

from async_reply.views import LongRunningOperationView
from tests.faults.project import tasks
from tests.faults.project.models import TutorialJob


class WorkSerializer(serializers.Serializer[Any]):
    seconds = serializers.FloatField()
    manner = serializers.CharField(default="polite")
    token = serializers.CharField()


class OnceSerializer(serializers.Serializer[Any]):
    seconds = serializers.FloatField()
    token = serializers.CharField()


class PoisonSerializer(serializers.Serializer[Any]):
    harm = serializers.CharField()


class WorkView(LongRunningOperationView):
    serializer_class = WorkSerializer
    task = tasks.work


class OnceView(LongRunningOperationView):
    serializer_class = OnceSerializer
    task = tasks.once


class StepsView(OnceView):
    task = tasks.steps


class PoisonView(LongRunningOperationView):
    serializer_class = PoisonSerializer
    task = tasks.poison


class HangView(PoisonView):
    task = tasks.hang


@csrf_exempt
@transaction.atomic
def tutorial(request: HttpRequest) -> JsonResponse:
    """The design of tutorials: a row, and `on_commit(task.delay)`."""
    job = TutorialJob.objects.create()
    transaction.on_commit(partial(tasks.tutorial.delay, job.pk, 0.2))
    return JsonResponse({"id": str(job.pk)}, status=202, headers={"Location": f"/{job.pk}/"})
