from django.urls import include, path

from benchmarks.rivals import limit, naive, ours
from demo_project.views import PublicSleepView

urlpatterns = [
    path("naive/", naive.SubmitView.as_view()),
    path("naive/<str:id>/", naive.StatusView.as_view(), name="naive-status"),
    path("limit/<uuid:id>/", limit.status),
    path("ours/", ours.SubmitView.as_view()),
    path("public-sleeps/", PublicSleepView.as_view()),
    path("operations/", include("async_reply.urls")),
]
