"""A request's body: as the job gets it, and as an idempotency key remembers it."""

import hashlib
from collections.abc import Mapping
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db import models
from django.http import QueryDict

from async_reply import files


def plain(value: Any) -> Any:
    """Validated data with model instances as their primary keys."""
    if isinstance(value, models.Model):
        return value.pk
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | models.QuerySet):
        return [plain(item) for item in value]
    return value


def canonical(data: Any) -> Any:
    """The parsed body as JSON, uploads as name and SHA-256, bytes of a parser as SHA-256."""
    if isinstance(data, QueryDict):
        return {key: canonical(data.getlist(key)) for key in data}
    if isinstance(data, Mapping):
        return {str(key): canonical(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return [canonical(item) for item in data]
    if isinstance(data, UploadedFile):
        return [data.name, files.digest(data)[1]]
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    return data
