"""A project's settings do not change the tables: the migrations are complete with each of them."""

from pathlib import Path

import pytest

from tests.projects.project import Project

pytestmark = [pytest.mark.system, pytest.mark.projects]

APPS = 'INSTALLED_APPS = ["async_reply"]\n'
AUTH = 'INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "async_reply"]\n'
ROUTER = """
class Router:
    def db_for_write(self, model, **hints):
        return "operations" if model._meta.app_label == "async_reply" else None

    def allow_migrate(self, db, app_label, **hints):
        return (db == "operations") == (app_label == "async_reply")
"""
SETTINGS = {
    "without rest_framework": APPS,
    "with users": AUTH,
    "DEFAULT_AUTO_FIELD": APPS + 'DEFAULT_AUTO_FIELD = "django.db.models.AutoField"',
    "DEFAULT_AUTO_FIELD small": AUTH + 'DEFAULT_AUTO_FIELD = "django.db.models.SmallAutoField"',
    "without time zones": APPS + 'USE_TZ = False\nTIME_ZONE = "UTC"',
    "another language": APPS + 'LANGUAGE_CODE = "de"',
    "without translations": APPS + "USE_I18N = False",
    "another storage": APPS
    + 'STORAGES["operations"] = {"BACKEND": "django.core.files.storage.InMemoryStorage"}\n'
    + 'ASYNC_REPLY = {"STORAGE": "operations"}',
    "tablespaces": APPS + 'DEFAULT_TABLESPACE = "a"\nDEFAULT_INDEX_TABLESPACE = "b"',
    "a database of its own": APPS
    + 'DATABASES["operations"] = sqlite("operations")\n'
    + 'DATABASE_ROUTERS = ["project.routers.Router"]',
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_migrations__are_complete_and_can_be_reversed(tmp_path: Path, settings: str) -> None:
    project = Project(
        tmp_path, settings, {"project/routers.py": ROUTER, "project/urls.py": "urlpatterns = []"}
    )
    assert "no issues" in project.manage("check", "--fail-level", "WARNING")
    assert "No changes" in project.manage("makemigrations", "--check", "--dry-run")
    database = (
        ["--database", "operations"]
        if "operations.sqlite3" in settings or "routers" in settings
        else []
    )
    project.manage("migrate", *database)
    assert "No planned" in project.manage("migrate", "--plan", *database)
    project.manage("migrate", "async_reply", "zero", *database)
