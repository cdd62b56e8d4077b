"""Include these below a prefix of your API: `path("api/", include("async_reply.urls"))`.

Ids are taken as text and parsed by the views: a converter would answer a malformed one with
Django's own 404, which is not the one for an unknown id.
"""

from django.urls import path

from async_reply import views

app_name = "async_reply"

urlpatterns = [
    path("operations/", views.ListView.as_view(), name="list"),
    path("operations/<str:id>/", views.StatusView.as_view(), name="status"),
    path("operations/<str:id>/monitor/", views.MonitorView.as_view(), name="monitor"),
    path("operations/<str:id>/result/", views.ResultView.as_view(), name="result"),
    path("operations/<str:id>/events/", views.EventsView.as_view(), name="events"),
    path("operations/<str:id>/cancel/", views.CancelView.as_view(), name="cancel"),
]
