"""Measures what each page for operators costs, and how it grows with the table, on PostgreSQL.

    DATABASE_URL=postgres://… python -m benchmarks.admin [--rows 10000 100000 1000000] [--rounds 9]
        [--only NAME …] [--write]

Each table but the last is the smallest one with a longer history: the newest rows are the same, so
are the rows that wait, run, failed or were canceled, and all older rows have succeeded. A page then
shows the same on each of them, and its growth is that of the table. The last table is the busy one.
It is as long as the longest, and in each part of it as many rows wait, have failed and so on as in
the smallest. So the reads of its pages reach their bounds.

Beside them are the pages that django-celery-results has for as many rows. Each table has a database
of its own, which is dropped at the end, unless --keep is given. A figure is the processor time of
the request and of its database connection together, in milliseconds: the median of rounds that are
interleaved over the tables. So it hardly depends on other load. The database has to be on this
machine. --only measures the pages whose name begins with one of the texts. --write puts the table
into docs/performance.rst.
"""

import argparse
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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
#: The most that a page may slow down from the smallest table to the longest one.
GROWTH = 1.5
#: Seconds between two of the newest rows. So they span more than a day in each table, which is what
#: the dashboard plots.
PACE = 10
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


@dataclass(frozen=True, eq=False)
class Table:
    """A table of operations in a database of its own."""

    sizes: Sizes
    rows: int
    #: The rows that are the same in each table; None for the busy one.
    alike: int | None

    def __str__(self) -> str:
        return f"{self.rows:,} rows" if self.alike else f"{self.rows:,} rows, busy"


Figures = dict[str, dict[Table, list[Cost]]]


def fill(table: Table) -> None:
    from django.contrib.auth.models import User
    from django.db import connection

    from async_reply.statistics import rollup

    if table.alike:
        table.sizes.create(table.rows, varied=table.alike, pace=PACE)
    else:
        table.sizes.create(table.rows)
    User.objects.bulk_create(User(username=f"user{number}") for number in range(USERS))
    with connection.cursor() as cursor:
        cursor.execute(RESULTS, [table.rows])
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


def measure(all_tables: list[Table], rounds: int, only: tuple[str, ...]) -> tuple[Figures, Figures]:
    """The costs of our pages and of theirs, by name and table."""
    from django.db import connection

    from async_reply.database.clock import DatabaseNow
    from async_reply.estimates import backlogs
    from async_reply.models import Worker

    ours: Figures = defaultdict(lambda: defaultdict(list))
    theirs: Figures = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        for table in all_tables:
            table.sizes.use(table.rows)
            with connection.cursor() as cursor:
                # The work of other processes would be missing.
                cursor.execute("SET max_parallel_workers_per_gather = 0")
            Worker.objects.update(seen_at=DatabaseNow())
            pages = Pages()
            for figures, listed in ((ours, pages.ours()), (theirs, pages.theirs())):
                for name, call in selected(listed, only):
                    call()  # the connection is new, and its caches are cold
                    backlogs.forget()
                    figures[name][table].append(cost_of(call))
    return ours, theirs


def medians(costs: dict[Table, list[Cost]]) -> dict[Table, float]:
    return {table: statistics.median(cost.both for cost in some) for table, some in costs.items()}


def growth(costs: dict[Table, list[Cost]]) -> float:
    """How much longer the longest table takes than the smallest one, with the same content."""
    alike = [median for table, median in medians(costs).items() if table.alike]
    return alike[-1] / alike[0]


def shortfalls(name: str, costs: dict[Table, list[Cost]]) -> str:
    """The goals that a page misses."""
    goal = GOALS.get(name, GOAL)
    missed = [f"over {goal} ms"] if max(medians(costs).values()) > goal else []
    if growth(costs) > GROWTH:
        missed.append(f"over x {GROWTH}")
    shown = {some[0].shown for table, some in costs.items() if table.alike}
    if len(shown) > 1:
        missed.append(f"({min(shown)} to {max(shown)} rows shown)")
    return " ".join(missed)


def lines(figures: Figures) -> Iterator[list[str]]:
    """Name, growth, milliseconds of each table, and the database's part of the last one."""
    for name, costs in figures.items():
        cells = [f"{ms:.1f}" for ms in medians(costs).values()]
        database = statistics.median(cost.database for cost in [*costs.values()][-1])
        yield [name, f"{growth(costs):.2f}", *cells, f"{database:.1f}"]


def report(figures: Figures, *, judged: bool) -> None:
    for name, *cells in lines(figures):
        verdict = shortfalls(name, figures[name]) if judged else ""
        print(f"{name:32}", *(f"{cell:>9}" for cell in cells), verdict, flush=True)


def write(ours: Figures, theirs: Figures, all_tables: list[Table], server: str) -> None:
    header = ["Page", "Growth", *map(str, all_tables), "Of it the database"]
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

    all_tables = [Table(sizes, rows, alike=min(options.rows)) for rows in sorted(options.rows)]
    busy = Sizes(sizes.server, f"{options.database}_busy")
    all_tables.append(Table(busy, max(options.rows), alike=None))
    try:
        for table in all_tables:
            if not (options.keep and table.sizes.exists(table.rows)):
                fill(table)
                print(f"{table} filled", flush=True)
        ours, theirs = measure(all_tables, options.rounds, tuple(options.only))
    finally:
        connections.close_all()
        if not options.keep:
            for table in all_tables:
                table.sizes.drop(table.rows)
    rows = [f"{table.rows:>9,}" for table in all_tables]
    print(f"{'':32}", "   growth", *rows, " database")
    report(ours, judged=True)
    report(theirs, judged=False)
    if options.write:
        write(ours, theirs, all_tables, sizes.server)


if __name__ == "__main__":
    main()
