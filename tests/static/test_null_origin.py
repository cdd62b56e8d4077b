"""The rule of the how-to page about S3: a page's fetch follows the redirect to another origin.

Three servers of their own stand for the page, the API and the bucket. The bucket answers by the
rule as S3 does.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.packaging.documents import HOW_TO, snippets

pytestmark = pytest.mark.clients

PAGE = HOW_TO / "files-in-a-single-page-app.rst"
FETCH = """async ([url, headers]) => {
  try {
    return await (await fetch(url, {headers})).text();
  } catch (error) {
    return error.name;
  }
}"""
PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "authorization",
}


def rule() -> dict[str, Any]:
    """The rule of the page; its module needs boto3."""
    names: dict[str, Any] = {}
    source = dict(snippets(PAGE))["project/bucket.py"]
    exec(source.replace("import boto3", ""), names)
    found: dict[str, Any] = names["CORS_RULE"]
    return found


class Handler(BaseHTTPRequestHandler):
    """Answers by `status`, `headers_of_answer` and `body`, and keeps the headers of requests.

    `/page` is a page of its own origin.
    """

    status = 200
    headers_of_answer: dict[str, str]
    body = b""
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append({**self.headers, "method": self.command})
        is_plain = self.command == "OPTIONS" or self.path == "/page"
        self.send_response(200 if is_plain else self.status)
        for name, value in self.answer_headers().items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def do_OPTIONS(self) -> None:
        self.do_GET()

    def answer_headers(self) -> dict[str, str]:
        return self.headers_of_answer

    def log_message(self, *_args: Any) -> None:
        """Nothing."""


@contextmanager
def serving(**attributes: Any) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server on a port of its own: its origin, and the requests that it sees."""
    defaults: dict[str, Any] = {"headers_of_answer": {}, "seen": []}
    handler = type("OneHandler", (Handler,), {**defaults, **attributes})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", vars(handler)["seen"]
    finally:
        server.shutdown()
        server.server_close()


def by_rule(rule: dict[str, Any]) -> Any:
    """The headers with which S3 answers a request under this rule."""

    def answer_headers(self: Handler) -> dict[str, str]:
        origin = self.headers.get("Origin", "")
        if not {"*", origin} & set(rule["AllowedOrigins"]):
            return {}
        allowed = "*" if "*" in rule["AllowedOrigins"] else origin
        asked = self.headers.get("Access-Control-Request-Headers", "")
        allows_headers = {"Access-Control-Allow-Headers": asked} if asked else {}
        return {"Access-Control-Allow-Origin": allowed, **allows_headers}

    return answer_headers


@pytest.mark.parametrize(("named", "expected"), [(False, "content"), (True, "TypeError")])
def test_rule__lets_a_page_follow_the_redirect(chromium: Any, named: bool, expected: str) -> None:
    """A rule that names the page's origin does not: the browser sends a null origin."""
    with ExitStack() as stack:
        app, _ = stack.enter_context(serving(body=b"<title>app</title>"))
        rules = {**rule(), "AllowedOrigins": [app]} if named else rule()
        bucket, seen = stack.enter_context(serving(body=b"content", answer_headers=by_rule(rules)))
        redirect = {
            **PREFLIGHT,
            "Location": f"{bucket}/report.csv?X-Amz-Signature=1",
        }
        api, _ = stack.enter_context(serving(status=302, headers_of_answer=redirect))
        page = chromium.new_context().new_page()
        page.goto(app)
        text = page.evaluate(FETCH, [f"{api}/result/", {"Authorization": "Token 1"}])
        page.context.close()
        asked = [headers for headers in seen if "Origin" in headers]
    assert text == expected
    assert {headers["Origin"] for headers in asked} == {"null"}


def test_rule__serves_a_page_of_the_api_itself_too(chromium: Any) -> None:
    """Such a page is named: no other server stands between it and the redirect."""
    with ExitStack() as stack:
        bucket, seen = stack.enter_context(serving(body=b"content", answer_headers=by_rule(rule())))
        redirect = {"Location": f"{bucket}/report.csv"}
        api, _ = stack.enter_context(serving(status=302, headers_of_answer=redirect))
        page = chromium.new_context().new_page()
        page.goto(f"{api}/page")
        text = page.evaluate(FETCH, [f"{api}/result/", {"Authorization": "Token 1"}])
        page.context.close()
        origins = {headers["Origin"] for headers in seen if "Origin" in headers}
        sent = [headers for headers in seen if headers["method"] == "GET"]
    assert (text, origins) == ("content", {api})
    assert [headers for headers in sent if "Authorization" in headers] == []
