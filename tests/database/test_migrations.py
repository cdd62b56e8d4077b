"""Migrations can be applied while the code of before still runs."""

import pytest
from django.db import connection

linter = pytest.importorskip("django_migration_linter", reason="needs the extra dev")

APPS = ["async_reply", "async_reply_webhooks"]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite copies a table to change it")
@pytest.mark.django_db
def test_migrations__neither_lock_tables_nor_break_old_code() -> None:
    """The linter reads the SQL of this database. For PostgreSQL it knows which statements lock."""
    checked = linter.MigrationLinter(include_apps=APPS, no_cache=True, quiet=["ok"])
    checked.lint_all_migrations()
    assert (checked.has_errors, checked.nb_warnings) == (False, 0)
    assert checked.nb_valid >= len(APPS)
