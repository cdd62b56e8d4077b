"""The demo's URLs, and the views that submit the jobs of the fault suite."""

from django.urls import path

from demo_project.urls import urlpatterns as demo
from tests.faults.project import views

urlpatterns = [
    *demo,
    path("work/", views.WorkView.as_view()),
    path("once/", views.OnceView.as_view()),
    path("steps/", views.StepsView.as_view()),
    path("poison/", views.PoisonView.as_view()),
    path("hang/", views.HangView.as_view()),
    path("tutorial/", views.tutorial),
]
