"""The dashboard in Chromium, under a strict CSP: its refresh and the switch for it, and axe."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Page, sync_playwright
from pytest_django import Settings

from async_reply.publishing import broker
from tests.admin import scenes
from tests.admin.conftest import LIST
from tests.admin.test_browser import CHROMIUM
from tests.admin.test_page_in_browser import browser_of, check, tab_to

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    # The server runs in another thread, which sees committed rows only.
    pytest.mark.django_db(transaction=True),
]

DASHBOARD = f"{LIST}dashboard/?span=hour"
#: Longer than a part ever waits, in milliseconds.
LONG = 90_000
SWITCH = "#async-reply-refresh"
STATUS = "#async-reply-refresh-status"
#: What a browser does when the user turns to another tab, or back to this one.
TURN = """state => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
#: Notes at once for which part the page asks. Events of the network come later.
RECORD = """
  window.asked = [];
  const { fetch } = window;
  window.fetch = (link, ...rest) => {
    asked.push(link.split("?")[0].split("/").at(-2));
    return fetch(link, ...rest);
  };
"""
#: The text of the table that is open, and that of the link with the focus.
PLACE = """() => [
  document.querySelector("details[open] figcaption, details[open] summary")?.textContent,
  document.activeElement.textContent,
  document.activeElement.isConnected,
]"""


class Broker:
    """Stands in for the broker's answer, which the test changes while the page is open."""

    def __init__(self) -> None:
        self.is_reachable = True

    def answers(self) -> bool:
        return self.is_reachable


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Broker:
    settings.MIDDLEWARE = ["tests.admin.test_page_in_browser.strict", *settings.MIDDLEWARE]
    stand_in = Broker()
    monkeypatch.setattr(broker, "answers", stand_in.answers)
    return stand_in


def opened(page: Page, origin: str) -> None:
    """Open the dashboard. From then on the test moves the clock of the page."""
    page.clock.install()
    page.add_init_script(RECORD)
    page.goto(origin + DASHBOARD)


def asked(page: Page) -> list[str]:
    """The parts for which the page has asked since the last call."""
    parts: list[str] = page.evaluate("asked.splice(0)")
    return parts


def shows(text: str) -> str:
    return f"dd:text-is('{text}')"


def test_dashboard__is_refreshed_while_visible_and_keeps_the_place_of_its_reader(
    admin_client: Client, live_server: Any, reachable: Broker
) -> None:
    scenes.worker("w1@host", "celery", boot_id="aaaa")
    scenes.waiting(kind="reports.export", seconds=3)
    scenes.finished("reports.export", span="minute", succeeded=2, runs=[1, 2], waits=[1, 2])
    with browser_of(admin_client, live_server.url) as (page, errors):
        opened(page, live_server.url)
        page.wait_for_selector(shows("answers"))
        page.locator("summary").first.press("Enter")
        page.locator("table a").first.focus()
        place = page.evaluate(PLACE)
        assert None not in place
        reachable.is_reachable = False
        page.clock.run_for(5_000)
        page.wait_for_selector(shows("does not answer"))
        page.wait_for_selector(".async-reply-problems")
        assert asked(page) == ["now"]
        with page.expect_response("**/dashboard/figures/*"):
            page.clock.run_for(30_000)
        assert set(asked(page)) == {"now", "figures"}
        assert page.evaluate(PLACE) == place

        page.evaluate(TURN, "hidden")
        page.wait_for_load_state("networkidle")
        asked(page)
        page.clock.run_for(LONG)
        assert asked(page) == []
        reachable.is_reachable = True
        page.evaluate(TURN, "visible")
        page.wait_for_selector(shows("answers"))
        assert page.locator(".async-reply-problems").count() == 0
        assert errors == []


def test_dashboard__is_not_refreshed_once_the_switch_is_off(
    admin_client: Client, live_server: Any, reachable: Broker
) -> None:
    with browser_of(admin_client, live_server.url) as (page, errors):
        opened(page, live_server.url)
        switch = page.locator(SWITCH)
        assert switch.is_checked()
        switch.press("Space")
        page.wait_for_load_state("networkidle")
        asked(page)
        page.clock.run_for(LONG)
        assert asked(page) == []
        page.reload()
        assert not switch.is_checked()
        page.clock.run_for(LONG)
        assert asked(page) == []
        reachable.is_reachable = False
        switch.press("Space")
        page.wait_for_selector(shows("does not answer"))
        page.reload()
        assert switch.is_checked()
        assert errors == []


def test_dashboard__says_when_it_is_not_refreshed(
    admin_client: Client, live_server: Any, reachable: Broker
) -> None:
    with browser_of(admin_client, live_server.url) as (page, _errors):
        opened(page, live_server.url)
        status = page.locator(STATUS)
        assert status.inner_text() == ""
        page.route("**/dashboard/now/*", lambda route: route.fulfill(status=500))
        page.clock.run_for(5_000)
        page.wait_for_function(
            "status => document.querySelector(status).textContent.includes('tries again')",
            arg=STATUS,
        )
        page.unroute("**/dashboard/now/*")
        page.clock.run_for(LONG)
        page.wait_for_function(
            "status => document.querySelector(status).textContent === ''", arg=STATUS
        )
        page.context.clear_cookies()
        page.clock.run_for(LONG)
        page.wait_for_selector(f"{SWITCH}:disabled")
        assert "load it again to log in" in status.inner_text()
        asked(page)
        page.clock.run_for(LONG)
        assert asked(page) == []


@pytest.mark.parametrize("scene", [scenes.busy_site, lambda: None], ids=["busy", "empty"])
def test_dashboard__is_readable_for_everybody(
    admin_client: Client, live_server: Any, reachable: Broker, scene: Callable[[], None]
) -> None:
    scene()
    with browser_of(admin_client, live_server.url) as (page, errors):
        page.goto(live_server.url + DASHBOARD)
        for summary in page.locator("summary").all()[1:3]:
            summary.press("Enter")
        check(page)
        assert errors == []


def test_dashboard__by_keyboard_alone_on_a_telephone(
    admin_client: Client, live_server: Any, reachable: Broker
) -> None:
    scenes.busy_site()
    with browser_of(admin_client, live_server.url) as (page, errors):
        page.set_viewport_size({"width": 360, "height": 900})
        page.goto(live_server.url + DASHBOARD)
        tab_to(page, page.locator(SWITCH))
        page.keyboard.press("Space")
        assert not page.locator(SWITCH).is_checked()
        summary = page.locator("summary").first
        tab_to(page, summary)
        page.keyboard.press("Enter")
        assert page.locator("details[open]").count() == 1
        page.reload()
        tab_to(page, page.get_by_role("link", name="Past 7 days"))
        page.keyboard.press("Enter")
        page.wait_for_url("**span=week*")
        tab_to(page, page.get_by_role("link", name="images.resize").first)
        page.keyboard.press("Enter")
        page.wait_for_load_state()
        assert errors == []


def test_dashboard__shows_everything_without_javascript(
    admin_client: Client, live_server: Any, reachable: Broker
) -> None:
    scenes.finished(
        "reports.export", span="minute", ago=timedelta(minutes=3), succeeded=7, runs=[1] * 7
    )
    [cookie] = admin_client.cookies.values()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(java_script_enabled=False).new_page()
        page.context.add_cookies(
            [{"name": cookie.key, "value": cookie.value, "url": live_server.url}]
        )
        page.goto(live_server.url + DASHBOARD)
        assert not page.locator(SWITCH).is_visible()
        assert page.locator("svg .async-reply-succeeded").is_visible()
        page.get_by_role("link", name="Past 7 days").click()
        assert "span=week" in page.url
        browser.close()
