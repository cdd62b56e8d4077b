"""The demo's URLs, and views in the dialects of Azure and FHIR."""

from django.urls import path

from demo_project.urls import urlpatterns as demo
from tests.clients import views

urlpatterns = [
    *demo,
    path("azure-async-operation/", views.AzureAsyncOperationView.as_view()),
    path("location/", views.LocationView.as_view()),
    path("fhir/$export", views.BulkExportView.as_view()),
    path("fhir/Group/slow/$export", views.SlowExportView.as_view()),
    path("fhir/files/<str:name>.ndjson", views.NdjsonView.as_view()),
]
