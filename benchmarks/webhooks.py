"""Measures the net and the reads of due webhooks at many open deliveries, on PostgreSQL.

    DATABASE_URL=postgres://… python -m benchmarks.webhooks [--rows 1000000] [--rounds 9] [--write]

Each operation has a delivery, and three of ten deliveries are open: most wait for their operation
to expire. A thousand are due. The database is dropped at the end. A figure is the processor time of
the call and of its database connection together, in milliseconds: the median of the rounds. The
database has to be on this machine. --write puts the table into docs/performance.rst.
"""

import argparse
import logging
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import tables
from benchmarks.admin import Cost, cost_of
from benchmarks.sizes import Sizes, set_up, settle

DATABASE = "ar_webhooks_bench"
SETTINGS = "benchmarks.hooked"
#: Turns of the net between two that are measured, so that they are spread over the table.
SKIPPED_TURNS = 5

DELIVERIES = """
INSERT INTO async_reply_webhooks_delivery (
    id, operation, kind, owner, url, host, base_url, whole, wants_started, wants_input,
    wants_expired, outcomes, state, event, number, body, is_told, has_outcome, tries, due_at,
    claims, ended_at)
SELECT id, id, kind, owner, 'https://' || n %% 500 || '.example/', n %% 500 || '.example', '',
    false, false, false, true, '["operation.succeeded"]',
    CASE WHEN n %% 10 < 3 THEN 'open' ELSE 'delivered' END,
    CASE WHEN finished_at IS NULL THEN '' ELSE 'operation.succeeded' END, 0, '{{}}',
    finished_at IS NOT NULL AND n %% 1000 > 0, finished_at IS NOT NULL, 0,
    CASE WHEN n %% 1000 = 0 THEN now() - interval '1 minute' END, 0,
    CASE WHEN n %% 10 >= 3 THEN now() END
FROM (SELECT *, row_number() OVER (ORDER BY id DESC) AS n FROM async_reply_operation) AS rows
"""


def fill(sizes: Sizes, rows: int) -> None:
    from django.db import connection

    from async_reply.contrib.webhooks import duties
    from async_reply.models import Turn

    sizes.create(rows)
    with connection.cursor() as cursor:
        cursor.execute(DELIVERIES.replace("%%", "%").replace("{{}}", "{}"))
        # The work of other processes would be missing.
        cursor.execute("SET max_parallel_workers_per_gather = 0")
    Turn.objects.create(duty=duties.NET, due_at="2026-01-01T00:00:00Z")
    settle()


def calls() -> Iterator[tuple[str, Callable[[], Any]]]:
    from async_reply.contrib.webhooks import deliveries, duties

    yield "a turn of the net: 5,000 deliveries", duties.cast_net
    yield "a look for due deliveries", duties.start_due
    yield "a claim for 20 hosts", lambda: rolled_back(lambda: deliveries.claim_due(20))


def rolled_back(function: Callable[[], Any]) -> None:
    from django.db import transaction

    with transaction.atomic():
        function()
        transaction.set_rollback(True)


def measure(rounds: int) -> list[tuple[str, ...]]:
    from async_reply.contrib.webhooks import duties

    costs: dict[str, list[Cost]] = {}
    for _ in range(rounds):
        for name, call in calls():
            costs.setdefault(name, []).append(cost_of(call))
        for _ in range(SKIPPED_TURNS):
            duties.cast_net()
    return [
        (name, f"{statistics.median(cost.request + cost.database for cost in taken):.0f}")
        for name, taken in costs.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    sizes = set_up(DATABASE, settings=SETTINGS)
    logging.disable(logging.WARNING)
    from django.db import connections

    from async_reply.contrib.webhooks import tasks

    tasks.publish = lambda: True
    try:
        fill(sizes, options.rows)
        figures = measure(options.rounds)
    finally:
        connections.close_all()
        sizes.drop(options.rows)
    table = tables.table([(f"{options.rows:,} deliveries, 30 % of them open", "ms"), *figures])
    print(table)
    if options.write:
        page = tables.DOCS / "performance.rst"
        tables.replace(page, "webhooks", f"{tables.circumstances()}\n\n{table}")


if __name__ == "__main__":
    main()
