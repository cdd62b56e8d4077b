"""Times that come in or go out, with USE_TZ and without, in several time zones.

These are: filters of the list, `available_at`, estimates of delayed operations, dates in
documents, Expires, the seconds of valet keys and of a storage's signed URLs, the end of the
retention, durations, the admin.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.database import clock
from async_reply.estimates import forecasts, histories
from async_reply.models import Operation, Worker
from async_reply.protocol import valet_keys
from async_reply.status import Status
from async_reply.testing import run_operations
from async_reply.views import downloads
from tests.project import tasks

pytestmark = pytest.mark.django_db

Submit = Callable[..., Operation]
LIST = "/api/operations/"
KOLKATA = ZoneInfo("Asia/Kolkata")
ZONES = [(True, "UTC"), (True, "America/New_York"), (False, "UTC")]
if connection.vendor == "postgresql":
    # The others mix up the time zones of database and project: see the check W122.
    ZONES += [(False, "America/New_York"), (False, "Asia/Kolkata")]
#: The moment at which the clocks of New York went from 2 to 3.
NIGHT, MINUTE = datetime(2025, 3, 9, 7, 0, tzinfo=UTC), timedelta(minutes=1)
#: Time zones that a middleware may activate for a request.
ACTIVATED = [None, "Pacific/Auckland"]


@pytest.fixture(params=ZONES, ids=str, autouse=True)
def zone(request: pytest.FixtureRequest, settings: Settings) -> ZoneInfo:
    """The time zone of the project."""
    settings.USE_TZ, settings.TIME_ZONE = request.param
    return ZoneInfo(settings.TIME_ZONE)


@pytest.fixture(params=ACTIVATED)
def activated(request: pytest.FixtureRequest) -> Iterator[ZoneInfo | None]:
    """The zone that a middleware has activated, if any."""
    context: AbstractContextManager[None] = nullcontext()
    if request.param is not None:
        context = timezone.override(ZoneInfo(request.param))
    with context:
        yield None if request.param is None else ZoneInfo(request.param)


def written(moment: datetime, form: str, naive_zone: ZoneInfo) -> str:
    """`moment` as a client may write it."""
    if form == "Z":
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if form == "offset":
        return moment.astimezone(KOLKATA).isoformat()
    return moment.astimezone(naive_zone).replace(tzinfo=None).isoformat()


def listed(api: APIClient, **query: str) -> int:
    response = api.get(LIST, query)
    assert response.status_code == 200, response.content
    return len(response.json()["results"])


@pytest.mark.parametrize("form", ["Z", "offset", "naive"])
def test_list__filters_by_a_moment_in_each_form(
    api: APIClient,
    submit: Submit,
    settings: Settings,
    zone: ZoneInfo,
    activated: ZoneInfo | None,
    form: str,
) -> None:
    submit()
    # Without USE_TZ Django has one time zone only.
    naive_zone = activated if activated is not None and settings.USE_TZ else zone
    earlier, later = (
        written(datetime.now(UTC) + timedelta(minutes=minutes), form, naive_zone)
        for minutes in (-5, 5)
    )
    assert listed(api, created_after=earlier, created_before=later) == 1
    assert listed(api, created_after=later) == listed(api, created_before=earlier) == 0


@pytest.mark.parametrize("formats", [None, ["%d.%m.%Y"]])
def test_list__filters_by_the_dates_of_documents(
    api: APIClient, submit: Submit, settings: Settings, formats: list[str] | None
) -> None:
    """The project's own formats do not count. SQLite compares dates to the second."""
    if formats is not None:
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DATETIME_INPUT_FORMATS": formats}
    submit()
    document = api.get(LIST).json()["results"][0]
    second = timedelta(seconds=1)
    created_at = datetime.fromisoformat(document["created_at"])
    before, after = (written(created_at + delta, "Z", KOLKATA) for delta in (-second, second))
    assert listed(api, created_after=before, created_before=after) == 1
    assert listed(api, created_after=after) == listed(api, created_before=before) == 0


@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize("end", ["0001-01-01T00:00:00", "9999-12-31T23:59:59"])
@pytest.mark.parametrize("offset", ["", "Z", "+14:00", "-12:00"])
def test_list__first_and_last_date_are_no_500(
    api: APIClient, name: str, end: str, offset: str
) -> None:
    assert api.get(LIST, {name: end + offset}).status_code in {200, 400}


@pytest.mark.parametrize("form", ["Z", "offset", "naive"])
@pytest.mark.parametrize("minutes", [-5, 5])
def test_submit__starts_at_its_available_at(
    zone: ZoneInfo, activated: ZoneInfo | None, form: str, minutes: int
) -> None:
    # Without a worker an overdue operation has no estimate.
    Worker.objects.create(name="w@h", concurrency=1, queues=["celery"])
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    available_at = datetime.fromisoformat(written(moment, form, zone))
    operation = services.submit(tasks.expected, available_at=available_at)
    # The returned object, and the row that the next request reads.
    for row in (operation, Operation.objects.get(pk=operation.pk)):
        assert row.available_at.timestamp() == pytest.approx(moment.timestamp(), abs=0.001)
        eta = forecasts.Forecast(row).eta_seconds
        assert eta is not None
        assert (eta > 300 + 240) is (minutes > 0)
        assert (forecasts.Forecast(row).queue_position is None) is (minutes > 0)
    assert len(run_operations()) == (minutes < 0)


def finished(submit: Submit, *, minutes: float) -> Operation:
    """A finished operation whose result expires in `minutes`."""
    operation = submit()
    run_operations()
    Operation.objects.filter(pk=operation.pk).update(
        expires_at=clock.after(minutes * 60), reply={"valet_key": "read"}
    )
    operation.refresh_from_db()
    return operation


def test_expiry__is_the_same_in_header_document_and_key(api: APIClient, submit: Submit) -> None:
    operation = finished(submit, minutes=10)
    expected = pytest.approx(time.time() + 600, abs=60)
    url = f"{LIST}{operation.pk}/"
    assert parsedate_to_datetime(api.get(f"{url}result/")["Expires"]).timestamp() == expected
    document = api.get(f"{url}monitor/").json()
    assert datetime.fromisoformat(document["expires_at"]).timestamp() == expected
    key = document["links"]["result"].partition("?sig=")[2]
    assert valet_keys.expiry(key) == expected


def test_expiry__bounds_the_signed_url_of_a_storage(
    submit: Submit, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        downloads, "import_string", lambda path: lambda row, **options: calls.append(options)
    )
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "SIGNED_URL": "any"}
    downloads.signed_url(finished(submit, minutes=10), object(), method="GET")  # type: ignore[arg-type]
    assert calls == [{"seconds": pytest.approx(600, abs=60), "method": "GET"}]


@pytest.mark.parametrize(("minutes", "status"), [(10, 200), (-10, 410)])
def test_expiry__result_can_be_read_until_then(
    api: APIClient, submit: Submit, minutes: float, status: int
) -> None:
    operation = finished(submit, minutes=minutes)
    assert api.get(f"{LIST}{operation.pk}/monitor/").status_code == status
    assert listed(api) == (status == 200)


def test_eta__of_a_running_operation_counts_from_its_start(submit: Submit) -> None:
    operation = submit(tasks.expected)
    assert lifecycle.claim(operation, worker="w1")
    eta = forecasts.Forecast(Operation.objects.get(pk=operation.pk)).eta_seconds
    assert eta is not None
    assert 200 < eta < 400


def test_admin__shows_times_of_the_project(
    admin_client: Client, submit: Submit, zone: ZoneInfo
) -> None:
    before = datetime.now(zone)
    operation = submit()
    minutes = {f"{moment:%Y-%m-%d %H:%M}" for moment in (before, datetime.now(zone))}
    url = "/admin/async_reply/operation/"
    page = admin_client.get(f"{url}{operation.pk}/change/").content.decode()
    text = page.replace('</span> <span class="async-reply-time">', " ")
    assert [minute for minute in minutes if minute in text], operation.created_at
    listed = admin_client.get(url).content.decode()
    assert [minute for minute in minutes if f'<time title="{minute}' in listed], listed


def test_durations__on_the_night_in_which_summer_time_begins(settings: Settings) -> None:
    started, ended = (NIGHT - MINUTE, NIGHT + MINUTE)
    Operation.objects.create(
        kind="night",
        status=Status.SUCCEEDED,
        started_at=clock.as_stored(started),
        finished_at=clock.as_stored(ended),
    )
    assert histories.durations("night") == (120.0,)


def test_seconds_until__on_the_night_in_which_summer_time_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, after = (NIGHT - MINUTE, NIGHT + MINUTE)
    monkeypatch.setattr(time, "time", before.timestamp)
    assert clock.seconds_until(clock.as_stored(after)) == 120
