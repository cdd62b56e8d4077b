"""Tenants with PostgreSQL schemas of their own, by django-tenants, as the how-to page shows.

Each schema has a user with the primary key 1. Each job writes into the schema of its tenant.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.documents import HOW_TO, snippets
from tests.projects.project import Project
from tests.stacks.services import POSTGRESQL, postgresql

pytestmark = [pytest.mark.system, pytest.mark.projects]

DATABASE = f"async_reply_tenants_{os.getpid()}"
SETTINGS = f"""
user, address = "{POSTGRESQL}".split("@")
host, port = address.split(":")
DATABASES = {{
    "default": {{
        "ENGINE": "django_tenants.postgresql_backend",
        "NAME": "{DATABASE}",
        "USER": user,
        "HOST": host,
        "PORT": port,
    }}
}}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
MIDDLEWARE = ["django_tenants.middleware.main.TenantMainMiddleware"]
TENANT_MODEL = "customers.Customer"
TENANT_DOMAIN_MODEL = "customers.Host"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
ALLOWED_HOSTS = ["*"]
"""
FILES = {
    "customers/models.py": """
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Customer(TenantMixin):
    auto_create_schema = True


class Host(DomainMixin):
    pass
""",
    "reports/models.py": """
from django.db import models


class Report(models.Model):
    text = models.TextField()
""",
    "project/tasks.py": """
from async_reply.tasks import operation_task
from reports.models import Report


@operation_task
def add(operation, *, left, right):
    Report.objects.create(text=f"{left} + {right}")
    operation.on_finish(lambda: Report.objects.create(text=f"= {left + right}"))
    return {"sum": left + right}
""",
}
CONVERSATION = """
from django.contrib.auth.models import User
from django_tenants.utils import schema_context
from rest_framework.test import APIClient

from async_reply.models import Operation
from customers.models import Customer, Host
from reports.models import Report

clients = {}
for name in ("acme", "globex"):
    customer = Customer.objects.create(schema_name=name)
    Host.objects.create(domain=f"{name}.example", tenant=customer)
    with schema_context(name):
        user = User.objects.create_user("ada")
    clients[name] = APIClient(SERVER_NAME=f"{name}.example")
    clients[name].force_authenticate(user)


def submit(name, left):
    data = {"left": left, "right": 1}
    key = {"Idempotency-Key": "the same"}
    return clients[name].post("/add/", data, format="json", headers=key)


def path(response):
    return response["Location"].partition(".example")[2]


def reports(name):
    with schema_context(name):
        return sorted(Report.objects.values_list("text", flat=True))


submitted = {name: submit(name, left) for name, left in (("acme", 1), ("globex", 2))}
for name, response in submitted.items():
    until(lambda: clients[name].get(path(response)).status_code == 302)
tell(
    accepted=[response.status_code for response in submitted.values()],
    owners=sorted(Operation.objects.values_list("owner", flat=True)),
    reports={name: reports(name) for name in clients},
    of_another=clients["globex"].get(path(submitted["acme"])).status_code,
    listed=[len(client.get("/operations/").json()["results"]) for client in clients.values()],
)
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    pytest.importorskip("django_tenants", reason="needs django-tenants")
    page = dict(snippets(HOW_TO / "tenants.rst"))
    apps = page["project/settings.py"].replace('"customers",', '"customers", "project",')
    files = {**FILES, "project/tenants.py": page["project/tenants.py"]}
    with postgresql(DATABASE):
        project = Project(tmp_path, SETTINGS + apps, files)
        project.manage("makemigrations", "customers", "reports")
        project.run("-m", "django", "migrate_schemas", "--shared")
        yield project


def test_tenants__run_jobs_in_their_schemas_and_see_their_own_operations(project: Project) -> None:
    with project.worker():
        values = project.script(CONVERSATION)
    assert values == {
        "accepted": [202, 202],
        "owners": ["acme:1", "globex:1"],
        "reports": {"acme": ["1 + 1", "= 2"], "globex": ["2 + 1", "= 3"]},
        "of_another": 404,
        "listed": [1, 1],
    }
