"""The demo's URLs: its pages and views, the operations, the admin, and the schema if installed."""

from importlib.util import find_spec
from typing import Any

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

from demo_project import pages
from demo_project.views import (
    CsvProfileView,
    DatasetImportView,
    DatasetView,
    ExportView,
    PublicSleepView,
    SleepView,
)

schema: list[Any] = []
if find_spec("drf_spectacular") is not None:
    from drf_spectacular.views import SpectacularAPIView

    from async_reply.contrib import spectacular  # noqa: F401 it describes our views

    schema = [path("api/schema/", SpectacularAPIView.as_view(), name="schema")]

urlpatterns = [
    path("", pages.IndexView.as_view(), name="index"),
    path("sign-out/", LogoutView.as_view(next_page="index"), name="sign-out"),
    path("samples/<slug:name>.csv", pages.sample, name="sample"),
    path("run/<slug:kind>/", pages.submit, name="submit"),
    path("operations/<uuid:pk>/", pages.operation, name="operation"),
    path("operations/<uuid:pk>/cancel/", pages.cancel, name="cancel"),
    *schema,
    path("admin/", admin.site.urls),
    path("api/csv-profiles/", CsvProfileView.as_view(), name="csv-profiles"),
    path("api/exports/", ExportView.as_view(), name="exports"),
    path("api/datasets/", DatasetImportView.as_view(), name="datasets"),
    path("api/datasets/<uuid:id>/", DatasetView.as_view(), name="dataset"),
    path("api/sleeps/", SleepView.as_view(), name="sleeps"),
    path("api/public-sleeps/", PublicSleepView.as_view(), name="public-sleeps"),
    path("api/", include("async_reply.urls")),
    # Style sheets and scripts, with DEBUG only. gunicorn and uvicorn serve no files themselves.
    *staticfiles_urlpatterns(),
]
