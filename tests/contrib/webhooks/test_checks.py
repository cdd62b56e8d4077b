"""The checks of the app, and its migration."""

import sys
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import Model
from django.utils import timezone
from pytest_django import Settings

from async_reply.contrib.webhooks import checks
from async_reply.models import Worker


def test_missing_package__is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_webhooks() == []
    monkeypatch.setattr(checks, "PACKAGES", ("cryptography", "no_such_package"))
    (error,) = checks.check_webhooks()
    assert error.id == "async_reply.E041"
    assert "missing: no_such_package." in error.msg


class OperationsRouter:
    """Forgets the tables of webhooks."""

    def db_for_write(self, model: type[Model], **_hints: Any) -> str | None:
        return "operations" if model._meta.app_label == "async_reply" else None


def test_tables_in_another_database__are_an_error(settings: Settings) -> None:
    settings.DATABASE_ROUTERS = [OperationsRouter()]
    (error,) = checks.check_webhooks()
    assert error.id == "async_reply.E042"
    assert "in the database default, and those of operations in operations" in error.msg


@pytest.mark.django_db
def test_queue_without_worker__is_a_warning(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"WEBHOOK_QUEUE": "hooks"}
    assert checks.check_queue(databases=["default"]) == []
    columns: dict[str, Any] = {"name": "w", "pid": 1, "concurrency": 1, "seen_at": timezone.now()}
    worker = Worker.objects.create(queues=["celery"], **columns)
    (warning,) = checks.check_queue(databases=["default"])
    assert warning.id == "async_reply.W150"
    Worker.objects.filter(pk=worker.pk).update(queues=["celery", "hooks"])
    assert checks.check_queue(databases=["default"]) == []


def test_http__is_a_warning_at_deployment(settings: Settings) -> None:
    (warning,) = checks.check_deployment()
    assert warning.id == "async_reply.W151"
    settings.ASYNC_REPLY = {}
    assert checks.check_deployment() == []


@pytest.mark.django_db
def test_migration__is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("makemigrations", "async_reply_webhooks", check=True, dry_run=True)


def test_app__needs_no_extra_package_to_be_loaded() -> None:
    """The check can say what is missing only if the app can be loaded without it."""
    import subprocess

    code = """
import sys
from django.conf import settings
for name in ("cryptography", "httpcore", "standardwebhooks"):
    sys.modules[name] = None
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.contenttypes", "django.contrib.auth", "rest_framework",
        "async_reply", "async_reply.contrib.webhooks",
    ],
    SECRET_KEY="x" * 50,
)
import django
django.setup()
print(sorted(name for name in sys.modules if name.startswith("async_reply.contrib.webhooks.")))
"""
    shown = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert "tasks" not in shown
    assert "submits" not in shown
