"""A command for 10,000 operations of a filtered list: Chromium, a real worker, and a cancel."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.admin.conftest import LIST
from tests.admin.test_browser import CHROMIUM
from tests.admin.test_page_in_browser import check, refusals
from tests.stacks.stack import Stack, prepared

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]

ROWS = 10_050
#: Stores operations that are due in an hour, so that no worker runs them.
SUBMIT = """
from datetime import timedelta
from django.utils import timezone
from async_reply.models import Operation
due = timezone.now() + timedelta(hours=1)
for kind, count in {kinds}.items():
    rows = (Operation(kind=kind, max_losses=2, available_at=due) for _ in range(count))
    Operation.objects.bulk_create(rows, batch_size=500)
"""
COUNT = """
import json
from django.contrib.admin.models import LogEntry
from django.db.models import Count
from async_reply.models import Operation
counts = Operation.objects.values_list("kind", "status").annotate(Count("pk"))
entries = LogEntry.objects.order_by("pk").values_list("object_id", "change_message")
print(json.dumps([[f"{kind} {status}", count] for kind, status, count in counts]))
print(json.dumps(list(entries)))
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with prepared(
        tmp_path,
        database="sqlite",
        broker="files",
        settings="demo_project.settings",
        lease=20,
    ) as running:
        yield running


def submit(stack: Stack, **kinds: int) -> None:
    named = {f"demo.{kind}": count for kind, count in kinds.items()}
    stack.manage("shell", "--no-imports", "-c", SUBMIT.format(kinds=named))


def stored(stack: Stack) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The number of operations of each kind and status; the object and the text of log entries."""
    counts, entries = stack.manage("shell", "--no-imports", "-c", COUNT).splitlines()
    return dict(json.loads(counts)), [(pk, text) for pk, text in json.loads(entries)]


@contextmanager
def logged_in(origin: str) -> Iterator[tuple[Page, list[str]]]:
    """The list of operations as the demo's superuser sees it, and the errors of the page."""
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.extend(refusals(line)))
        page.goto(origin + LIST)
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill("admin")
        page.keyboard.press("Enter")
        page.locator("#result_list").wait_for()
        yield page, errors
        browser.close()


def ask(page: Page, origin: str, count: str) -> None:
    """Filter the list by kind, and ask to cancel all that it shows."""
    page.goto(f"{origin}{LIST}?kind=demo.sleep")
    page.locator(".async-reply-bulk").get_by_role("link", name="Cancel").click()
    page.wait_for_url("**/bulk/cancel/*")
    assert f"{count} operations" in page.inner_text("#content")


def say_yes(page: Page) -> str:
    """Confirm, and return the id of the operation that does it."""
    page.get_by_role("button", name="Yes").click()
    page.get_by_text("A worker does it now.").wait_for()
    return page.url.rstrip("/").split("/")[-2]


def reload_until(page: Page, text: str, *, seconds: float = 60) -> None:
    """Load the page again until it shows the text."""
    give_up = time.monotonic() + seconds
    while text not in page.inner_text("#content"):
        assert time.monotonic() < give_up, page.inner_text("#content")
        page.reload()


def test_bulk__of_ten_thousand_operations_is_canceled_and_given_again(stack: Stack) -> None:
    submit(stack, sleep=ROWS, export=20)
    origin = f"http://127.0.0.1:{stack.port}"
    with logged_in(origin) as (page, errors):
        ask(page, origin, "10,050")
        check(page)
        submit(stack, sleep=3)  # newer than the question
        first = say_yes(page)
        stack.start_worker()
        reload_until(page, "Done: ")
        assert page.locator("progress").count() == 1
        check(page)
        page.get_by_role("button", name="Cancel").click()
        reload_until(page, "Canceled")
        canceled = stored(stack)[0]["demo.sleep canceled"]
        assert 0 < canceled < ROWS
        assert f"Done: {canceled}. Left as they are: 0." in page.inner_text("#content")

        ask(page, origin, "10,053")
        second = say_yes(page)
        rest = ROWS + 3 - canceled
        reload_until(page, f"Done: {rest}. Left as they are: {canceled}.", seconds=600)
        assert errors == []
    counts, entries = stored(stack)
    assert counts == {
        "demo.sleep canceled": ROWS + 3,
        "demo.export pending": 20,
        "async_reply.bulk canceled": 1,
        "async_reply.bulk succeeded": 1,
    }
    assert (first, "Cancel.") in entries
    entries.remove((first, "Cancel."))
    assert [pk for pk, _text in entries] == [first, first, second, second]
    for (_pk, asked), (pk, done), count in zip(
        entries[::2], entries[1::2], ("10,050", "10,053"), strict=True
    ):
        assert asked.startswith(f"Cancel: {count} operations (?kind=demo.sleep&newest=")
        assert done.startswith(f"Cancel (async_reply.bulk {pk}). Done: ")
