"""The demo over real HTTP, with real worker processes and files, as a newcomer sees it."""

import csv
import os
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from demo_project.conversation import Conversation, check
from tests.stacks.stack import Stack, follow, wait_until

pytestmark = pytest.mark.system

ROWS = 100_000


@pytest.fixture(scope="module")
def large_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100,000 rows with quotes, commas, line breaks, unicode and an empty column."""
    path = tmp_path_factory.mktemp("csv") / "large.csv"
    chance = random.Random(7)
    texts = ['say "hi"', "a, b", "zwei\nZeilen", "Ünïcødé ✓", ""]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "price", "text", "nothing"])
        for number in range(ROWS):
            price = round(chance.uniform(-5, 5), 3)
            writer.writerow([number, price, chance.choice(texts), ""])
    return path


def test_conversation__profiles_a_large_csv(stack: Stack, large_csv: Path) -> None:
    lines: list[str] = []
    base = f"http://127.0.0.1:{stack.port}"
    with Conversation(base, token="demo", write=lines.append) as conversation:
        profile = conversation.profile(large_csv)
    assert check(profile, large_csv)
    assert profile == expected(large_csv)
    statuses = [line.split()[0] for line in lines if line[:3].isdigit()]
    assert (statuses[0], statuses[-2:]) == ("202", ["302", "200"])
    assert set(statuses[1:-2]) <= {"200"}


def expected(path: Path) -> dict[str, Any]:
    """The same profile, computed by the standard library from the whole table in memory."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = [int(row["id"]) for row in rows]
    prices = [float(row["price"]) for row in rows]
    texts = [row["text"] for row in rows if row["text"]]
    distinct = {"distinct_more_than": False}
    return {
        "rows": ROWS,
        "columns": [
            {
                "name": "id", "type": "integer", "count": ROWS, "empty": 0, "distinct": ROWS,
                **distinct, "min": 0, "max": ROWS - 1, "mean": statistics.fmean(numbers),
            },
            {
                "name": "price", "type": "number", "count": ROWS, "empty": 0,
                "distinct": len({row["price"] for row in rows}), **distinct,
                "min": min(prices), "max": max(prices),
                "mean": pytest.approx(statistics.fmean(prices)),
            },
            {
                "name": "text", "type": "text", "count": len(texts), "empty": ROWS - len(texts),
                "distinct": 4, **distinct, "min": min(texts), "max": max(texts), "mean": None,
            },
            {
                "name": "nothing", "type": "empty", "count": 0, "empty": ROWS, "distinct": 0,
                **distinct, "min": None, "max": None, "mean": None,
            },
        ],
    }  # fmt: skip


def test_sleep__reports_progress_and_its_result(stack: Stack) -> None:
    with stack.client() as client:
        accepted = client.post("/api/sleeps/", json={"seconds": 2.5, "value": {"ä": [1, None]}})
        assert accepted.status_code == 202
        progress = set()
        while (poll := client.get(accepted.headers["Location"])).status_code == 200:
            progress.add(poll.json()["progress"])
            time.sleep(0.2)
        result = client.get(poll.headers["Location"])
    assert (result.status_code, result.json()) == (200, {"slept": 2.5, "value": {"ä": [1, None]}})
    assert progress & set(range(10, 100))


@pytest.mark.slow
def test_sleep__retry_after_follows_earlier_durations(stack: Stack) -> None:
    with stack.client() as client:

        def submit() -> int:
            accepted = client.post("/api/sleeps/", json={"seconds": 3})
            follow(client, accepted.headers["Location"])
            return int(accepted.headers["Retry-After"])

        # Each process keeps its estimate for five seconds.
        give_up = time.monotonic() + 90
        while submit() not in {3, 4, 5}:
            assert time.monotonic() < give_up
        other = client.post("/api/exports/", json={"rows": 1})
        follow(client, other.headers["Location"])
    assert other.headers["Retry-After"] in {"1", "2"}


def test_sleep__fails_with_a_readable_error(stack: Stack) -> None:
    with stack.client() as client:
        accepted = client.post("/api/sleeps/", json={"seconds": 0, "outcome": "fail"})
        result = follow(client, accepted.headers["Location"])
    assert result.status_code == 409
    assert result.json()["detail"] == "The sleep was asked to fail."


def test_sleep__is_canceled_while_it_runs(stack: Stack) -> None:
    with stack.client() as client:
        accepted = client.post("/api/sleeps/", json={"seconds": 600, "steps": 6000})
        status_url = accepted.headers["Location"]
        wait_until(lambda: client.get(status_url).json()["status"] == "running")
        assert client.delete(status_url).status_code == 202
        result = follow(client, status_url, seconds=15)
    assert result.json()["type"].endswith("operation-canceled")


def test_crash__of_the_process_runs_again(stack: Stack) -> None:
    with stack.client() as client:
        body = {"seconds": 0, "outcome": "crash_once", "value": 1}
        accepted = client.post("/api/sleeps/", json=body)
        result = follow(client, accepted.headers["Location"])
        document = client.get(accepted.headers["Operation-Location"]).json()
    assert (result.json(), document["attempt"]) == ({"slept": 0.0, "value": 1}, 2)


def test_crash__each_time_fails(stack: Stack) -> None:
    with stack.client() as client:
        accepted = client.post("/api/sleeps/", json={"seconds": 0, "outcome": "crash"})
        result = follow(client, accepted.headers["Location"], seconds=90)
    assert (result.status_code, result.json()["code"]) == (409, "worker-lost")


@pytest.mark.slow
def test_kill__of_the_whole_worker_loses_nothing(stack: Stack) -> None:
    with stack.client() as client:
        urls = [
            client.post("/api/sleeps/", json={"seconds": 1, "value": number}).headers["Location"]
            for number in range(8)
        ]
        wait_until(lambda: client.get(urls[0]).json()["status"] == "running")
        stack.end(stack.processes[-1])
        stack.start_worker()
        values = [follow(client, url, seconds=90).json()["value"] for url in urls]
        attempts = [client.get(f"{url}monitor/").json()["attempt"] for url in urls]
    assert values == list(range(8))
    assert max(attempts) == 2


def test_idempotency__simultaneous_submits_make_one_operation(stack: Stack) -> None:
    def submit(_: int) -> str:
        with stack.client() as client:
            key = {"Idempotency-Key": f"together-{os.getpid()}"}
            answer = client.post("/api/sleeps/", json={"seconds": 0}, headers=key)
        assert answer.status_code == 202
        return answer.text

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(submit, range(24)))) == 1


BAD_FILES = {
    "empty": (b"", "empty"),
    "binary": (bytes(range(256)) * 8, "line 1"),
    "ragged": (b"a,b\n1,2\n3\n", "Line 3"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_csv__bad_file_fails_with_its_reason(stack: Stack, name: str) -> None:
    content, words = BAD_FILES[name]
    with stack.client() as client:
        accepted = client.post("/api/csv-profiles/", files={"file": ("x.csv", content)})
        assert accepted.status_code == 202
        result = follow(client, accepted.headers["Location"])
    assert result.status_code == 422
    assert words.lower() in result.json()["detail"].lower()


def test_csv__with_a_header_alone_has_no_rows(stack: Stack) -> None:
    with stack.client() as client:
        accepted = client.post("/api/csv-profiles/", files={"file": ("x.csv", b"a,b\n")})
        profile = follow(client, accepted.headers["Location"]).json()
    assert (profile["rows"], [column["type"] for column in profile["columns"]]) == (
        0,
        ["empty", "empty"],
    )


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b'{"seconds": ', "application/json", 400),
        (b'{"seconds": -1}', "application/json", 400),
        (b'{"seconds": 1e999}', "application/json", 400),
        (b"seconds=1", "text/plain", 415),
        (b"\xff\xfe\x00", "application/json", 400),
    ],
)
def test_bad_input__is_a_clear_problem(
    stack: Stack, content: bytes, content_type: str, status: int
) -> None:
    with stack.client() as client:
        answer = client.post(
            "/api/sleeps/", content=content, headers={"Content-Type": content_type}
        )
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        status,
        "application/problem+json",
    )
    assert answer.json()["detail"]


def test_strangers__get_the_same_404(stack: Stack) -> None:
    with stack.client() as client, stack.client("other") as other, stack.client(None) as nobody:
        url = client.post("/api/sleeps/", json={"seconds": 0}).headers["Location"]
        unknown = "/api/operations/0192aaaa-0000-7000-8000-000000000000/"
        answers = [other.get(url), other.get(unknown), other.get("/api/operations/odd/")]
        assert {(answer.status_code, answer.content) for answer in answers} == {
            (404, answers[0].content)
        }
        assert nobody.get(url).status_code == nobody.get(unknown).status_code == 401


def test_public_sleeps__are_followed_and_canceled_by_their_links_alone(stack: Stack) -> None:
    with stack.client(None) as nobody:
        accepted = nobody.post("/api/public-sleeps/", json={"seconds": 0, "value": "ü"})
        result = follow(nobody, accepted.headers["Location"])
        long = nobody.post("/api/public-sleeps/", json={"seconds": 600, "steps": 6000}).json()
        canceled = nobody.post(long["links"]["cancel"])
        unsigned = nobody.get(long["links"]["self"].partition("?")[0])
    assert (accepted.status_code, result.json()) == (202, {"slept": 0.0, "value": "ü"})
    assert (canceled.status_code in {200, 202}, unsigned.status_code) == (True, 401)


def test_admin__has_its_styles(stack: Stack) -> None:
    with stack.client(None) as client:
        assert client.get("/admin/login/").status_code == 200
        assert client.get("/static/admin/css/base.css").status_code == 200
