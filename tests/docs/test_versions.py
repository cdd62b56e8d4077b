"""The page about versions: its URLconf by namespace keeps each client to its version."""

import sys
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from rest_framework.test import APIClient
from rest_framework.versioning import NamespaceVersioning
from rest_framework.views import APIView

from async_reply import documents
from async_reply.models import Operation
from tests.packaging.documents import HOW_TO, snippets
from tests.project.views import EchoView

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_urlconf__by_namespace_keeps_the_version(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    module: Any = ModuleType("project_versions")
    views: Any = ModuleType("reports.views")
    views.ReportExportView = EchoView
    monkeypatch.setitem(sys.modules, "reports", ModuleType("reports"))
    monkeypatch.setitem(sys.modules, "reports.views", views)
    exec(dict(snippets(HOW_TO / "api-versions.rst"))["project/versions.py"], vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    scheme = f"{NamespaceVersioning.__module__}.{NamespaceVersioning.__name__}"
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_VERSIONING_CLASS": scheme}
    settings.ROOT_URLCONF = module.__name__
    monkeypatch.setattr(APIView, "versioning_class", NamespaceVersioning)
    client = APIClient()
    client.force_authenticate(User.objects.create_user("ada"))
    response = client.post(f"/api/{version}/reports/", {})
    operation = Operation.objects.get()
    url = f"http://testserver/api/{version}/operations/{operation.pk}/"
    assert response["Location"] == url
    assert client.get(url).json()["links"]["self"] == url
    assert documents.links_at(operation, "http://testserver", version=version)["self"] == url
