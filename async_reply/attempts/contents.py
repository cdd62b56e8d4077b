"""The content of a file that a job makes, as `operation.file()` takes it."""

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeAlias, cast

from async_reply.files import streams

#: Linux refuses longer paths.
MAX_PATH_CHARACTERS = 4096
ABSOLUTE_PATH = re.compile(r"(?:/[\w.@+ -]+)+/?")
Content: TypeAlias = "bytes | str | Path | streams.Stream | Iterable[bytes | str]"


def is_path(text: str) -> bool:
    """Whether a text looks like an absolute path, or is the path of a file that exists."""
    if ABSOLUTE_PATH.fullmatch(text):
        return True
    try:
        return len(text) <= MAX_PATH_CHARACTERS and Path(text).is_file()
    except (OSError, ValueError):
        return False


def as_stream(content: Content) -> AbstractContextManager[streams.Stream]:
    """`content` as a seekable stream. A stream that the job opened stays open."""
    if isinstance(content, Path):
        return content.open("rb")
    if isinstance(content, bytes | str):
        return streams.spool([content])
    if streams.is_stream(content):
        return nullcontext(cast("streams.Stream", content))
    return streams.spool(streams.chunks(content) if hasattr(content, "read") else content)
