"""The list of operations in Chromium: its width, and Django's script for selections."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from shutil import which
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, sync_playwright

from async_reply.models import Operation
from async_reply.status import Status
from tests.admin.conftest import LIST

CHROMIUM = which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    # The server runs in another thread, which sees committed rows only.
    pytest.mark.django_db(transaction=True),
]

#: The number of pixels by which the table is wider than the space for it.
OVERHANG = """() => {
  const table = document.querySelector("#result_list");
  return table.scrollWidth - table.closest(".results").clientWidth;
}"""


@contextmanager
def opened(client: Client, origin: str) -> Iterator[tuple[Page, list[str]]]:
    """The list as the client's user sees it, and the errors of its scripts.

    Django refuses queries inside the block, because playwright runs an event loop there.
    """
    name = settings.SESSION_COOKIE_NAME
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.context.add_cookies(
            [{"name": name, "value": client.cookies[name].value, "url": origin}]
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(origin + LIST)
        yield page, errors
        browser.close()


def test_changelist__fits_a_window_of_1280_pixels(
    in_status: Callable[..., Operation], admin_client: Client, live_server: Any
) -> None:
    for status in Status:
        in_status(status)
    Operation.objects.update(
        kind="reports.exports.tasks.export_monthly_report",
        owner="5f0c7a52-93f4-4f0e-9a55-0d0a8c5f4a11",
        progress=40,
    )
    with opened(admin_client, live_server.url) as (page, _errors):
        assert page.evaluate(OVERHANG) <= 0


def test_actions__act_on_the_operations_selected_on_one_page_of_two(
    submit: Callable[..., Operation],
    admin_client: Client,
    live_server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("async_reply.admin.operations.OperationAdmin.list_per_page", 2)
    for _ in range(3):
        submit()
    with opened(admin_client, live_server.url) as (page, errors):
        header, counter = page.locator("#action-toggle"), page.locator(".action-counter")
        header.check()
        assert counter.inner_text() == "2 of 2 selected"
        assert page.get_by_text("Select all").count() == 0
        page.locator(".action-select").first.uncheck()
        assert (counter.inner_text(), header.is_checked()) == ("1 of 2 selected", False)
        page.select_option("select[name=action]", "cancel_operations")
        page.click("button[name=index]")
        message = page.locator(".messagelist").inner_text()
        assert (message, errors) == ("1 operation was canceled or asked to stop.", [])
    assert Operation.objects.filter(status=Status.CANCELED).count() == 1
