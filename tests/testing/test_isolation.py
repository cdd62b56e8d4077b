"""A test under `isolated` sends no message and writes no file."""

import subprocess
import sys
from unittest.mock import Mock

import pytest
from django.core.files.storage import InMemoryStorage
from rest_framework.test import APIClient

from async_reply import services
from async_reply.models import OperationFile
from async_reply.testing import Operations, isolated, run_operations
from tests.conftest import configure_celery
from tests.project.tasks import echo, export


def test_operations__keep_their_files_in_memory(operations: Operations, api: APIClient) -> None:
    result = operations.result_of(api.post("/exports/"), api)
    assert b"".join(result.streaming_content) == b"a;b\n1;2\n"
    assert isinstance(OperationFile.objects.get().file.storage, InMemoryStorage)


def test_isolated__gives_the_storage_back(db: None) -> None:
    with isolated():
        services.submit(export)
        run_operations()
    assert not isinstance(OperationFile.objects.get().file.storage, InMemoryStorage)


@pytest.mark.django_db(transaction=True)
def test_isolated__sends_no_message_after_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Mock()
    monkeypatch.setattr("async_reply.publishing.broker.send", sent)
    configure_celery(monkeypatch, task_always_eager=True)
    with isolated():
        operation = services.submit(echo)
        operation.refresh_from_db()
        assert (operation.status, operation.published_at is None) == ("pending", False)
    assert sent.call_count == 0


def test_plugin__imports_nothing_before_it_is_used() -> None:
    code = (
        "import sys, async_reply.pytest_plugin; "
        "sys.exit(bool({'django', 'celery', 'rest_framework'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
