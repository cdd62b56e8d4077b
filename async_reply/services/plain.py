"""Converts what a serializer has validated into JSON values and files."""

from collections.abc import Mapping
from typing import Any

from django.core.files import File
from django.db import models

from async_reply.database import payloads


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
        by_source = {subfield.source: subfield for subfield in fields(field)}
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


def fields(field: Any) -> list[Any]:
    """The fields of a serializer; empty for any other field."""
    return list(getattr(field, "fields", {}).values())
