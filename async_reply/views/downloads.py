"""A stored file as the reply: the whole, a part, or where its storage serves it."""

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
    """A file in blocks that are worth a system call."""

    block_size = streams.CHUNK_BYTES


class Part:
    """`length` bytes of a stream from where it stands: all that Django asks of a file."""

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
    """Where the storage serves the file by itself, as the setting SIGNED_URL says; else None.

    The URL ends with the operation, or before.
    """
    path = conf.get("SIGNED_URL")
    if path is None:
        return None
    seconds = conf.get("RETENTION")
    if operation.expires_at is not None:
        seconds = seconds_until(operation.expires_at)
    made: str = import_string(path)(row, seconds=max(1, int(seconds)), method=method)
    return made


def serve(request: HttpRequest, row: OperationFile) -> HttpResponseBase:
    """The file, or what the request's conditions and its Range make of it (RFC 9110, 13 and 14).

    Raises StorageFailed. The caller adds what every result carries.
    """
    tag = headers.strong_tag(row.sha256)
    response = get_conditional_response(request, etag=tag) or _body(request, row, tag)
    if response.status_code == 412:
        response = _refuse(412, "The file is not the one the request speaks of.")
    elif response.status_code == 304:
        # That of the 200 (RFC 9110, section 8.6); CommonMiddleware would say 0.
        response["Content-Length"] = str(row.size)
    response["ETag"] = tag
    response["Accept-Ranges"] = "bytes"
    return response


def _body(request: HttpRequest, row: OperationFile, tag: str) -> HttpResponseBase:
    if request.method == "HEAD":
        return _describe(HttpResponse(), row, length=row.size)
    part = None
    if headers.if_range(request.headers.get("If-Range", ""), tag):
        part = headers.byte_range(request.headers.get("Range", ""), row.size)
    if part is None:
        return _describe(_stream(request, row, range(row.size)), row, length=row.size)
    told = headers.content_range(part, row.size)
    if not part:
        response: HttpResponseBase = _refuse(416, f"The file has {row.size} bytes.")
    else:
        response = _describe(_stream(request, row, part), row, length=len(part))
        response.status_code = 206
        # GZipMiddleware would compress the part and leave Content-Range as it is.
        request.META.pop("HTTP_ACCEPT_ENCODING", None)
    response["Content-Range"] = told
    return response


def _stream(request: HttpRequest, row: OperationFile, part: range) -> HttpResponseBase:
    """The bytes of `part`; Django closes the file with the response."""
    stream = store.opened_for_reading(row)
    if part.start:
        stream.seek(part.start)
    piece = Part(stream, len(part))
    if isinstance(request, ASGIRequest):
        # Given a plain file, Django would read all of it into memory first.
        return StreamingHttpResponse(piece)
    # The whole as the file it is, so that a server can hand it to the kernel.
    return Download(stream if len(part) == row.size else piece)


def _describe(response: HttpResponseBase, row: OperationFile, *, length: int) -> HttpResponseBase:
    response["Content-Type"] = row.content_type or "application/octet-stream"
    response["Content-Length"] = str(length)
    response["Content-Disposition"] = content_disposition_header(True, row.name) or "attachment"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _refuse(status: int, detail: str) -> Response:
    response = Response(problems.problem(status, detail), status)
    response.exception = True
    return response
