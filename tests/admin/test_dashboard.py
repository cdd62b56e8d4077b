"""The dashboard: who sees it, its parts, its links, and the statements that it costs."""

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.utils import timezone

from async_reply.admin import OperationAdmin
from async_reply.admin.current_state import State
from async_reply.admin.kind_figures import Report
from async_reply.models import Operation, Worker
from async_reply.publishing import broker
from async_reply.status import Status
from tests.admin import scenes
from tests.admin.conftest import LIST, shown
from tests.admin.scenes import finished

DASHBOARD = f"{LIST}dashboard/"
NOW, FIGURES = f"{DASHBOARD}now/", f"{DASHBOARD}figures/"
# What is inline, or comes from another site.
INLINE = re.compile(r"<style|<script(?![^>]*src=)|\sstyle=|\son\w+=|(?:src|href)=\"(?:https?:)?//")


@pytest.fixture(autouse=True)
def _reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "answers", lambda: True)


def state(client: Client) -> State:
    response: Any = client.get(NOW)
    result: State = response.context["state"]
    return result


def report(client: Client, **parameters: str) -> Report:
    response: Any = client.get(FIGURES, parameters)
    result: Report = response.context["report"]
    return result


def link_of(text: str) -> str:
    """The target of the only link in a cell."""
    [target] = re.findall(r'href="([^"]*)"', text)
    return html.unescape(target)


@pytest.mark.parametrize("rows", [1, 12])
def test_dashboard__takes_17_statements_however_many_rows(
    admin_client: Client, django_assert_num_queries: Any, rows: int
) -> None:
    for number in range(rows):
        scenes.worker(f"w{number}@host", "celery", boot_id=f"b{number}")
        scenes.running(f"w{number}@host/1-b{number}")
        scenes.waiting(kind=f"kind{number}")
        finished(f"kind{number}", succeeded=1, failed=1, waits=[1, 2], runs=[3, 4])
    # Session, user, waiting, running and workers for queues, unpublished, workers with their jobs,
    # statistics, and four each for what is stuck and what is overdue.
    with django_assert_num_queries(17) as captured:
        response = admin_client.get(DASHBOARD)
    assert response.status_code == 200
    for sql in (query["sql"] for query in captured):
        assert "COUNT(" not in sql or "LIMIT" in sql
        assert not re.search(r'"(?:input|extra|error|message)"', sql)


def test_dashboard__parts_read_what_they_show_alone(
    admin_client: Client, django_assert_num_queries: Any
) -> None:
    # Session and user, and then those of the part.
    with django_assert_num_queries(2 + 14):
        admin_client.get(NOW)
    with django_assert_num_queries(2 + 1):
        admin_client.get(FIGURES)


def test_dashboard__shows_an_empty_site(admin_client: Client) -> None:
    text = admin_client.get(DASHBOARD).content.decode()
    for sentence in (
        "No worker lives.",
        "No operation waits or runs, and no worker reads a queue.",
        "No operation has finished in this time",
    ):
        assert sentence in text


def test_dashboard__is_led_to_by_the_list_and_by_the_index_of_the_app(
    admin_client: Client, staff_client: Callable[..., Client]
) -> None:
    staff = staff_client("view_worker")
    for url in (LIST, "/admin/async_reply/"):
        assert f'href="{DASHBOARD}"' in admin_client.get(url).content.decode()
    assert f'href="{DASHBOARD}"' not in staff.get("/admin/async_reply/").content.decode()


def test_dashboard__has_no_link_where_the_site_has_no_operations(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry: Any = admin.site._registry
    monkeypatch.delitem(registry, Operation)
    assert admin_client.get("/admin/async_reply/").status_code == 200


@pytest.mark.urls("tests.admin.urls")
def test_dashboard__links_the_admin_site_that_it_belongs_to(admin_client: Client) -> None:
    finished("a", succeeded=1)
    text = admin_client.get("/inner/async_reply/operation/dashboard/").content.decode()
    links = re.findall(r'(?:href|data-link)="(/[^"]*)"', text)
    assert [link for link in links if not link.startswith(("/inner/", "/static/"))] == ["/"]


@pytest.mark.parametrize("url", [DASHBOARD, NOW, FIGURES])
def test_dashboard__needs_the_permission_to_view(
    staff_client: Callable[..., Client], client: Client, url: str
) -> None:
    assert client.get(url).status_code == 302
    assert staff_client("rerun_operation", "view_worker").get(url).status_code == 403


@pytest.mark.parametrize("url", [DASHBOARD, NOW, FIGURES])
def test_dashboard__needs_the_permission_that_a_project_asks_for(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(OperationAdmin, "has_dashboard_permission", lambda _admin, _request: False)
    assert admin_client.get(url).status_code == 403
    assert f'href="{DASHBOARD}"' not in admin_client.get(LIST).content.decode()


def test_dashboard__is_shown_without_the_payload_and_without_workers(
    staff_client: Callable[..., Client],
) -> None:
    scenes.worker("w1@host", "celery", boot_id="aaaa")
    scenes.running("w1@host/1-aaaa", message="a secret of the client")
    viewer = staff_client("view_operation")
    text = viewer.get(DASHBOARD).content.decode()
    assert "secret" not in text
    assert "w1@host" not in text
    counts = {figure.name: figure.text for figure in state(viewer).figures}
    assert (counts["workers"], counts["busy"], counts["idle"]) == ("1", "1", "1")


def test_dashboard__shows_workers_to_those_who_may_see_them(
    staff_client: Callable[..., Client],
) -> None:
    scenes.worker("w1@host", "celery", boot_id="aaaa")
    assert "w1@host" in staff_client("view_operation", "view_worker").get(NOW).content.decode()


def test_dashboard__of_an_unknown_part_or_span(admin_client: Client) -> None:
    assert admin_client.get(f"{DASHBOARD}nonsense/").status_code == 404
    for span in ("nonsense", "", "a\0"):
        response: Any = admin_client.get(DASHBOARD, {"span": span, "kind": "a\0b"})
        assert response.context["span"].name == "day"


def test_dashboard__keeps_the_kind_when_the_span_changes(admin_client: Client) -> None:
    response: Any = admin_client.get(DASHBOARD, {"span": "week", "kind": "a&b"})
    assert [link for link, _label, is_current in response.context["spans"] if is_current] == [
        "?span=week&kind=a%26b"
    ]
    parts = [link for _template, link, _seconds in response.context["parts"]]
    assert parts == [f"{url}?span=week&kind=a%26b" for url in (NOW, FIGURES)]


def test_dashboard__has_nothing_inline_and_nothing_of_other_sites(admin_client: Client) -> None:
    scenes.busy_site()
    for url in (DASHBOARD, NOW, FIGURES):
        text = admin_client.get(url).content.decode().replace("http://www.w3.org/2000/svg", "")
        assert INLINE.findall(text) == []


def test_dashboard__draws_numbers_of_svg_in_every_language(
    admin_client: Client, settings: Any
) -> None:
    settings.LANGUAGE_CODE = "de"
    for number in range(3):
        finished("a", ago=timedelta(minutes=10 * number), succeeded=number + 1, runs=[0.5 + number])
    text = admin_client.get(FIGURES).content.decode()
    values = re.findall(r'\s(?:d|x|y|width|height|viewBox)="([^"]*)"', text)
    assert values
    assert [value for value in values if "," in value] == []


def test_state__counts_queues_workers_and_messages(admin_client: Client) -> None:
    scenes.worker("w1@host", "celery", boot_id="aaaa", concurrency=3)
    job = scenes.running("w1@host/7-aaaa", seconds=3700)
    oldest = scenes.waiting(seconds=250)
    scenes.waiting(published_at=None)
    scenes.waiting(queue="gpu", seconds=3)
    now = state(admin_client)
    texts = {figure.name: re.sub("<.*?>", "", figure.text) for figure in now.figures}
    assert texts.pop("oldest").startswith("4\N{NO-BREAK SPACE}min")
    assert texts == {
        "waiting": "3",
        "running": "1",
        "workers": "1",
        "busy": "1",
        "idle": "2",
        "unpublished": "1",
        "broker": "answers",
        "stuck": "0",
        "overdue": "0",
    }
    assert [(row.name, row.is_served, row.capacity) for row in now.queues] == [
        ("celery", True, "3"),
        ("gpu", False, "0"),
    ]
    assert shown(admin_client.get(link_of(now.queues[0].oldest)))[0] == oldest
    assert len(shown(admin_client.get(link_of(now.queues[0].waiting)))) == 2
    assert shown(admin_client.get(link_of(now.queues[0].running))) == [job]
    assert now.workers is not None
    [row] = now.workers
    [running] = row.jobs
    assert (row.busy, row.idle, row.queues) == ("1", "2", "celery")
    assert "</a> 1\N{NO-BREAK SPACE}h" in running
    response: Any = admin_client.get(link_of(running))
    assert response.context["original"] == job


def test_state__numbers_of_the_whole_site_lead_to_the_list(admin_client: Client) -> None:
    pending, job = scenes.waiting(seconds=5), scenes.running("w1/1-a")
    figures = {figure.name: figure.text for figure in state(admin_client).figures}
    assert shown(admin_client.get(link_of(figures["waiting"]))) == [pending]
    assert shown(admin_client.get(link_of(figures["oldest"]))) == [pending]
    assert shown(admin_client.get(link_of(figures["running"]))) == [job]


def test_state__tells_what_is_wrong(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes.worker("w1@host", "celery", boot_id="aaaa")
    assert state(admin_client).problems == []
    scenes.waiting(queue="gpu", seconds=30)
    assert state(admin_client).problems == []
    scenes.waiting(seconds=90, published_at=None)
    [unsent] = state(admin_client).problems
    assert unsent.startswith("An operation is due for 1\N{NO-BREAK SPACE}min")
    scenes.waiting(queue="gpu", seconds=90, published_at=None)
    [unserved] = state(admin_client).problems
    assert unserved == "Operations wait in queue gpu, which no worker reads."
    monkeypatch.setattr(broker, "answers", lambda: False)
    Worker.objects.all().delete()
    assert state(admin_client).problems == ["The broker does not answer.", "No worker lives."]


def test_state__bounds_what_it_shows(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_QUEUES", "MAX_WORKERS", "MAX_JOBS"):
        monkeypatch.setattr(f"async_reply.admin.current_state.{name}", 1)
    for number in range(3):
        scenes.worker(f"w{number}@host", f"q{number}", boot_id=f"b{number}")
        scenes.running("w0@host/7-b0")
    now = state(admin_client)
    assert now.workers is not None
    assert (len(now.queues), now.more_queues) == (1, 3)
    assert (len(now.workers), now.more_workers, now.workers[0].more) == (1, 2, 2)
    text = admin_client.get(NOW).content.decode()
    for sentence in ("and 2 more", "Queues that are not shown: 3", "Workers that are not shown: 2"):
        assert sentence in text


def test_state__of_operations_behind_an_exchange(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.waiting(seconds=100)
    monkeypatch.setattr(
        "async_reply.publishing.routing.route_or_unknown",
        lambda _kind, queue="": type("Route", (), {"queue": ""}),
    )
    [queue] = state(admin_client).queues
    assert (queue.label, queue.waiting, queue.is_served) == ("exchanges", "1", True)


def test_report__has_the_figures_of_each_kind(admin_client: Client) -> None:
    finished("slow", succeeded=2, waits=[1, 1], runs=[40, 50])
    finished("bad", succeeded=3, failed=9, canceled=1, waits=[2] * 12, runs=[3] * 12)
    finished("old", ago=timedelta(days=3), succeeded=5)
    figures = report(admin_client, span="day")
    assert [row.name for row in figures.kinds] == ["bad", "slow"]
    [bad, slow] = figures.kinds
    assert (bad.finished.count(">13<"), bad.failed.count(">9<")) == (1, 1)
    assert bad.failure_rate == "75\N{NO-BREAK SPACE}%"
    runs = [text.replace("\N{NO-BREAK SPACE}", " ") for text in bad.runs]
    assert runs == ["3.1 s", "3.3 s", "3.4 s"]
    assert slow.p95_of_run == "53\N{NO-BREAK SPACE}s"
    assert (figures.total.finished.count(">15<"), figures.total.failed.count(">9<")) == (1, 1)
    assert [row.name for row in figures.slowest] == ["slow", "bad"]
    assert [row.name for row in figures.failing] == ["bad"]


@pytest.mark.parametrize("span", ["hour", "day", "week", "month"])
def test_report__reads_the_rows_of_the_span(admin_client: Client, span: str) -> None:
    finished("minutes", span="minute", succeeded=1)
    finished("tens", span="ten", succeeded=1)
    finished("hours", span="hour", succeeded=1)
    finished("days", span="day", succeeded=1)
    kinds = {"hour": "minutes", "day": "tens", "week": "hours", "month": "days"}
    figures = report(admin_client, span=span)
    assert [row.name for row in figures.kinds] == [kinds[span]]
    # The list has no filter for 30 days.
    assert ("href" in figures.kinds[0].finished) == (span != "month")
    text = admin_client.get(FIGURES, {"span": span}).content.decode()
    assert ("Days are those of UTC." in text) == (span == "month")


def test_report__numbers_lead_to_the_list(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    failed, succeeded = in_status(Status.FAILED), in_status(Status.SUCCEEDED)
    in_status(Status.PENDING)
    finished(failed.kind, span="minute", succeeded=1, failed=1)
    figures = report(admin_client, span="hour")
    for row in (figures.total, *figures.kinds):
        assert shown(admin_client.get(link_of(row.finished))) == [succeeded, failed]
        assert shown(admin_client.get(link_of(row.failed))) == [failed]


def test_report__of_one_kind(admin_client: Client) -> None:
    finished("a&b", succeeded=4, runs=[1])
    finished("c", succeeded=6, runs=[1])
    link = link_of(report(admin_client).kinds[1].label)
    response: Any = admin_client.get(link)
    figures = response.context["report"]
    assert [row.name for row in figures.kinds] == ["a&b"]
    assert figures.total.finished.count(">4<") == 1
    assert "kind=a%26b" in figures.total.finished
    text = response.content.decode()
    assert "Only operations of kind a&amp;b." in text
    assert "Slowest kinds" not in text
    assert report(admin_client, kind="unknown").kinds == []


def test_report__bounds_what_it_shows(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"MAX_KINDS": 2, "MAX_RANKED": 1, "MAX_PLOTTED": 1}.items():
        monkeypatch.setattr(f"async_reply.admin.kind_figures.{name}", value)
    for number in range(1, 4):
        finished(f"k{number}", succeeded=number, failed=number, runs=[number], waits=[1])
    figures = report(admin_client)
    assert [row.name for row in figures.kinds] == ["k3", "k2"]
    assert [row.name for row in figures.slowest] == ["k3"]
    assert [row.name for row in figures.failing] == ["k3"]
    assert [row.name for row, _plots in figures.plots_of_kinds] == ["k3"]
    assert (figures.is_cut, figures.unplotted) == (True, 2)
    text = admin_client.get(FIGURES).content.decode()
    assert "There are more kinds." in text
    assert "Kinds without plots here: 2." in text


def test_report__has_each_plot_as_a_table_too(admin_client: Client) -> None:
    finished("a", succeeded=3, failed=1, waits=[1] * 4, runs=[2] * 4)
    figures = report(admin_client)
    [_row, plots] = figures.plots_of_kinds[0]
    titles = [plot.title for plot in [*figures.plots, *plots]]
    assert titles == ["Finished operations", "Failure rate", "Wait", "Run time"]
    assert [step.values for step in figures.plots[0].steps] == [["3", "1", "0"]]
    assert [step.values for step in figures.plots[1].steps] == [["25\N{NO-BREAK SPACE}%"]]
    text = admin_client.get(FIGURES).content.decode()
    assert text.count("<svg ") == text.count("<details>") == len(titles)
    for plot in plots:
        [step] = plot.steps
        assert len(step.values) == 3
        assert f"<td>{step.values[2]}</td>" in text
        assert f"<title>{step.text}</title>" in text


def test_dashboard__counts_what_somebody_should_look_at(admin_client: Client) -> None:
    stuck = scenes.waiting(seconds=600)
    scenes.waiting()
    overdue = scenes.running("w@host/1-b", seconds=60)
    Operation.objects.filter(pk=overdue.pk).update(
        lease_expires_at=timezone.now() - timedelta(seconds=5)
    )
    figures = {figure.name: figure.text for figure in state(admin_client).figures}
    for name, expected in (("stuck", stuck), ("overdue", overdue)):
        assert ">1<" in figures[name]
        assert shown(admin_client.get(link_of(figures[name]))) == [expected]


def test_dashboard__links_nothing_where_nothing_is_stuck(admin_client: Client) -> None:
    scenes.waiting()
    figures = {figure.name: figure.text for figure in state(admin_client).figures}
    assert (figures["stuck"], figures["overdue"]) == ("0", "0")
