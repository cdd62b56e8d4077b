"""The demo's page in Chromium: the conversation from a dropped file to the profile, and outages."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo_project.processes import Process, free_port, listens, wait_for, web_server
from tests.clients.server import need
from tests.stacks.stack import Stack, wait_until

sync_api = need("playwright.sync_api")
pytestmark = pytest.mark.clients

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "demo.png"
PATIENCE_MILLISECONDS = 60_000
CITIES = "city,people\nOslo,709000\nBergen,291000\nNiemandsland,\n"
#: Drops a file on the page, as a hand does: a strict policy does not bind the test's own scripts.
DROP = """(zone, [name, text]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([text], name, {type: "text/csv"}));
  zone.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true}));
}"""


class Tab:
    """A tab of a browser with the demo's page. `errors` are the lines of its console."""

    def __init__(self, page: Any, origin: str) -> None:
        self.page, self.origin = page, origin
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("console", lambda line: self.errors.extend([line.text] * (line.type == "error")))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(origin)

    def sign_in(self) -> None:
        self.page.get_by_role("button", name="Sign in as demo").click()
        self.page.get_by_text("Signed in as demo").wait_for()

    def choose(self, kind: str) -> None:
        self.page.get_by_role("button", name=kind, exact=True).click()

    def sleep(self, *, way: str = "Polling", kind: str = "Sleep", **fields: Any) -> None:
        """Run a sleep, and hear of its end in one of the three ways."""
        self.choose(kind)
        self.hear_by(way)
        form = self.page.locator("form.kind:visible")
        if outcome := fields.pop("outcome", None):
            form.locator("[name=outcome]").select_option(outcome)
        for name, value in fields.items():
            form.locator(f"[name={name}]").fill(str(value))
        self.run()

    def hear_by(self, way: str) -> None:
        self.page.get_by_role("radio", name=re.compile(f"^{way} ")).check()

    def run(self) -> None:
        self.page.get_by_role("button", name="Run", exact=True).click()

    def drop(self, text: str) -> None:
        self.page.locator(".drop:visible").evaluate(DROP, ["cities.csv", text])

    def shows(self, status: str) -> Any:
        """The result or the problem, once it is shown."""
        result = self.page.locator(f"#result[data-status={status}]")
        result.wait_for()
        return result

    def progresses(self, status: str) -> None:
        self.page.locator(f"operation-progress[data-status={status}]").wait_for()

    def talk(self) -> list[str]:
        """Each exchange of the conversation as one line of text."""
        rows = self.page.locator(".exchange:not(.example)").all_inner_texts()
        return [" ".join(row.split()) for row in rows]


Open = Callable[..., Tab]


@pytest.fixture
def tab(chromium: Any, stack: Stack) -> Iterator[Open]:
    """Opens the page in a browser of its own, whose user has signed in as demo."""
    contexts = []

    def open_tab(*, signs_in: bool = True, port: int = stack.port, **options: Any) -> Tab:
        context = chromium.new_context(**options)
        contexts.append(context)
        opened = Tab(context.new_page(), f"http://127.0.0.1:{port}/")
        if signs_in:
            opened.sign_in()
        return opened

    yield open_tab
    for context in contexts:
        context.close()


def test_page__shows_the_conversation_from_a_drop_to_the_profile(tab: Open) -> None:
    opened = tab()
    opened.choose("Profile a CSV")
    opened.drop(CITIES)
    text = opened.shows("succeeded").inner_text()
    assert "3 rows, 2 columns" in text
    assert "709,000" in text
    shares = opened.page.locator("svg.plot").evaluate_all("all => all.map((one) => one.ariaLabel)")
    assert "cells with a value: 67 %" in shares
    assert "mean 500,000" in shares
    submit, *polls, result = opened.talk()
    assert "POST /api/csv-profiles/ Idempotency-Key:" in submit
    assert f"file: cities.csv, {len(CITIES)} bytes" in submit
    assert re.search(r"202 Accepted pending Location: /api/operations/\w{8}…/ ", submit)
    assert re.search(r"Retry-After: \d+ Accepted\.", submit)
    assert all("/monitor/ 200 OK" in poll for poll in polls)
    assert "succeeded, 100 % Done." in polls[-1]
    assert "/result/ 200 OK The result." in result
    assert opened.errors == []


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("Polling", ["Retry-After"]),
        ("Long polling", ["Prefer: wait=20", "Preference-Applied: wait=20"]),
        ("Events", ["Accept: text/event-stream", "event: succeeded", "told it at once"]),
    ],
)
def test_page__shows_the_difference_between_the_ways(tab: Open, way: str, words: list[str]) -> None:
    opened = tab()
    opened.sleep(way=way, seconds=5)
    opened.shows("succeeded")
    talk = opened.talk()
    assert [word for word in words if not any(word in row for row in talk)] == []
    other = "Prefer" if way != "Long polling" else "event-stream"
    assert not any(other in row for row in talk)
    cells = opened.page.locator("#runs tbody td").all_inner_texts()
    assert cells[:3] == ["Sleep", way, str(len(talk))]
    assert re.fullmatch(r"\d+\.\d\d s", cells[3])


def test_page__goes_on_in_another_way_while_it_runs(tab: Open) -> None:
    opened = tab()
    opened.sleep(seconds=600, steps=6000)
    opened.progresses("running")
    opened.hear_by("Events")
    opened.page.get_by_text("text/event-stream").first.wait_for()
    opened.page.get_by_role("button", name="Cancel").click()
    opened.shows("canceled")


def test_page__cancels(tab: Open) -> None:
    opened = tab()
    opened.sleep(seconds=600, steps=6000)
    opened.progresses("running")
    opened.page.get_by_role("button", name="Cancel").click()
    assert "operation-canceled" in opened.shows("canceled").inner_text()
    assert any("/cancel/ 20" in row for row in opened.talk())
    assert opened.page.locator(".exchange").last.get_attribute("data-status") == "canceled"
    assert opened.errors == []


def test_page__shows_a_problem_that_can_be_read(tab: Open) -> None:
    """A job that fails with its own words, and a request that the API refuses."""
    opened = tab()
    opened.choose("Import a CSV")
    opened.drop("a,b\n1\n")
    text = opened.shows("failed").inner_text()
    assert "Line 2" in text
    assert "csv-invalid" in text
    opened.choose("Export a CSV")
    opened.page.locator("[name=rows]").fill("-1")
    opened.page.locator("#exports").evaluate("form => { form.noValidate = true; }")
    opened.run()
    # The first problem is shown until the second one comes.
    problem = opened.page.locator("#result[data-status=failed]").filter(has_text="Bad Request")
    assert '"rows"' in problem.inner_text()


@pytest.mark.parametrize(
    ("kind", "words"), [("Import a CSV", '"rows": 1461'), ("Export a CSV", "number,day,amount")]
)
def test_page__runs_the_other_kinds(tab: Open, kind: str, words: str) -> None:
    opened = tab()
    opened.choose(kind)
    if kind == "Export a CSV":
        opened.page.locator("[name=rows]").fill("5000")
    opened.run()
    assert words in opened.shows("succeeded").inner_text()
    if kind == "Export a CSV":
        assert "206 Partial Content Content-Range: bytes 0-399/" in opened.talk()[-1]
        with opened.page.expect_download() as download:
            opened.page.get_by_role("link", name="Download the file").click()
        assert download.value.suggested_filename == "5000-rows.csv"


def test_page__goes_on_after_a_reload_and_by_its_history(tab: Open) -> None:
    opened = tab()
    opened.sleep(seconds=6)
    opened.progresses("running")
    address = opened.page.url
    assert "#/api/operations/" in address
    opened.page.reload()
    assert '"slept": 6' in opened.shows("succeeded").inner_text()
    assert not any("POST" in row for row in opened.talk())
    assert opened.page.url == address
    opened.page.go_back()
    opened.page.locator(".example").first.wait_for()
    assert opened.page.locator("#result").is_hidden()


@pytest.mark.slow
def test_page__survives_a_restart_of_the_server(tab: Open, stack: Stack) -> None:
    opened = tab()
    opened.sleep(way="Events", seconds=12, steps=120)
    opened.page.get_by_text("event: running").first.wait_for()
    (web,) = (process for process in stack.processes if process.name == "web")
    stack.end(web)
    opened.page.get_by_text("No answer. The client tries again.").first.wait_for()
    stack.start_web()
    assert '"slept": 12' in opened.shows("succeeded").inner_text()
    assert len([row for row in opened.talk() if "POST" in row]) == 1


def test_page__survives_an_expired_link(tab: Open, stack: Stack) -> None:
    """The owner goes on without the key. A stranger reads why not, and what to do."""
    with stack.client() as client:
        answer = client.post("/signed-sleeps/", json={"seconds": 0, "value": 7}).json()
        link = answer["links"]["monitor"]
    with stack.client(None) as nobody:
        wait_until(lambda: nobody.get(link).status_code in {401, 404})
    fragment = link.partition(str(stack.port))[2]
    opened, stranger = tab(), tab(signs_in=False)
    for each in (opened, stranger):
        each.page.goto(f"{each.origin}#{fragment}")
    assert '"value": 7' in opened.shows("succeeded").inner_text()
    assert "This link has expired" in stranger.shows("failed").inner_text()
    # The form keeps the address: who signs in sees the operation.
    stranger.sign_in()
    assert '"value": 7' in stranger.shows("succeeded").inner_text()


@pytest.fixture
def port_with_long_keys(stack: Stack) -> Iterator[int]:
    """A second web server, whose valet keys do not expire during a test."""
    port = free_port()
    environment = {**stack.environment, "DJANGO_SETTINGS_MODULE": "tests.clients.settings"}
    logs = stack.folder / "logs"
    web = Process("keys", web_server(port), logs=logs, environment=environment)
    try:
        wait_for(lambda: listens(port), processes=[web], what="gunicorn", seconds=60)
        yield port
    finally:
        web.stop()


def test_page__runs_by_signed_links_without_signing_in(tab: Open, port_with_long_keys: int) -> None:
    opened = tab(signs_in=False, port=port_with_long_keys)
    opened.sleep(kind="Sleep, by signed link", seconds=1)
    opened.shows("succeeded")
    assert "sig=" in opened.page.url
    assert "Idempotency-Key" not in opened.talk()[0]


@pytest.mark.slow
def test_page__works_without_javascript(tab: Open) -> None:
    opened = tab(java_script_enabled=False)
    form = opened.page.locator("form#sleeps")
    form.locator("[name=seconds]").fill("3")
    form.get_by_role("button", name="Run").click()
    opened.page.get_by_text("so this page loads itself again").wait_for()
    # It does, without a click, until the result is there.
    opened.page.get_by_role("heading", name="demo.sleep: succeeded").wait_for()
    assert "slept" in opened.page.locator("pre").inner_text()
    opened.page.get_by_role("link", name="Run something else").click()
    opened.page.locator("form#csv-profiles").get_by_role("button", name="Run").click()
    opened.page.get_by_role("heading", name="1461 rows").wait_for()
    assert opened.page.get_by_label("cells with a value").count() == 6
    opened.page.goto(opened.origin)
    form.locator("[name=seconds]").fill("600")
    form.get_by_role("button", name="Run").click()
    opened.page.get_by_role("button", name="Cancel").click()
    opened.page.get_by_text("operation-canceled", exact=True).wait_for()
    assert opened.errors == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_page__is_accessible(tab: Open, scheme: str, width: int) -> None:
    """Axe finds nothing, and nothing sticks out: at first, while a sleep runs, and at its end."""
    axe = need("axe_playwright_python.sync_playwright").Axe()
    opened = tab(color_scheme=scheme, viewport={"width": width, "height": 800}, signs_in=False)

    def look() -> None:
        found = axe.run(opened.page).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width

    opened.page.emulate_media(reduced_motion="reduce", color_scheme=scheme)
    look()
    opened.sign_in()
    look()
    # A browser on a busy machine may show a shorter run at its end alone.
    opened.sleep(way="Events", seconds=10, outcome="fail")
    opened.progresses("running")
    look()
    opened.shows("failed")
    look()
    opened.choose("Profile a CSV")
    opened.run()
    opened.shows("succeeded")
    look()


@pytest.mark.slow
def test_page__is_used_by_the_keyboard(tab: Open) -> None:
    opened = tab()
    keyboard = opened.page.keyboard
    opened.page.get_by_role("button", name="Sleep", exact=True).focus()
    keyboard.press("Enter")
    # Over the other tab to the seconds, and then Enter submits.
    keyboard.press("Tab")
    keyboard.press("Tab")
    keyboard.type("600")
    keyboard.press("Enter")
    opened.progresses("running")
    opened.page.get_by_role("button", name="Cancel").focus()
    keyboard.press("Space")
    opened.shows("canceled")


def test_picture__of_the_docs_is_a_run_of_the_page(tab: Open) -> None:
    """With UPDATE_SCREENSHOTS=1 the picture is made anew."""
    numbers = range(150_000)
    days = [f"{2000 + number % 25}-03-0{1 + number % 9}" for number in numbers]
    tails = [
        f"{n % 977 / 10},{'Oslo' if n % 2 else 'Bergen'},{'windy' * (n % 3 > 0)}" for n in numbers
    ]
    lines = [f"{day},{tail}" for day, tail in zip(days, tails, strict=True)]
    opened = tab(viewport={"width": 1280, "height": 1000})
    opened.choose("Profile a CSV")
    opened.drop("\n".join(["day,rain,city,note", *lines]))
    opened.shows("succeeded")
    if os.environ.get("UPDATE_SCREENSHOTS"):
        PICTURE.parent.mkdir(exist_ok=True)
        opened.page.evaluate("scrollTo(0, 0)")
        opened.page.screenshot(path=PICTURE, animations="disabled", full_page=True)
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
