"""Measures what each page for operators costs, and how it grows with the table, on PostgreSQL.

    DATABASE_URL=postgres://… python -m benchmarks.admin [--rows 10000 100000 1000000] [--rounds 9]
        [--only NAME …] [--write]

Beside them are the pages that django-celery-results has for as many rows. Each size has a database
of its own, which is dropped at the end, unless --keep is given. A figure is the processor time of
the request and of its database connection together, in milliseconds: the median of rounds that are
interleaved over the sizes. So it hardly depends on other load. The database has to be on this
machine. --only measures the pages whose name begins with one of the texts. --write puts the table
into docs/performance.rst.
"""

import argparse
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psycopg

from benchmarks import tables
from benchmarks.pages import Page, Pages
from benchmarks.sizes import Sizes, set_up, settle

DATABASE = "ar_admin_bench"
#: The most milliseconds of a page, and of a scrape.
GOALS = {"scrape": 50}
GOAL = 100
#: The most that a page may slow down from the first size to another.
GROWTH = 1.5
USERS = 1000

#: As many rows as operations. A result is a day old at most for each 86,400 rows.
RESULTS = """
INSERT INTO django_celery_results_taskresult (
    id, task_id, periodic_task_name, task_name, task_args, task_kwargs, status, worker,
    content_type, content_encoding, result, date_created, date_started, date_done, traceback, meta)
SELECT n, md5(CAST(n AS text)), NULL,
    CASE WHEN n %% 50 = 3 THEN 'demo.sleep' ELSE 'demo.export' END, '"()"', '"{}"',
    CASE WHEN n %% 101 = 7 THEN 'FAILURE' ELSE 'SUCCESS' END, 'w' || n %% 20 || '@h',
    'application/json', 'utf-8', '{"rows": 10}',
    now() - n * interval '1 second', now() - n * interval '1 second',
    now() - n * interval '1 second', NULL, '{"children": []}'
FROM generate_series(1, %s) AS n
"""


class Cost(NamedTuple):
    """Milliseconds of processor time, and the rows that the page shows."""

    request: float
    database: float
    shown: int

    @property
    def both(self) -> float:
        return self.request + self.database


Figures = dict[str, dict[int, list[Cost]]]


def fill(sizes: Sizes, rows: int) -> None:
    from django.contrib.auth.models import User
    from django.db import connection

    from async_reply.statistics import rollup

    sizes.create(rows)
    User.objects.bulk_create(User(username=f"user{number}") for number in range(USERS))
    with connection.cursor() as cursor:
        cursor.execute(RESULTS, [rows])
    while not rollup.roll_up():
        pass
    settle()


def database_milliseconds() -> float:
    """Processor time that the process of this connection has taken since its start."""
    from django.db import connection

    pid = connection.connection.info.backend_pid
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def cost_of(call: Callable[[], int | None]) -> Cost:
    database, request = database_milliseconds(), time.process_time()
    shown = call()
    taken = (time.process_time() - request) * 1000
    return Cost(taken, database_milliseconds() - database, shown or 0)


def selected(pages: Iterable[Page], beginnings: tuple[str, ...]) -> Iterator[Page]:
    return (page for page in pages if page[0].startswith(beginnings))


def measure(
    sizes: Sizes, all_rows: list[int], rounds: int, only: tuple[str, ...]
) -> tuple[Figures, Figures]:
    """The costs of our pages and of theirs, by name and number of rows."""
    from django.db import connection

    from async_reply.database.clock import DatabaseNow
    from async_reply.estimates import backlogs
    from async_reply.models import Worker

    ours: Figures = defaultdict(lambda: defaultdict(list))
    theirs: Figures = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        for rows in all_rows:
            sizes.use(rows)
            with connection.cursor() as cursor:
                # The work of other processes would be missing.
                cursor.execute("SET max_parallel_workers_per_gather = 0")
            Worker.objects.update(seen_at=DatabaseNow())
            pages = Pages()
            for figures, listed in ((ours, pages.ours()), (theirs, pages.theirs())):
                for name, call in selected(listed, only):
                    call()  # the connection is new, and its caches are cold
                    backlogs.forget()
                    figures[name][rows].append(cost_of(call))
    return ours, theirs


def medians(costs: dict[int, list[Cost]]) -> dict[int, float]:
    return {rows: statistics.median(cost.both for cost in some) for rows, some in costs.items()}


def shortfalls(name: str, costs: dict[int, list[Cost]]) -> str:
    """The goals that a page misses.

    A list with fifty rows takes longer than one with five. So the sizes that count are those at
    which the list is as long as at the last one.
    """
    by_rows, last = medians(costs), max(costs)
    alike = min(rows for rows in costs if costs[rows][0].shown == costs[last][0].shown)
    goal = GOALS.get(name, GOAL)
    missed = [f"over {goal} ms"] if by_rows[last] > goal else []
    if by_rows[last] > by_rows[alike] * GROWTH:
        missed.append(f"over x {GROWTH}")
    if alike != min(costs):
        missed.append(f"({costs[min(costs)][0].shown} and {costs[last][0].shown} rows shown)")
    return " ".join(missed)


def lines(figures: Figures) -> Iterator[list[str]]:
    """Name, milliseconds at each size, the database's part of the last one, and the growth."""
    for name, costs in figures.items():
        by_rows = medians(costs)
        first, last = min(by_rows), max(by_rows)
        database = statistics.median(cost.database for cost in costs[last])
        growth = f"{by_rows[last] / by_rows[first]:.2f}"
        yield [name, *(f"{ms:.1f}" for ms in by_rows.values()), f"{database:.1f}", growth]


def report(figures: Figures, *, judged: bool) -> None:
    for name, *cells in lines(figures):
        verdict = shortfalls(name, figures[name]) if judged else ""
        print(f"{name:32}", *(f"{cell:>9}" for cell in cells), verdict, flush=True)


def write(ours: Figures, theirs: Figures, all_rows: list[int], server: str) -> None:
    sizes = [f"{rows:,} rows" for rows in all_rows]
    header = ["Page", *sizes, "Of it the database", "Growth"]
    rows = [[name.capitalize(), *cells] for part in (ours, theirs) for name, *cells in lines(part)]
    with psycopg.connect(server) as connection:
        database = connection.info.parameter_status("server_version")
    rival = f"django-celery-results {version('django-celery-results')}"
    circumstances = f"{tables.circumstances()} PostgreSQL {database}, {rival}."
    content = f"{circumstances}\n\n{tables.table([header, *rows])}"
    tables.replace(tables.DOCS / "performance.rst", "admin", content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--database", default=DATABASE, help="how names of databases begin")
    parser.add_argument(
        "--keep", action="store_true", help="use databases that are there, and keep"
    )
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    sizes = set_up(options.database)
    logging.disable(logging.WARNING)
    from django.db import connections

    try:
        for rows in options.rows:
            if not (options.keep and sizes.exists(rows)):
                fill(sizes, rows)
                print(f"{rows:,} rows filled", flush=True)
        ours, theirs = measure(sizes, options.rows, options.rounds, tuple(options.only))
    finally:
        connections.close_all()
        if not options.keep:
            for rows in options.rows:
                sizes.drop(rows)
    print(f"{'':32}", *(f"{rows:>9,}" for rows in options.rows), " database   growth")
    report(ours, judged=True)
    report(theirs, judged=False)
    if options.write:
        write(ours, theirs, options.rows, sizes.server)


if __name__ == "__main__":
    main()
