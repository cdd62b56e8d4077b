"""The page of a failed, a stuck and a running operation in Chromium, under a strict CSP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import ConsoleMessage, Locator, Page, sync_playwright
from pytest_django import Settings

from async_reply import lifecycle, services
from async_reply.attempts import heartbeats, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.models import Operation, OperationStep, Worker
from async_reply.tasks import get_task
from async_reply.testing import run_operations
from tests.admin.conftest import page as url_of
from tests.admin.test_browser import CHROMIUM
from tests.admin.test_event_log import line
from tests.admin.test_event_log import store as store_events
from tests.project.tasks import approve, break_down, echo

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    # The server runs in another thread, which sees committed rows only.
    pytest.mark.django_db(transaction=True),
]

#: The colors that the user prefers, and the width of the window.
SCREENS: list[tuple[Literal["light", "dark"], int]] = [("light", 1280), ("dark", 360)]
#: The parts of the page that are wider than the window of a telephone.
TOO_WIDE = """() => [...document.querySelectorAll("#content *")]
  .filter(node => node.getBoundingClientRect().right > innerWidth && !node.closest(
    ".async-reply-text, .async-reply-scroll, .async-reply-scrolled, .breadcrumbs"))
  .map(node => `${node.tagName} ${node.className}`)"""

#: Whether a button hides a part of the title.
OVERLAP = """() => {
  const title = document.querySelector("#content > h2")?.getBoundingClientRect();
  const buttons = [...document.querySelectorAll(".object-tools > li")];
  return title && buttons.some(button => button.getBoundingClientRect().top < title.bottom);
}"""

#: Whether the element that has the focus is outlined.
OUTLINED = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
}"""
#: More than a page has stops.
MAX_STOPS = 200


def strict(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A middleware that forbids inline scripts, inline styles and other hosts."""

    def middleware(request: Any) -> Any:
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'; img-src 'self' data:"
        return response

    return middleware


def refusals(line: ConsoleMessage) -> list[str]:
    """An error of the console, such as a style that the policy refuses."""
    is_error = line.type == "error" and not line.location["url"].endswith("/favicon.ico")
    return [line.text] if is_error else []


@contextmanager
def browser_of(client: Client, origin: str) -> Iterator[tuple[Page, list[str]]]:
    """A page on which the client's user is logged in, and its errors.

    Django refuses queries inside the block, because playwright runs an event loop there.
    """
    name = settings.SESSION_COOKIE_NAME
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.context.add_cookies(
            [{"name": name, "value": client.cookies[name].value, "url": origin}]
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.extend(refusals(line)))
        yield page, errors
        browser.close()


#: Django's links change their color slowly. Axe has to see the last color.
SETTLED = "() => Promise.all(document.getAnimations().map(animation => animation.finished))"


def check(page: Page) -> None:
    """Axe finds nothing serious, light and dark. On a telephone nothing sticks out."""
    for scheme, width in SCREENS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(SETTLED)
        found = Axe().run(page, context="#content").response["violations"]
        grave = [item for item in found if item["impact"] in ("serious", "critical")]
        assert [(item["id"], [node["html"] for node in item["nodes"]]) for item in grave] == []
        assert not page.evaluate(OVERLAP)
    assert page.evaluate(TOO_WIDE) == []


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus. Each stop is visible."""
    for _ in range(MAX_STOPS):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            continue  # beyond the last stop
        assert page.evaluate(OUTLINED), page.evaluate("document.activeElement.outerHTML")
        if target.evaluate("node => node === document.activeElement"):
            return
    raise AssertionError(f"Tab does not reach {target}.")


def test_page__of_a_job_of_steps_reruns_from_one_of_them(
    admin_client: Client, live_server: Any, settings: Settings
) -> None:
    settings.MIDDLEWARE = [f"{__name__}.strict", *settings.MIDDLEWARE]

    def job(operation: Job) -> None:
        operation.step("account", lambda: {"name": "ada" * 100})
        operation.step("file", lambda: operation.file(b"x", name="a.txt"))
        raise ValueError

    operation = services.submit(echo)
    kind = Kind(name=echo.name, function=job)
    runner.run(operation.pk, kind, worker="w", inline=True)
    with browser_of(admin_client, live_server.url) as (page, errors):
        page.goto(live_server.url + url_of(operation))
        check(page)
        page.get_by_role("button", name="Rerun from step 2").click()
        assert "Rerun from step 2" in page.inner_text("#content")
        check(page)
        page.get_by_role("button", name="Yes").click()
        rows = page.locator("table.async-reply-stored-steps tbody tr")
        rows.first.wait_for()
        assert [cell.strip() for cell in rows.locator("td:nth-child(3)").all_inner_texts()] == [
            "copied"
        ]
        check(page)
        assert errors == []
    assert Operation.objects.get(rerun_of=operation).steps == 1


def test_page__of_a_question_is_answered_by_keyboard(
    admin_client: Client, live_server: Any, settings: Settings
) -> None:
    settings.MIDDLEWARE = [f"{__name__}.strict", *settings.MIDDLEWARE]
    operation = services.submit(approve)
    run_operations()
    with browser_of(admin_client, live_server.url) as (page, errors):
        page.goto(live_server.url + url_of(operation))
        check(page)
        page.get_by_label("Note").fill("x" * 81)
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        assert "no more than 80 characters" in page.inner_text("#content")
        check(page)
        page.get_by_label("Note").fill("fine")
        page.get_by_label("Approved").focus()
        page.keyboard.press("Space")
        for _ in range(6):
            if page.evaluate("document.activeElement.type") == "submit":
                break
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_text("The answer is stored, and 1 operation goes on.").wait_for()
        assert "question, answered by staff-" in page.inner_text("#content")
        check(page)
        assert errors == []
    row = OperationStep.objects.get(operation=operation)
    assert row.value == '{"approved": true, "note": "fine"}'


@pytest.mark.slow
def test_page__of_a_failed_a_stuck_and_a_running_operation(
    admin_client: Client, live_server: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIDDLEWARE = [f"{__name__}.strict", *settings.MIDDLEWARE]
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.05)
    failed = services.submit(break_down, input={"title": "a" * 300, "rows": list(range(50))})
    runner.run(failed.pk, get_task(failed.kind).kind, worker="celery@host/7-9f2c01ab", inline=True)
    Worker.objects.create(name="celery@host", pid=6, boot_id="9f2c01ab", queues=["gpu"])
    stuck = services.submit(echo)
    running = services.submit(echo)
    assert lifecycle.claim(running, worker="celery@host/8-9f2c01ab")
    paths = [live_server.url + url_of(operation) for operation in (failed, stuck, running)]
    with (
        heartbeats.kept_alive(Operation.objects.get(pk=running.pk), inline=False),
        browser_of(admin_client, live_server.url) as (page, errors),
    ):
        page.goto(paths[0])
        page.get_by_text("Traceback", exact=True).click()
        assert page.get_by_text("a secret of the server").first.is_visible()
        check(page)
        page.goto(paths[1])
        assert 'in the queue "celery", which no living worker reads' in page.inner_text("#content")
        check(page)
        page.goto(paths[2])
        page.get_by_role("button", name="Where is it now").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#async-reply-stack")
        assert "in test_page__of_a_failed" in page.inner_text("#content")
        check(page)
        page.get_by_role("button", name="End its process").click()
        assert "Losses that are left: 2." in page.inner_text("#content")
        check(page)
        page.get_by_role("button", name="Yes").click()
        assert "An operator told its process to end at" in page.inner_text("#content")
        assert errors == []


def test_page__of_a_job_with_a_log_unfolds_a_value_by_keyboard(
    submit: Callable[..., Operation], admin_client: Client, live_server: Any, settings: Settings
) -> None:
    settings.MIDDLEWARE = [f"{__name__}.strict", *settings.MIDDLEWARE]
    operation = submit()
    rows = [{"name": "x" * 200, "number": number} for number in range(5)]
    store_events(operation, line("Begun " * 40), ("rows", rows), is_void=True)
    store_events(operation, ("reset", {"after": 0}), line("Begun", level="WARNING"), first=3)
    store_events(operation, line("y" * 300), first=60, private=True)
    with browser_of(admin_client, live_server.url) as (page, errors):
        page.goto(live_server.url + url_of(operation))
        table = page.locator(".async-reply-events")
        assert page.get_by_role("group", name="Log").count() == 1
        assert table.get_by_text("void", exact=True).count() == 2
        table.locator("summary").press("Enter")
        assert table.get_by_text('"number": 4').is_visible()
        check(page)
        assert errors == []


@pytest.mark.slow
def test_page__by_keyboard_alone_on_a_telephone(
    admin_client: Client, live_server: Any, settings: Settings
) -> None:
    settings.MIDDLEWARE = [f"{__name__}.strict", *settings.MIDDLEWARE]
    failed = services.submit(break_down, input={"title": "a"})
    runner.run(failed.pk, get_task(failed.kind).kind, worker="celery@host/7-9f2c01ab", inline=True)
    running = services.submit(echo)
    Worker.objects.create(name="celery@host", pid=6, boot_id="9f2c01ab", queues=["celery"])
    assert lifecycle.claim(running, worker="celery@host/8-9f2c01ab")
    with browser_of(admin_client, live_server.url) as (page, errors):
        page.set_viewport_size({"width": 360, "height": 900})
        page.goto(live_server.url + url_of(failed))
        tab_to(page, page.locator("summary", has_text="Traceback"))
        page.keyboard.press("Enter")
        assert page.get_by_text("a secret of the server").first.is_visible()
        tab_to(page, page.locator("details[open] pre"))
        page.reload()
        tab_to(page, page.get_by_role("button", name="Rerun", exact=True))
        page.keyboard.press("Enter")
        page.get_by_text("1 operation was submitted again, as a new one.").wait_for()
        page.goto(live_server.url + url_of(running))
        tab_to(page, page.get_by_role("button", name="End its process"))
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Yes").wait_for()
        tab_to(page, page.get_by_role("button", name="Yes"))
        page.keyboard.press("Enter")
        page.get_by_text("An operator told its process to end at").first.wait_for()
        assert errors == []
    assert Operation.objects.get(rerun_of=failed).attempt == 0
