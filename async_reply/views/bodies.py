"""Converts a request's body into the job's input, and into the form that is compared by key."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from rest_framework.serializers import BaseSerializer

from async_reply.files import streams
from async_reply.services.plain import fields
from async_reply.services.plain import plain as plain


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
