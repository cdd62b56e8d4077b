"""Content negotiation that never refuses a client over its Accept header."""

from typing import Any

from django.http import Http404
from rest_framework import exceptions as drf
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.settings import api_settings


class LenientNegotiation(BaseContentNegotiation):
    """The project's negotiation, and the first renderer where that finds none.

    A poller or an event stream never gets a 406, nor a 404 for `?format=`, which would tell it
    that its operation is lost.
    """

    def __init__(self) -> None:
        chosen: Any = api_settings.DEFAULT_CONTENT_NEGOTIATION_CLASS
        self._chosen: BaseContentNegotiation = chosen()

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return self._chosen.select_parser(request, parsers)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        try:
            chosen: tuple[BaseRenderer, str] = self._chosen.select_renderer(
                request, renderers, format_suffix
            )
        except (drf.NotAcceptable, Http404):
            return renderers[0], renderers[0].media_type
        return chosen
