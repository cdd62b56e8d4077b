"""Describes what a serializer takes, as JSON Schema (draft 2020-12) for clients with forms."""

import inspect
from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

#: The first class of a field that fits says what JSON it takes.
TYPES: tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], dict[str, Any]], ...] = (
    (serializers.BooleanField, {"type": "boolean"}),
    (serializers.IntegerField, {"type": "integer"}),
    (serializers.FloatField, {"type": "number"}),
    (serializers.DecimalField, {"type": "string", "format": "decimal"}),
    (serializers.DateTimeField, {"type": "string", "format": "date-time"}),
    (serializers.DateField, {"type": "string", "format": "date"}),
    (serializers.TimeField, {"type": "string", "format": "time"}),
    (serializers.EmailField, {"type": "string", "format": "email"}),
    (serializers.URLField, {"type": "string", "format": "uri"}),
    (serializers.UUIDField, {"type": "string", "format": "uuid"}),
    (serializers.CharField, {"type": "string"}),
    (serializers.DictField, {"type": "object"}),
)
#: Attribute of a field -> keyword of the schema.
LIMITS = {
    "max_length": "maxLength",
    "min_length": "minLength",
    "max_value": "maximum",
    "min_value": "minimum",
}


def of(serializer: Any) -> dict[str, Any]:
    """The schema of what this serializer or field takes. A field of an unknown class takes any."""
    if isinstance(serializer, serializers.ListSerializer | serializers.ListField):
        return {"type": "array", "items": of(serializer.child)}
    if not isinstance(serializer, serializers.BaseSerializer):
        return _of_field(serializer)
    fields = writable(serializer)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.field_name: of(field) for field in fields},
        "required": [field.field_name for field in fields if field.required],
    }
    text = description(serializer)
    return schema | ({"description": text} if text else {})


def writable(serializer: Any) -> list[Any]:
    """The fields that a client fills in."""
    fields = getattr(serializer, "fields", {}).values()
    hidden = serializers.HiddenField
    return [field for field in fields if not (field.read_only or isinstance(field, hidden))]


def description(serializer: Any) -> str:
    """The docstring of the serializer's own class."""
    return inspect.cleandoc(vars(type(serializer)).get("__doc__") or "")


def _of_field(field: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    if isinstance(field, serializers.MultipleChoiceField):
        schema = {"type": "array", "items": {"enum": list(field.choices)}}
    elif isinstance(field, serializers.ChoiceField):
        schema = {"enum": list(field.choices)}
    else:
        schema = dict(next((found for cls, found in TYPES if isinstance(field, cls)), {}))
    limits = {LIMITS[name]: getattr(field, name, None) for name in LIMITS}
    if schema.get("type") in ("string", "integer", "number"):
        schema |= {name: limit for name, limit in limits.items() if limit is not None}
    if field.allow_null and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    texts: Mapping[str, Any] = {"title": field.label, "description": field.help_text}
    return schema | {name: str(text) for name, text in texts.items() if text}
