"""The element <operation-progress> in Chromium, below a strict Content-Security-Policy."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.server import need
from tests.stacks.stack import Stack

pytestmark = pytest.mark.clients

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"
)
PAGE = """<!doctype html><html lang="en"><title>Progress</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/own.css">
<main><h1>Progress</h1><operation-progress></operation-progress></main>
<script type="module" src="/own.js"></script></html>"""
STYLE = "operation-progress::part(fill) { background: rgb(1, 2, 3); }"
SCRIPT = """
import "/static/async_reply/operation-progress.js";
import {submit} from "/static/async_reply/client.js";
const element = document.querySelector("operation-progress");
const options = {headers: {Authorization: "Token demo"}};
const root = document.documentElement;
for (const name of ["change", "result", "error"]) {
  document.addEventListener(`operation-${name}`, ({detail}) => {
    root.dataset.told = `${name} ${detail.status}`;
  });
}
window.show = async (body, url = "/api/sleeps/") => {
  const {location} = await submit(url, body, options);
  element.options = options;
  element.href = location;
};
root.dataset.told = "ready";
"""
FILES = {
    "/own": ("text/html", PAGE),
    "/own.css": ("text/css", STYLE),
    "/own.js": ("text/javascript", SCRIPT),
}


def answer(headers: dict[str, str], body: str) -> Callable[[Any], None]:
    return lambda route: route.fulfill(headers=headers, body=body)


@pytest.mark.slow
def test_element__shows_an_operation_from_start_to_end(stack: Stack, chromium: Any) -> None:
    """Success, failure and cancel; its style comes from the page; axe finds no violation."""
    axe = need("axe_playwright_python.sync_playwright").Axe()
    page = chromium.new_page()
    errors: list[str] = []
    page.on("console", lambda line: errors.extend([line.text] * (line.type == "error")))
    page.on("pageerror", lambda error: errors.append(str(error)))
    for path, (content_type, body) in FILES.items():
        headers = {"Content-Type": content_type, "Content-Security-Policy": POLICY}
        page.route(f"**{path}", answer(headers, body))
    page.goto(f"http://127.0.0.1:{stack.port}/own")
    page.wait_for_selector("html[data-told=ready]")
    bar, cancel = page.get_by_role("progressbar", name="Progress"), page.get_by_role("button")

    def show(status: str, **body: Any) -> None:
        page.evaluate("(body) => show(body)", body)
        page.wait_for_selector(f"operation-progress[data-status={status}]")

    page.evaluate("() => show({}, '/approvals/')")
    page.get_by_text("Waiting for an answer").first.wait_for()
    show("running", seconds=600, steps=6000)
    assert cancel.inner_text() == "Cancel"
    page.wait_for_selector("[role=progressbar][aria-valuenow]:not([aria-valuenow='0'])")
    fill = "getComputedStyle(document.querySelector('operation-progress')"
    fill += ".shadowRoot.querySelector('.fill')).backgroundColor"
    assert page.evaluate(fill) == "rgb(1, 2, 3)"
    assert axe.run(page).violations_count == 0
    cancel.click()
    page.wait_for_selector("operation-progress[data-status=canceled]")
    assert page.get_by_role("status").inner_text() == "Canceled"
    assert cancel.is_hidden()
    page.wait_for_selector("html[data-told^=error]")

    show("succeeded", seconds=0.2)
    page.wait_for_selector("html[data-told='result 200']")
    assert bar.get_attribute("aria-valuenow") == "100"

    show("failed", seconds=0, outcome="fail")
    assert page.get_by_text("Failed: The sleep was asked to fail.").is_visible()
    # The removal of the element ends its requests, and the page hears of no error.
    with page.expect_response(lambda response: "/events/" in response.url):
        show("running", seconds=600, steps=6000)
    with page.expect_event("requestfailed"):
        page.evaluate("document.querySelector('operation-progress').remove()")
    assert page.evaluate("document.documentElement.dataset.told") == "change running"
    assert errors == []
    page.close()
