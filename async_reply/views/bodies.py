"""Converts a request's body into the job's input, and into the form that is compared by key."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.files import File
from django.core.files.uploadedfile import UploadedFile
from django.db import models
from django.http import QueryDict
from rest_framework.serializers import BaseSerializer

from async_reply.database import payloads
from async_reply.files import streams


def plain(value: Any, field: Any = None) -> Any:
    """Validated data as JSON values and files; a model instance becomes its primary key.

    `field` is the serializer or field that validated the value. The field represents values that
    JSON has no type for, such as a phone number, a time zone or an enum.
    """
    if isinstance(value, models.Model):
        return value.pk
    child = getattr(field, "child", None)
    converted = value
    if isinstance(value, Mapping):
        by_source = {subfield.source: subfield for subfield in _fields(field)}
        converted = {
            str(key): plain(item, by_source.get(str(key), child)) for key, item in value.items()
        }
    elif isinstance(value, list | tuple | set | frozenset | models.QuerySet):
        converted = [plain(item, child) for item in value]
    if field is None or _is_stored(converted):
        return converted
    return plain(field.to_representation(value))


def _is_stored(value: Any) -> bool:
    """Whether the value and all that it contains are JSON values or files."""
    if isinstance(value, dict):
        return all(map(_is_stored, value.values()))
    if isinstance(value, list):
        return all(map(_is_stored, value))
    return isinstance(value, File) or payloads.is_known(value)


def undeclared(serializer: BaseSerializer[Any]) -> set[str]:
    """The keys of the validated data that no field of the serializer declares.

    The client chose these keys, and the serializer did not remove them.
    """
    data = serializer.validated_data
    if not isinstance(data, Mapping):
        return set()
    return {str(key) for key in data} - set(_sources(serializer))


def _fields(field: Any) -> list[Any]:
    """The fields of a serializer; empty for any other field."""
    return list(getattr(field, "fields", {}).values())


def _sources(serializer: Any) -> Iterator[str]:
    for field in _fields(serializer):
        if field.source == "*":
            yield from _sources(field)
        yield field.source.partition(".")[0]


def canonical(data: Any) -> Any:
    """The parsed body as JSON values: equal for equal requests.

    An upload becomes its name and SHA-256, and bytes from a parser become their SHA-256.
    """
    if isinstance(data, QueryDict):
        return {key: canonical(data.getlist(key)) for key in data}
    if isinstance(data, Mapping):
        return {str(key): canonical(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return [canonical(item) for item in data]
    if isinstance(data, UploadedFile):
        return [data.name, streams.digest(data)[1]]
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    return data
