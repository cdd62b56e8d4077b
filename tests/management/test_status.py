import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from async_reply import services
from async_reply.models import Operation
from tests.project.tasks import echo
from tests.publishing.brokers import pass_time, read_by, use_memory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _broker(monkeypatch: pytest.MonkeyPatch) -> None:
    use_memory(monkeypatch)


def run(*arguments: str) -> tuple[int, str]:
    """The exit status, and what the command writes."""
    output = StringIO()
    try:
        call_command("async_reply_status", *arguments, stdout=output)
    except CommandError as error:
        return error.returncode, f"{output.getvalue()}{error}"
    return 0, output.getvalue()


def wait_for(seconds: float) -> None:
    services.submit(echo)
    Operation.objects.update(published_at=Operation.objects.get().created_at)
    pass_time(seconds)


def test_status__of_a_system_that_is_well() -> None:
    read_by("celery", concurrency=2)
    code, text = run()
    assert code == 0
    assert "database: answers" in text
    assert "runs 0 of 2, reads celery" in text


def test_status__json_is_written_with_problems_too() -> None:
    output = StringIO()
    with pytest.raises(CommandError, match="CRITICAL: No worker lives"):
        call_command("async_reply_status", "--json", stdout=output)
    document = json.loads(output.getvalue())
    assert document["status"] == "critical"
    assert document["problems"] == ["No worker lives."]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], 1),
        (["--oldest", "60", "90"], 2),
        (["--oldest", "60"], 2),
        (["--oldest", "5000"], 0),
        (["--oldest", "5000", "--waiting", "1", "9"], 1),
        (["--oldest", "5000", "--waiting", "2", "--failures", "1"], 0),
    ],
)
def test_status__exits_by_the_limits(arguments: list[str], expected: int) -> None:
    read_by("celery")
    wait_for(400)
    assert run(*arguments)[0] == expected


@pytest.mark.parametrize("limits", [["9", "5"], ["1", "2", "3"], ["x"], ["nan"], ["-1"]])
def test_status__limits_that_make_no_sense(limits: list[str], capsys: Any) -> None:
    with pytest.raises((CommandError, SystemExit)):
        call_command("async_reply_status", "--oldest", *limits)
