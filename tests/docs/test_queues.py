"""The page about queues: its routes lead each kind to a queue, and its workers read all of them."""

from typing import Any

import pytest

from async_reply.publishing import routing
from tests.packaging.documents import HOW_TO, commands, snippets
from tests.publishing.brokers import route

PAGE = HOW_TO / "route-queues.rst"


def test_page__routes_each_kind_to_a_queue_that_a_worker_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names: dict[str, Any] = {}
    exec(dict(snippets(PAGE))["project/settings.py"], names)
    route(monkeypatch, [names["CELERY_TASK_ROUTES"]])
    queues = {
        routing.route("reports.count_rows").queue,
        routing.route("reports.export_report", queue="slow").queue,
        routing.route("reports.another").queue,
    }
    read = [command[command.index("--queues") + 1].split(",") for command in commands(PAGE)]
    assert queues == {"quick", "slow", "celery"} == {name for names in read for name in names}
