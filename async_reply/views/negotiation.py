"""Content negotiation for the views of operations: no Accept header is refused."""

from typing import Any

from django.http import Http404
from rest_framework import exceptions as drf
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.settings import api_settings


class LenientNegotiation(BaseContentNegotiation):
    """The project's negotiation, or the first renderer if that finds none.

    A client that polls must get neither a 406 for its Accept nor a 404 for its `?format=`: it
    would take its operation for lost.
    """

    def __init__(self) -> None:
        cls: Any = api_settings.DEFAULT_CONTENT_NEGOTIATION_CLASS
        self._negotiation: BaseContentNegotiation = cls()

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return self._negotiation.select_parser(request, parsers)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        try:
            renderer: tuple[BaseRenderer, str] = self._negotiation.select_renderer(
                request, renderers, format_suffix
            )
        except (drf.NotAcceptable, Http404):
            return renderers[0], renderers[0].media_type
        return renderer
