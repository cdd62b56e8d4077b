"""Content negotiation for the views of operations: no Accept header is refused."""

from typing import Any

from django.http import Http404
from rest_framework import exceptions as drf
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
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
        if not format_suffix and self._is_first_chosen(request, renderers[0]):
            return renderers[0], renderers[0].media_type
        try:
            renderer: tuple[BaseRenderer, str] = self._negotiation.select_renderer(
                request, renderers, format_suffix
            )
        except (drf.NotAcceptable, Http404):
            return renderers[0], renderers[0].media_type
        return renderer

    def _is_first_chosen(self, request: Request, first: BaseRenderer) -> bool:
        """Whether it is plain that REST framework's own negotiation chooses the first renderer.

        Most clients that poll send no Accept field or `*/*`. To parse that takes a thirtieth of a
        poll by a valet key. A renderer with parameters has to be asked for.
        """
        return (
            type(self._negotiation) is DefaultContentNegotiation
            and request.META.get("HTTP_ACCEPT", "*/*") == "*/*"
            and ";" not in first.media_type
            and not request.query_params.get(self._negotiation.settings.URL_FORMAT_OVERRIDE)
        )
