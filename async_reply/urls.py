"""The URLs of operations. Include them in your API: `path("api/", include("async_reply.urls"))`.

The views parse the ids. A `uuid` converter would answer a malformed id with Django's own 404,
which differs from the 404 for an unknown id.
"""

from typing import Any

from django.urls import path

from async_reply import views

app_name = "async_reply"

VIEWS: dict[str, tuple[str, Any]] = {
    "list": ("operations", views.ListView),
    "status": ("operations/<str:id>", views.StatusView),
    "monitor": ("operations/<str:id>/monitor", views.MonitorView),
    "result": ("operations/<str:id>/result", views.ResultView),
    "events": ("operations/<str:id>/events", views.EventsView),
    "log": ("operations/<str:id>/log", views.LogView),
    "input": ("operations/<str:id>/input/<str:name>", views.InputView),
    "cancel": ("operations/<str:id>/cancel", views.CancelView),
}

urlpatterns = [
    *(path(f"{route}/", view.as_view(), name=name) for name, (route, view) in VIEWS.items()),
    # The same without the slash, for clients that strip it. No link and no schema contains these.
    *(path(route, view.as_view(schema=None)) for route, view in VIEWS.values()),
]
