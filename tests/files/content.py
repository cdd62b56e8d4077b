"""Uploads, and a disk that is full."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.files.uploadedfile import SimpleUploadedFile


def upload(name: str = "x.txt", content: bytes = b"x") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may be larger than `size` bytes. The operating system raises the errors."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
