"""Names the pages that `benchmarks.admin` measures, and how each of them is asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from typing import Any

#: A page by its name, and a function that asks for it. It may return the rows of a list.
Page = tuple[str, Callable[[], int | None]]
#: Each row of a list has one.
ROW = b'class="action-select"'

LIST = "/admin/async_reply/operation/"
RESULTS = "/admin/django_celery_results/taskresult/"
#: The name of a page -> its query on the list of operations.
QUERIES = {
    "list": "",
    "list, tab pending": "?status=pending",
    "list, tab running": "?status=running",
    "list, tab canceling": "?status=canceling",
    "list, tab succeeded": "?status=succeeded",
    "list, tab failed": "?status=failed",
    "list, tab canceled": "?status=canceled",
    "list, page 100": "?p=100",
    "order, oldest first": "?order=oldest",
    "order, oldest waiting": "?order=waiting&status=pending",
    "order, longest running": "?order=longest&status=running",
    "filter, stuck": "?attention=stuck",
    "filter, overdue": "?attention=overdue",
    "filter, created in an hour": "?created=hour",
    "filter, created in a week": "?created=week",
    "filter, finished in an hour": "?finished=hour",
    "filter, finished in a week": "?finished=week",
    "filter, owner": "?owner=1",
    "filter, owner of few": "?owner=few",
    "filter, kind": "?kind=demo.export",
    "filter, kind and status": "?kind=demo.export&status=failed",
    "filter, rare kind": "?kind=demo.sleep&status=canceled",
    "filter, unknown kind": "?kind=demo.nothing",
    "filter, queue": "?queue=celery",
    "filter, code": "?status=failed&code=internal-error",
    "filter, code without a status": "?code=internal-error",
    "filter, unknown code": "?code=nothing",
    "filter, exception": "?status=failed&exception=builtins.ValueError",
    "search, id": "?q={finished}",
    "search, end of an id": "?q={end}",
    "search, user": "?q=ada",
    "search, beginning of users": "?q=user1",
    "search, nothing": "?q=nothing",
    "search, idempotency key": "?owner=1&q=key-1",
}
#: The name of a page -> its URL behind that of the list.
PATHS = {
    "page of a finished operation": "{finished}/change/",
    "page of a failed operation": "{failed}/change/",
    "page of a waiting operation": "{pending}/change/",
    "page of a running operation": "{running}/change/",
    "history of an operation": "{finished}/history/",
    "failures of an hour": "failures/?finished=hour",
    "failures of a week": "failures/?finished=week",
    "bulk, all": "bulk/cancel/",
    "bulk, failed": "bulk/rerun/?status=failed",
    "bulk, code": "bulk/delete/?status=failed&code=internal-error",
}
#: The name of a page -> the name of a URL. A page whose URL does not exist is left out.
NAMES = {"dashboard": "admin:async_reply_operation_dashboard"}
#: The admin that django-celery-results has for its own rows.
THEIRS = {
    "their list": RESULTS,
    "their list, failed": f"{RESULTS}?status=FAILURE",
    "their list, a task": f"{RESULTS}?task_name=demo.sleep",
    "their search": f"{RESULTS}?q=nothing",
    "their page of one": f"{RESULTS}1000/change/",
}


@dataclass
class Pages:
    """The pages, for the database that is in use."""

    client: Any = field(init=False)
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from django.contrib.auth.models import User
        from django.test import Client

        from async_reply.models import Operation

        self.client = Client()
        self.client.force_login(User.objects.get(username="ada"))
        rows = Operation.objects.filter(deleted_at=None).order_by("-pk")
        for status in ("pending", "running", "failed", "succeeded"):
            self.ids[status] = str(rows.filter(status=status)[0].pk)
        self.ids["finished"] = self.ids["succeeded"]
        self.ids["end"] = self.ids["finished"][-8:]

    def ours(self) -> Iterator[Page]:
        urls = {name: LIST + query for name, query in QUERIES.items()}
        urls |= {name: LIST + path for name, path in PATHS.items()}
        urls |= self._named()
        yield from self._gets(urls | {"workers": "/admin/async_reply/worker/"})
        yield from (
            ("status command", status_command),
            ("health view", health_view),
            ("scrape", scrape),
        )

    def theirs(self) -> Iterator[Page]:
        yield from self._gets(THEIRS)

    def _named(self) -> dict[str, str]:
        from django.urls import NoReverseMatch, reverse

        urls = {}
        for name, url_name in NAMES.items():
            try:
                urls[name] = reverse(url_name)
            except NoReverseMatch:
                continue
        return urls

    def _gets(self, urls: dict[str, str]) -> Iterator[Page]:
        for name, url in urls.items():
            yield name, partial(self._get, url.format(**self.ids))

    def _get(self, url: str) -> int:
        response = self.client.get(url)
        if response.status_code != 200:
            raise RuntimeError(f"{url} answers {response.status_code}.")
        content: bytes = response.content
        return content.count(ROW)


def status_command() -> None:
    from django.core.management import CommandError, call_command

    try:
        call_command("async_reply_status", stdout=StringIO())
    except CommandError as error:
        # The exit status says that operations wait for long. They do.
        if error.returncode not in (1, 2):
            raise


def health_view() -> None:
    from django.test import RequestFactory

    from async_reply.statistics import health
    from async_reply.views import HealthView

    HealthView.as_view(parts=health.ALL, keep_seconds=0)(RequestFactory().get("/"))


def scrape() -> None:
    from rest_framework.permissions import AllowAny
    from rest_framework.test import APIRequestFactory

    from async_reply.contrib.prometheus import MetricsView

    response = MetricsView.as_view(permission_classes=[AllowAny])(APIRequestFactory().get("/"))
    if b"async_reply_operations_total" not in response.content:
        raise RuntimeError(f"A scrape answers {response.status_code}.")
