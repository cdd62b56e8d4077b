"""The form of a question: a control for each field of its serializer, with errors beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils import translation
from rest_framework import serializers

from async_reply.protocol import schemas

#: The first class of a field that fits -> the type of its `<input>`.
INPUT_TYPES: tuple[tuple[type[Any], str], ...] = (
    (serializers.IntegerField, "number"),
    (serializers.FloatField, "number"),
    (serializers.DecimalField, "number"),
    (serializers.DateTimeField, "datetime-local"),
    (serializers.DateField, "date"),
    (serializers.TimeField, "time"),
    (serializers.EmailField, "email"),
    (serializers.URLField, "url"),
)
#: Texts that may be longer have several lines.
ONE_LINE_CHARACTERS = 200


@dataclass(frozen=True)
class Control:
    """A field of the form."""

    name: str
    label: str
    help_text: str
    required: bool
    #: The type of an `<input>`, or `select` or `textarea`.
    type: str
    value: Any = ""
    choices: tuple[tuple[str, str, bool], ...] = ()
    is_multiple: bool = False
    errors: tuple[str, ...] = field(default=())


def controls(serializer: Any, data: Any, errors: Any) -> list[Control]:
    """The controls, with the `data` that was sent; the errors of REST framework, or None."""
    return [_control(each, data, errors or {}) for each in schemas.writable(serializer)]


def _control(each: Any, data: Any, errors: Any) -> Control:
    name = each.field_name
    value = data.get(name) if isinstance(data, Mapping) else None
    choices, multiple = getattr(each, "choices", None), False
    kind = next((found for cls, found in INPUT_TYPES if isinstance(each, cls)), "text")
    selected: set[str] = set()
    if isinstance(each, serializers.BooleanField) and not each.allow_null:
        kind = "checkbox"
    elif choices is not None or isinstance(each, serializers.BooleanField):
        kind = "select"
        multiple = isinstance(each, serializers.MultipleChoiceField)
        values = data.getlist(name) if hasattr(data, "getlist") else [value]
        selected = {str(item) for item in values}
        choices = choices or {
            "true": translation.gettext("Yes"),
            "false": translation.gettext("No"),
        }
    elif kind == "text" and _is_long(each):
        kind = "textarea"
    texts = errors.get(name, ()) if isinstance(errors, Mapping) else ()
    return Control(
        name=name,
        label=str(each.label or name),
        help_text=str(each.help_text or ""),
        required=bool(each.required) and kind != "checkbox",
        type=kind,
        value="" if value is None else value,
        choices=tuple(
            (str(key), str(text), str(key) in selected) for key, text in (choices or {}).items()
        ),
        is_multiple=multiple,
        errors=tuple(map(str, texts if isinstance(texts, list) else [texts] if texts else ())),
    )


def _is_long(each: Any) -> bool:
    if isinstance(each, serializers.CharField):
        base = each.style.get("base_template") == "textarea.html"
        return base or (each.max_length or 0) > ONE_LINE_CHARACTERS
    # Anything else is written as JSON.
    return isinstance(each, serializers.JSONField | serializers.DictField | serializers.ListField)


def other_errors(serializer: Any, errors: Any) -> list[str]:
    """The errors that belong to no field of the form."""
    if not errors:
        return []
    names = {each.field_name for each in schemas.writable(serializer)} if serializer else set()
    if not isinstance(errors, Mapping):
        return [str(text) for text in errors]
    others = [texts for name, texts in errors.items() if name not in names]
    return [
        str(text) for texts in others for text in (texts if isinstance(texts, list) else [texts])
    ]
