import pytest
from pytest_django import Settings

from async_reply.protocol import problems


def test_problem__without_a_name_is_about_blank() -> None:
    document = problems.problem(404, "No.")
    assert (document["type"], document["title"]) == ("about:blank", "Not Found")


@pytest.mark.parametrize(
    ("status", "title"),
    [(429, "Too Many Requests"), (422, "Unprocessable Content"), (419, "Error")],
)
def test_problem__title_is_the_phrase_of_rfc_9110(status: int, title: str) -> None:
    assert problems.problem(status, "No.")["title"] == title


@pytest.mark.parametrize("name", problems.TITLES)
def test_problem__each_name_has_a_title(name: str, settings: Settings) -> None:
    settings.ASYNC_REPLY = {"PROBLEM_TYPE_PREFIX": "https://example.org/problems/"}
    document = problems.problem(409, "No.", name=name, more=1)
    assert document["type"] == f"https://example.org/problems/{name}"
    assert (document["title"], document["more"]) == (problems.TITLES[name], 1)


def test_failure__has_members_of_rfc_9457_and_of_azure() -> None:
    document = problems.failure("my-code", "No.", status=422)
    assert (document["code"], document["message"], document["detail"]) == ("my-code", "No.", "No.")
    assert document["type"].endswith("/operation-failed")
