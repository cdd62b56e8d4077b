"""URLs of the project that tests use: its submit views, the demo, and our URLs a second time."""

from django.urls import include, path

from demo_project.urls import urlpatterns as demo
from tests.project import views

urlpatterns = [
    *demo,
    path("echoes/", views.EchoView.as_view(), name="echoes"),
    path("echoes/<int:number>/", views.EchoView.as_view()),
    path("hooked/", views.HookedView.as_view()),
    path("many/", views.ManyView.as_view()),
    path("dressed/", views.DressedView.as_view()),
    path("refusals/", views.RefuseView.as_view()),
    path("breakdowns/", views.BreakDownView.as_view()),
    path("exports/", views.ExportView.as_view()),
    path("creations/", views.CreateView.as_view()),
    path("forwards/", views.ForwardView.as_view()),
    path("persistent/", views.PersistView.as_view()),
    path("stubborn/", views.StubbornView.as_view()),
    path("deaf/", views.DeafView.as_view()),
    path("waits/", views.WaitView.as_view()),
    path("onces/", views.OnceView.as_view()),
    path("disturbances/", views.DisturbView.as_view()),
    path("gil/", views.GilView.as_view()),
    path("talks/", views.TalkView.as_view()),
    path("deadly-steps/", views.DeadlyStepsView.as_view()),
    path("long-steps/", views.LongStepsView.as_view()),
    path("overruns/", views.OverrunView.as_view()),
    path("files/", views.FilesView.as_view()),
    path("open/", views.OpenView.as_view()),
    path("approvals/", views.ApprovalView.as_view()),
    path("open-approvals/", views.OpenApprovalView.as_view()),
    path("shared-approvals/", views.SharedApprovalView.as_view()),
    path("shared/", views.SharedView.as_view()),
    path("uppers/", views.UpperView.as_view()),
    path("staff/", views.StaffView.as_view()),
    path("things/<int:number>/", views.ThingViewSet.as_view({"get": "retrieve"}), name="thing"),
    path("things/<int:number>/rebuild/", views.ThingViewSet.as_view({"post": "rebuild"})),
    path("api/", include("async_reply.contrib.webhooks.urls")),
    path("v2/", include(("async_reply.urls", "async_reply"), namespace="second")),
]
