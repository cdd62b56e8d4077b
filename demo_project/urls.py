"""The demo's URLs: its views, the operations, the admin, and the schema if it is installed."""

from importlib.util import find_spec
from typing import Any

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

from demo_project.views import (
    CsvProfileView,
    DatasetImportView,
    DatasetView,
    ExportView,
    SleepView,
)

schema: list[Any] = []
if find_spec("drf_spectacular") is not None:
    from drf_spectacular.views import SpectacularAPIView

    from async_reply.contrib import spectacular  # noqa: F401 it describes our views

    schema = [path("api/schema/", SpectacularAPIView.as_view(), name="schema")]

urlpatterns = [
    *schema,
    path("admin/", admin.site.urls),
    path("api/csv-profiles/", CsvProfileView.as_view(), name="csv-profiles"),
    path("api/exports/", ExportView.as_view(), name="exports"),
    path("api/datasets/", DatasetImportView.as_view(), name="datasets"),
    path("api/datasets/<uuid:id>/", DatasetView.as_view(), name="dataset"),
    path("api/sleeps/", SleepView.as_view(), name="sleeps"),
    path("api/", include("async_reply.urls")),
    # The admin's style sheets, with DEBUG only. gunicorn and uvicorn serve no files themselves.
    *staticfiles_urlpatterns(),
]
