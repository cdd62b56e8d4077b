"""The demo's pages in a browser without JavaScript: plain forms, and pages that refresh."""

import re
from http import HTTPStatus
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from async_reply.models import Operation
from async_reply.testing import Operations
from demo_project import pages

BROKEN = b"a,b\n1\n"


@pytest.fixture
def browser(client: Client, django_user_model: Any) -> Client:
    """A browser whose user has signed in with the page's form."""
    django_user_model.objects.create_user("demo", password="demo")
    answer = client.post("/", {"username": "demo", "password": "demo"})
    assert (answer.status_code, answer["Location"]) == (302, "/")
    return client


def run(browser: Client, kind: str, **fields: Any) -> str:
    """Submit a form; the path of the page that it leads to."""
    answer = browser.post(f"/run/{kind}/", fields)
    assert answer.status_code == HTTPStatus.FOUND, answer.content
    return str(answer["Location"])


def refreshes(html: str) -> str | None:
    match = re.search(r'<meta http-equiv="refresh" content="(\d+)">', html)
    return match and match[1]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/run/sleeps/", "/operations/no/"])
def test_page__has_a_strict_policy_and_nothing_inline(browser: Client, path: str) -> None:
    if path == "/operations/no/":
        path = run(browser, "sleeps", seconds=0)
    answer = browser.post(path, {"seconds": -1}) if "run" in path else browser.get(path)
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    html = answer.content.decode()
    assert re.findall(r"<style|\sstyle=|<script>|\son\w+=", html) == []


@pytest.mark.django_db
def test_index__asks_strangers_to_sign_in(client: Client) -> None:
    html = client.get("/").content.decode()
    assert "Sign in as demo" in html
    assert "/run/" not in html
    assert client.post("/run/sleeps/", {"seconds": 1})["Location"] == "/?next=/run/sleeps/"
    wrong = client.post("/", {"username": "demo", "password": "guess"})
    assert 'role="alert"' in wrong.content.decode()
    assert not Operation.objects.exists()


@pytest.mark.django_db
def test_form__leads_to_a_page_that_refreshes_until_the_profile(
    browser: Client, operations: Operations
) -> None:
    file = SimpleUploadedFile("cities.csv", b"city,people\nOslo,709000\nBergen,291000\n")
    path = run(browser, "csv-profiles", file=file)
    html = browser.get(path).content.decode()
    seconds = browser.get(f"/api{path}monitor/")["Retry-After"]
    assert refreshes(html) == seconds
    assert f"Retry-After: {seconds}" in html
    operations.run()
    html = browser.get(path).content.decode()
    assert refreshes(html) is None
    assert re.search(r'<meter min="291000" max="709000" value="500000.0"', html)
    assert "2 rows" in html


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("csv-profiles", {"file": "", "sample": "weather"}, "1461 rows"),
        ("datasets", {"sample": "weather", "name": ""}, "demo.import_dataset: succeeded"),
        ("exports", {"rows": 3}, "demo.export: succeeded"),
        ("sleeps", {"seconds": 0, "steps": 1}, "slept"),
    ],
)
def test_form__of_each_kind_leads_to_its_result(
    browser: Client, operations: Operations, kind: str, fields: dict[str, Any], words: str
) -> None:
    path = run(browser, kind, **fields)
    operations.run()
    html = browser.get(path).content.decode()
    assert words in html
    (url,) = re.findall(r'<a href="([^"]+)">The result of the API', html)
    assert browser.get(url, follow=True).status_code == HTTPStatus.OK


@pytest.mark.django_db
def test_page__of_a_failure_shows_the_problem(browser: Client, operations: Operations) -> None:
    path = run(browser, "csv-profiles", file=SimpleUploadedFile("x.csv", BROKEN))
    operations.run()
    html = browser.get(path).content.decode()
    assert "csv-invalid" in html
    assert "Line 2" in html


@pytest.mark.django_db
def test_form__with_errors_is_shown_again(browser: Client) -> None:
    answer = browser.post("/run/exports/", {"rows": -1})
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert "rows: " in answer.content.decode()
    assert not Operation.objects.exists()


@pytest.mark.django_db
def test_page__cancels(browser: Client) -> None:
    path = run(browser, "sleeps", seconds=60)
    assert f'action="{path}cancel/"' in browser.get(path).content.decode()
    assert browser.post(f"{path}cancel/")["Location"] == path
    html = browser.get(path).content.decode()
    assert "operation-canceled" in html
    assert "cancel/" not in html


@pytest.mark.django_db
def test_page__of_somebody_elses_operation_is_404(browser: Client, django_user_model: Any) -> None:
    path = run(browser, "sleeps", seconds=60)
    browser.force_login(django_user_model.objects.create_user("other"))
    answer = browser.get(path)
    assert answer.status_code == HTTPStatus.NOT_FOUND
    assert browser.post(f"{path}cancel/").status_code == HTTPStatus.FOUND
    assert Operation.objects.get().status == "pending"


@pytest.mark.django_db
def test_page__checks_the_token_of_its_forms(django_user_model: Any) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(django_user_model.objects.create_user("demo"))
    assert browser.post("/run/sleeps/", {"seconds": 1}).status_code == HTTPStatus.FORBIDDEN
    html = browser.get("/").content.decode()
    match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', html)
    assert match is not None
    token = {"csrfmiddlewaretoken": match[1]}
    path = browser.post("/run/sleeps/", {"seconds": 1, **token})["Location"]
    assert browser.post(f"{path}cancel/", token).status_code == HTTPStatus.FOUND
    assert Operation.objects.get().status == "canceled"


@pytest.mark.parametrize(("name", "lines"), [("weather", 1462), ("large", pages.LARGE_ROWS + 1)])
def test_sample__is_a_csv_file(client: Client, name: str, lines: int) -> None:
    answer: Any = client.get(f"/samples/{name}.csv")
    assert answer["Content-Type"] == "text/csv"
    assert b"".join(answer.streaming_content).count(b"\n") == lines


def test_sample__of_another_name_is_404(client: Client) -> None:
    assert client.get("/samples/other.csv").status_code == HTTPStatus.NOT_FOUND
