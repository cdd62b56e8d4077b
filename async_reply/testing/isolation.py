"""Keeps a test by itself: files stay in memory, and no message is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from django.core.files.storage import InMemoryStorage

from async_reply.models import OperationFile
from async_reply.testing.answers import accepted, result_of
from async_reply.testing.running import run_operations


@contextmanager
def isolated() -> Iterator[None]:
    """A block, for example a test, whose operations send no message and write no file.

    Published operations wait for `run_operations`, also with CELERY_TASK_ALWAYS_EAGER.
    """
    with files_in_memory(), patch("async_reply.publishing.broker.send"):
        yield


@contextmanager
def files_in_memory() -> Iterator[None]:
    field = OperationFile._meta.get_field("file")
    with patch.object(field, "storage", InMemoryStorage()):
        yield


class Operations:
    """The value of the pytest fixture `operations`: the functions of this package for tests."""

    run = staticmethod(run_operations)
    accepted = staticmethod(accepted)
    result_of = staticmethod(result_of)
