"""Converts a request's body into the job's input, and into the form that is compared by key."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from async_reply.database import payloads
from async_reply.exceptions import PayloadError, UnknownType
from async_reply.files import streams
from async_reply.protocol import headers
from async_reply.services.plain import fields
from async_reply.services.plain import plain as plain
from async_reply.waiting import environs

#: Bits of a number that JSON takes from Python: 4,300 digits are more.
MAX_BITS = 14_000


class LengthRequired(drf.APIException):
    """411 (RFC 9110, section 15.5.12): the body would be taken for an empty one."""

    status_code = 411
    default_detail = _("The length of the body is not known: send it with a Content-Length.")
    default_code = "length_required"


def check_length(request: Request) -> None:
    """Raise LengthRequired for a body without Content-Length, such as one sent in chunks.

    REST framework takes such a body for an empty one, without an error.
    """
    sent = request._request  # noqa: SLF001 what DRF wraps
    if sent.META.get("CONTENT_LENGTH"):
        return
    environ = environs.of(request)
    if environ is None:
        # To read from the request would end `request.body`. One that code has made has no stream.
        is_sent = _has_bytes(getattr(sent, "_stream", None))
    elif headers.TRANSFER_ENCODING not in sent.headers:
        is_sent = False
    else:
        is_sent = _has_chunks(environ)
    if is_sent:
        raise LengthRequired


def _has_bytes(stream: Any) -> bool:
    """Whether more can be read from the body, which an ASGI server has received into a file.

    That of a test client is no file, and always has a Content-Length.
    """
    if stream is None or not stream.seekable():
        return False
    place = stream.tell()
    is_more = bool(stream.read(1))
    stream.seek(place)
    return is_more


def _has_chunks(environ: Mapping[str, Any]) -> bool:
    """Whether a body in chunks has any. A proxy may send none for a request without a body."""
    if not environ.get("wsgi.input_terminated"):
        # A read might wait for ever. mod_wsgi and gunicorn set this key.
        return True
    try:
        return bool(environ["wsgi.input"].read(1))
    except Exception:  # noqa: BLE001 servers raise errors of their own for malformed chunks
        return True


def undeclared(serializer: BaseSerializer[Any]) -> set[str]:
    """The keys of the validated data that no field of the serializer declares.

    The client chose these keys, and the serializer did not remove them.
    """
    data = serializer.validated_data
    if not isinstance(data, Mapping):
        return set()
    return {str(key) for key in data} - set(_sources(serializer))


def _sources(serializer: Any) -> Iterator[str]:
    for field in fields(serializer):
        if field.source == "*":
            yield from _sources(field)
        yield field.source.partition(".")[0]


def canonical(data: Any) -> Any:
    """The parsed body as JSON values: equal for equal requests.

    An upload becomes its name and SHA-256, and bytes from a parser become their SHA-256. A value
    of another type, as a parser for YAML or MessagePack makes, becomes a text that shows it.
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
    if isinstance(data, set | frozenset):
        return ["set", *sorted(payloads.digest(canonical(item)) for item in data)]
    if isinstance(data, int):
        # Python writes no longer number in decimal digits.
        return data if data.bit_length() < MAX_BITS else hex(data)
    return data if payloads.is_known(data) else [type(data).__qualname__, repr(data)]


@contextmanager
def types_of(request: Request) -> Iterator[None]:
    """Inside, a type that JSON does not have is the client's fault if its body has one.

    Formats such as YAML and MessagePack have more types. Raises PayloadError then.
    """
    try:
        yield
    except UnknownType:
        if _is_json(request.data):
            raise
        raise PayloadError("The body holds a value that JSON does not have.") from None


def _is_json(data: Any) -> bool:
    """Whether the parsed body has only values of JSON, and uploads."""
    if isinstance(data, Mapping):
        return all(map(_is_json, data.values()))
    if isinstance(data, list | tuple):
        return all(map(_is_json, data))
    return isinstance(data, UploadedFile) or payloads.is_known(data)
