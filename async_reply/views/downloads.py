"""Answers a request for a result that is a file: all of it, a part, or a redirect."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.utils.module_loading import import_string
from rest_framework.response import Response

from async_reply import conf
from async_reply.database.clock import seconds_until
from async_reply.files import store, streams
from async_reply.models import Operation, OperationFile
from async_reply.protocol import headers, problems


class Download(FileResponse):
    """A file that is sent in larger blocks than Django's 4 KiB."""

    block_size = streams.CHUNK_BYTES


class Part:
    """The next `length` bytes of a stream, with the methods of a file that Django calls."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream = stream
        self._left = length

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await asyncio.to_thread(self.read, streams.CHUNK_BYTES):
            yield data

    def close(self) -> None:
        self._stream.close()


def signed_url(operation: Operation, row: OperationFile, *, method: str) -> str | None:
    """The URL at which the storage itself serves the file, by the setting SIGNED_URL, or None.

    The URL is valid until the operation expires at most.
    """
    path = conf.get("SIGNED_URL")
    if path is None:
        return None
    seconds = conf.get("RETENTION")
    if operation.expires_at is not None:
        seconds = seconds_until(operation.expires_at)
    url: str = import_string(path)(row, seconds=max(1, int(seconds)), method=method)
    return url


def serve(request: HttpRequest, row: OperationFile) -> HttpResponseBase:
    """The answer with the file, by the request's conditions and its Range (RFC 9110, 13 and 14).

    200 or 206 with bytes, 304, 412 or 416. Raises StorageFailed. The caller adds the headers that
    every result has.
    """
    tag = headers.strong_tag(row.sha256)
    response = get_conditional_response(request, etag=tag) or _body(request, row, tag)
    if response.status_code == 412:
        response = _refuse(412, "The file is not the one that the request names.")
    elif response.status_code == 304:
        # The length of the 200 (RFC 9110, section 8.6). CommonMiddleware would set 0.
        response[headers.CONTENT_LENGTH] = str(row.size)
    response[headers.ETAG] = tag
    response[headers.ACCEPT_RANGES] = "bytes"
    return response


def _body(request: HttpRequest, row: OperationFile, tag: str) -> HttpResponseBase:
    if request.method == "HEAD":
        return _describe(HttpResponse(), row, length=row.size)
    part = None
    if headers.if_range(request.headers.get(headers.IF_RANGE, ""), tag):
        part = headers.byte_range(request.headers.get(headers.RANGE, ""), row.size)
    if part is None:
        return _describe(_stream(request, row, range(row.size)), row, length=row.size)
    if not part:
        response: HttpResponseBase = _refuse(416, f"The file has {row.size} bytes.")
    else:
        response = _describe(_stream(request, row, part), row, length=len(part))
        response.status_code = 206
        # GZipMiddleware would compress the part and leave Content-Range unchanged.
        request.META.pop("HTTP_ACCEPT_ENCODING", None)
    response[headers.CONTENT_RANGE] = headers.content_range(part, row.size)
    return response


def _stream(request: HttpRequest, row: OperationFile, part: range) -> HttpResponseBase:
    """A response with the bytes of `part`. Django closes the file with the response."""
    stream = store.opened_for_reading(row)
    if part.start:
        stream.seek(part.start)
    part_of_stream = Part(stream, len(part))
    if isinstance(request, ASGIRequest):
        # Under ASGI Django reads a plain file into memory before it sends the first byte.
        return StreamingHttpResponse(part_of_stream)
    # A server may send a whole file by sendfile(2), if it gets the file itself.
    return Download(stream if len(part) == row.size else part_of_stream)


def _describe(response: HttpResponseBase, row: OperationFile, *, length: int) -> HttpResponseBase:
    disposition = content_disposition_header(True, row.name) or "attachment"
    response[headers.CONTENT_TYPE] = row.content_type or "application/octet-stream"
    response[headers.CONTENT_LENGTH] = str(length)
    response[headers.CONTENT_DISPOSITION] = disposition
    response[headers.X_CONTENT_TYPE_OPTIONS] = "nosniff"
    return response


def _refuse(status: int, detail: str) -> Response:
    response = Response(problems.problem(status, detail), status)
    response.exception = True
    return response
