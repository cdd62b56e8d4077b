"""Include these below a prefix of your API: `path("api/", include("async_reply.urls"))`.

Ids are taken as text and parsed by the views: a converter would answer a malformed one with
Django's own 404, which is not the one for an unknown id.
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
    "cancel": ("operations/<str:id>/cancel", views.CancelView),
}

urlpatterns = [
    *(path(f"{route}/", view.as_view(), name=name) for name, (route, view) in VIEWS.items()),
    # Clients that strip the slash reach the same. It is neither handed out nor documented.
    *(path(route, view.as_view(schema=None)) for route, view in VIEWS.values()),
]
