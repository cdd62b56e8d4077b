"""The URLs of the tests of clients, and sleeps of users with signed links."""

from django.urls import path

from demo_project.views import SleepView
from tests.clients.urls import urlpatterns as others


class SignedSleepView(SleepView):
    location_access = "signed"
    valet_key_scope = "cancel"


urlpatterns = [*others, path("signed-sleeps/", SignedSleepView.as_view())]
