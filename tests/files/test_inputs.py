import io
from typing import Any

import pytest

from async_reply import services
from async_reply.exceptions import PayloadError
from async_reply.files import inputs
from async_reply.models import Operation
from tests.files.content import upload
from tests.project.tasks import echo

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"a": upload()}, ["a"]),
        ({"a": [1, upload(), {"b": upload()}]}, ["a.1", "a.2.b"]),
        ({"a": (upload(),)}, ["a.0"]),
        ({"files": {"a.b": upload(), "a": {"b": upload()}}}, ["files.a~1b", "files.a.b"]),
        ({"~1": upload(), "~": upload()}, ["~01", "~0"]),
        ({"a": {"0": upload()}}, ["a.0"]),
        ({"a": 1, "b": [None]}, []),
    ],
)
def test_take__is_undone_by_put_back(value: dict[str, Any], paths: list[str]) -> None:
    plain, uploads = inputs.take(value)
    assert list(uploads) == paths
    assert "SimpleUploadedFile" not in repr(plain)
    _plain, same_uploads = inputs.take(inputs.put_back(plain, uploads.items()))
    assert same_uploads == uploads


def test_take__does_not_change_its_argument() -> None:
    value = {"a": [upload()]}
    plain, _uploads = inputs.take(value)
    assert plain == {"a": ["x.txt"]}
    assert not isinstance(value["a"][0], str)


def test_take__path_that_is_too_long_for_its_column_is_refused() -> None:
    assert inputs.take({"k" * 255: upload()})[1]
    with pytest.raises(PayloadError, match="255"):
        inputs.take({"k" * 256: upload()})


@pytest.mark.django_db
def test_opened__files_of_the_request() -> None:
    operation = services.submit(echo, input={"a": upload(content=b"abc")})
    [(path, handle)] = inputs.opened(Operation.objects.get(pk=operation.pk))
    assert (path, handle.read(), handle.size) == ("a", b"abc", 3)
    text = io.TextIOWrapper(handle.file)
    text.seek(0)
    assert text.read() == "abc"
    text.close()
