"""The list of operations and the pages behind it in Chromium, under a strict CSP."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from async_reply.models import Operation, Worker
from async_reply.status import Status
from tests.admin.conftest import LIST
from tests.admin.test_browser import CHROMIUM
from tests.admin.test_page_in_browser import browser_of, check, tab_to

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    # The server runs in another thread, which sees committed rows only.
    pytest.mark.django_db(transaction=True),
]

STRICT = "tests.admin.test_page_in_browser.strict"
#: The list, filtered and searched, and the pages to which it leads.
URLS = [
    LIST,
    f"{LIST}?status=failed&code=no-paper&finished=day",
    f"{LIST}?attention=stuck&owner=ada&q=nothing",
    f"{LIST}failures/",
    f"{LIST}bulk/delete/?status=failed",
    "/admin/async_reply/worker/",
]


@pytest.fixture(autouse=True)
def _operations(settings: Settings, in_status: Callable[..., Operation], admin_user: Any) -> None:
    """An operation in each status with long names; an error, progress, and a user as owner."""
    settings.MIDDLEWARE = [STRICT, *settings.MIDDLEWARE]
    for status in Status:
        in_status(status)
    kind = "reports.exports.tasks.export_monthly_report"
    Operation.objects.update(kind=kind, progress=40, owner=str(admin_user.pk))
    error = {"code": "no-paper", "detail": f"The printer {'x' * 80} has no paper."}
    Operation.objects.filter(status=Status.FAILED).update(error=error, kind="tests.project.echo")
    Worker.objects.create(name=f"celery@{'host' * 10}", queues=["celery", "reports" * 5])


@pytest.mark.slow
def test_list__and_the_pages_behind_it_suit_every_screen(
    admin_client: Client, live_server: Any
) -> None:
    with browser_of(admin_client, live_server.url) as (page, errors):
        for url in URLS:
            page.goto(live_server.url + url)
            check(page)
        assert errors == []


@pytest.mark.slow
def test_list__by_keyboard_alone_on_a_telephone(admin_client: Client, live_server: Any) -> None:
    with browser_of(admin_client, live_server.url) as (page, errors):
        page.set_viewport_size({"width": 360, "height": 900})
        page.goto(live_server.url + LIST)
        rows = page.locator("#result_list tbody tr")
        tab_to(page, page.get_by_role("link", name="Failed", exact=True))
        page.keyboard.press("Enter")
        page.wait_for_url("**status=failed*")
        assert rows.count() == 1
        tab_to(page, page.get_by_role("textbox", name="code of the error"))
        page.keyboard.type("no-paper")
        page.keyboard.press("Enter")
        page.wait_for_url("**code=no-paper*")
        assert rows.count() == 1
        tab_to(page, page.get_by_role("region", name="Operations"))
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.activeElement.scrollLeft > 0")
        tab_to(page, page.locator(".action-select"))
        page.keyboard.press("Space")
        tab_to(page, page.locator("select[name=action]"))
        page.keyboard.type("Rerun")
        tab_to(page, page.locator("button[name=index]"))
        page.keyboard.press("Enter")
        page.get_by_text("1 operation was submitted again, as a new one.").wait_for()
        tab_to(page, page.locator(".async-reply-bulk").get_by_role("link", name="Delete"))
        page.keyboard.press("Enter")
        page.wait_for_url("**/bulk/delete/*")
        tab_to(page, page.get_by_role("button", name="Yes"))
        page.keyboard.press("Enter")
        page.get_by_text("A worker does it now.").wait_for()
        assert errors == []
    assert Operation.objects.filter(kind="async_reply.bulk").count() == 1
