"""The JavaScript of the how-to page, in Chromium, as a user of the demo who has signed in."""

from typing import Any

import pytest

from tests.packaging.documents import HOW_TO, blocks
from tests.stacks.stack import Stack

pytestmark = pytest.mark.clients

PAGE = HOW_TO / "follow-in-a-browser.rst"
#: The page's request -> a request to the demo.
REQUESTS = {
    "/api/reports/": "/api/sleeps/",
    "{ year: 2026 }": "{ seconds: 4 }",
    "Token …": "Token demo",
}


def serve(page: Any, path: str, content_type: str, body: str) -> None:
    for written, real in REQUESTS.items():
        body = body.replace(written, real)
    headers = {"Content-Type": f"{content_type}; charset=utf-8"}
    page.route(f"**{path}", lambda route: route.fulfill(headers=headers, body=body))


@pytest.mark.slow
def test_page__follows_an_operation_over_a_reload(stack: Stack, chromium: Any) -> None:
    (element,) = blocks(PAGE, "html")
    with_element, promise = blocks(PAGE, "javascript")
    origin = f"http://127.0.0.1:{stack.port}"
    page = chromium.new_context().new_page()
    # The worker may still be starting.
    page.set_default_timeout(60_000)
    page.goto(f"{origin}/admin/login/")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", "admin")
    page.click("[type=submit]")
    page.wait_for_url("**/admin/")
    serve(page, "/own", "text/html", element)
    serve(page, "/static/report.js", "text/javascript", with_element)
    serve(page, "/promise.js", "text/javascript", promise)

    page.goto(f"{origin}/own")
    page.wait_for_selector("operation-progress[data-status=running]")
    location = page.evaluate("sessionStorage.report")
    page.reload()
    assert page.evaluate("sessionStorage.report") == location
    page.wait_for_function("document.title === JSON.stringify({slept: 4, value: null})")

    lines: list[str] = []
    page.on("console", lambda line: lines.append(line.text))
    with page.expect_console_message(lambda line: "slept" in line.text):
        page.evaluate("import('/promise.js')")
    assert lines[-2:][0].startswith("succeeded 100")
    page.context.close()
