"""The URLs of the tests of clients, and sleeps of users with signed links."""

from django.urls import path
from rest_framework.serializers import Serializer

from async_reply.views import LongRunningOperationView
from demo_project.views import SleepView
from tests.clients.tasks import approve
from tests.clients.urls import urlpatterns as others


class ApprovalView(LongRunningOperationView):
    serializer_class = Serializer
    task = approve


class SignedSleepView(SleepView):
    location_access = "signed"
    valet_key_scope = "cancel"


urlpatterns = [
    *others,
    path("signed-sleeps/", SignedSleepView.as_view()),
    path("approvals/", ApprovalView.as_view()),
]
