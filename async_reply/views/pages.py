"""The page of a question: a plain form without scripts, with errors beside the fields."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.safestring import mark_safe
from rest_framework.renderers import BaseRenderer

from async_reply.protocol import schemas
from async_reply.views import forms

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
            # A body that cannot be read is refused, and leads to no form.
            is_sent = serializer is not None and request.method == "POST"
            sent = request.data if is_sent else {}
            page = {
                "page_language": translation.get_language(),
                "style": mark_safe(STYLE),  # noqa: S308 our own constant
                "data": data,
                "has_form": serializer is not None,
                "is_answered": data.get("status") == "answered",
                "csrf_token": None if view.valet_key is not None else get_token(request._request),  # noqa: SLF001
                "text": "" if serializer is None else schemas.description(serializer),
                "controls": [] if serializer is None else forms.controls(serializer, sent, errors),
                "other_errors": forms.other_errors(serializer, errors),
            }
            return render_to_string("async_reply/question.html", page)
