from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage

from async_reply.models import OperationFile


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the files of these tests."""
    storage = FileSystemStorage(location=tmp_path)
    monkeypatch.setattr(OperationFile._meta.get_field("file"), "storage", storage)
    return tmp_path
