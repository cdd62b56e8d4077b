"""The project's URLs, and the metrics for everybody. An answer names the process that gave it."""

import os

from django.http import HttpResponse
from django.urls import path
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from async_reply.contrib.prometheus import MetricsView
from tests.project import urls


class ProcessMetricsView(MetricsView):
    permission_classes = [AllowAny]

    def get(self, request: Request) -> HttpResponse:
        response = super().get(request)
        response["X-Process"] = str(os.getpid())
        return response


urlpatterns = [*urls.urlpatterns, path("metrics/", ProcessMetricsView.as_view())]
