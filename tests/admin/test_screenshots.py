"""The pictures of docs/how-to/admin.rst are what Chromium shows of a site at work.

`UPDATE_SCREENSHOTS=1` writes them anew. Without it, the test compares their size with the pages.
"""

import os
import struct
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page

from async_reply import lifecycle
from async_reply.attempts import runner
from async_reply.models import Operation
from async_reply.publishing import broker
from async_reply.status import Status
from async_reply.tasks import get_task
from tests.admin import scenes
from tests.admin.conftest import LIST
from tests.admin.conftest import page as url_of
from tests.admin.test_browser import CHROMIUM
from tests.admin.test_page_in_browser import browser_of
from tests.project.tasks import break_down

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    # The server runs in another thread, which sees committed rows only.
    pytest.mark.django_db(transaction=True),
]

PICTURES = Path(__file__).parents[2] / "docs/images"
WIDTH = 1100
#: The picture of a page -> its height, and a text that it shows.
HEIGHTS = {
    "dashboard": (1840, "Operations wait in queue gpu"),
    "operations": (760, "internal-error"),
    "operation": (880, "What happened"),
}


def size_of(picture: bytes) -> tuple[int, int]:
    """The width and the height of a PNG, from its header."""
    assert picture.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


def failed_operation() -> Operation:
    """An operation that has failed in its second attempt."""
    operation = scenes.waiting(task=break_down, seconds=95)
    assert lifecycle.claim(operation, worker="celery@web-1/11-aaaa")
    assert lifecycle.release(operation)
    kind = get_task(operation.kind).kind
    runner.run(operation.pk, kind, worker="celery@web-1/12-aaaa", inline=True)
    [last] = operation.attempts.all()
    now = timezone.now()
    ago = [now - timedelta(seconds=seconds) for seconds in (95, 90, 81, 60, 42, 61)]
    mail = {"exception": "smtplib.SMTPServerDisconnected", "message": "Connection lost"}
    operation.attempts.create(
        number=1, outcome="retry", started_at=ago[1], ended_at=ago[2], worker=last.worker, **mail
    )
    operation.attempts.filter(pk=last.pk).update(started_at=ago[3], ended_at=ago[4], **mail)
    times = {"created_at": ago[0], "started_at": ago[3], "finished_at": ago[4]}
    times |= {"available_at": ago[5], "published_at": ago[5]}
    Operation.objects.filter(pk=operation.pk).update(kind="invoices.send", **times)
    operation.refresh_from_db()
    assert operation.status == Status.FAILED
    return operation


def taken(page: Page, name: str) -> bytes:
    height, text = HEIGHTS[name]
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.get_by_text(text).first.wait_for()
    return page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height})


def test_pictures__show_a_site_at_work(
    admin_client: Client, live_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "answers", lambda: True)
    monkeypatch.setattr(admin.site, "enable_nav_sidebar", False)
    scenes.busy_site()
    failed = failed_operation()
    ada = User.objects.create_user("ada")
    Operation.objects.update(owner=str(ada.pk))
    paths = {
        "dashboard": f"{LIST}dashboard/?span=hour",
        "operations": LIST,
        "operation": url_of(failed),
    }
    with browser_of(admin_client, live_server.url) as (page, _errors):
        for name, path in paths.items():
            page.goto(live_server.url + path)
            picture, file = taken(page, name), PICTURES / f"{name}.png"
            if os.environ.get("UPDATE_SCREENSHOTS"):
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(picture)
            assert size_of(file.read_bytes()) == size_of(picture) == (WIDTH, HEIGHTS[name][0])
