"""The page of a question: a plain form without scripts, with errors beside the fields."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.safestring import mark_safe
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer

from async_reply.protocol import schemas

STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}"
    "label,legend{display:block;font-weight:600;margin-top:1rem}"
    "input,select,textarea,button{font:inherit;padding:.4rem}"
    "input:not([type=checkbox]),select,textarea{width:100%;box-sizing:border-box}"
    "button{margin-top:1.5rem;padding:.5rem 1.5rem}.error{color:#a00}"
)
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
#: Nothing but this style is loaded, no script runs, and the form goes to this site alone.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
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


def language(request: Any) -> str | None:
    """The language of the answer: of the thread if the project chooses it, else of the browser."""
    if hasattr(request, "LANGUAGE_CODE"):
        return translation.get_language()
    return translation.get_language_from_request(request)


class QuestionPage(BaseRenderer):
    """Renders a question as a form, and an answer or a problem as a text."""

    media_type = "text/html"
    format = "html"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None
    ) -> str:
        context: Mapping[str, Any] = renderer_context or {}
        view, request = context["view"], context["request"]
        with translation.override(language(request)):
            data = data if isinstance(data, Mapping) else {}
            errors = data.get("errors")
            has_form = "schema" in data or errors is not None
            serializer = view.make_form() if has_form else None
            page = {
                "page_language": translation.get_language(),
                "style": mark_safe(STYLE),  # noqa: S308 our own constant
                "data": data,
                "has_form": serializer is not None,
                "is_answered": data.get("status") == "answered",
                "csrf_token": None if view.valet_key is not None else get_token(request._request),  # noqa: SLF001
                "text": "" if serializer is None else schemas.description(serializer),
                "controls": [] if serializer is None else _controls(serializer, request, errors),
                "other_errors": _other_errors(serializer, errors),
            }
            return render_to_string("async_reply/question.html", page)


def _controls(serializer: Any, request: Any, errors: Any) -> list[Control]:
    data = request.data if request.method == "POST" else {}
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


def _other_errors(serializer: Any, errors: Any) -> list[str]:
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
