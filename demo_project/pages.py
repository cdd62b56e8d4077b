"""The demo's pages at `/`: JavaScript follows an operation there, and plain forms do without it.

The plain forms submit by `async_reply.services`. Then a page asks the API, shows the answer, and
loads itself again after the seconds in Retry-After, until it shows the result.
"""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import resolve, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_GET, require_POST
from rest_framework.response import Response

from async_reply import services
from async_reply.views import LongRunningOperationView
from demo_project import exports, tasks, views

SAMPLE = Path(__file__).resolve().parent / "data" / "seattle-weather.csv"
LARGE_ROWS = 500_000
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
#: The kinds that a plain form can submit, by the last part of its URL.
FORMS: dict[str, type[LongRunningOperationView]] = {
    "csv-profiles": views.CsvProfileView,
    "datasets": views.DatasetImportView,
    "exports": views.ExportView,
    "sleeps": views.SleepView,
}
#: The kinds whose result the page shows. It only links to a file or a dataset.
JSON_RESULTS = {tasks.profile_csv.name, tasks.sleep.name}

Page = Callable[..., HttpResponseBase]


def guarded(page: Page) -> Page:
    """Adds a Content-Security-Policy: the page uses files of this server, and nothing inline."""

    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = page(request, *args, **kwargs)
        response["Content-Security-Policy"] = POLICY
        return response

    return answer


@method_decorator(guarded, name="dispatch")
class IndexView(LoginView):
    """GET shows the page, POST signs in."""

    template_name = "demo_project/index.html"
    next_page = "index"


@require_GET
def sample(request: HttpRequest, name: str) -> HttpResponseBase:
    """A CSV file to try the demo with: `weather`, or `large`, which takes some seconds."""
    if name == "weather":
        return FileResponse(SAMPLE.open("rb"), content_type="text/csv")
    if name == "large":
        return StreamingHttpResponse(exports.batches(LARGE_ROWS), content_type="text/csv")
    raise Http404


@guarded
@require_POST
@login_required(login_url="index")
def submit(request: HttpRequest, kind: str) -> HttpResponseBase:
    """Submit what a plain form contains, and redirect to the page of the operation."""
    view = FORMS.get(kind)
    if view is None:
        raise Http404
    assert view.serializer_class is not None
    # A browser sends an empty text for each field that was left out, and for a file as well.
    data: dict[str, Any] = {name: text for name, text in request.POST.items() if text}
    data |= request.FILES.dict()
    if kind in {"csv-profiles", "datasets"} and "file" not in data:
        data["file"] = _sample(data.get("sample", "weather"))
    serializer = view.serializer_class(data=data)
    if not serializer.is_valid():
        return render(request, IndexView.template_name, {"errors": serializer.errors}, status=400)
    operation = services.submit(
        view.task, input=serializer.validated_data, owner=str(request.user.pk)
    )
    return redirect("operation", pk=operation.pk)


@guarded
@require_GET
@login_required(login_url="index")
def operation(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Shows what the API answers: the progress, then the result or the problem document."""
    answer = _ask(request, "monitor", pk)
    if answer.status_code != HTTPStatus.OK:
        context = {"problem": answer.data}
        return render(request, "demo_project/operation.html", context, status=answer.status_code)
    document = cast("dict[str, Any]", answer.data)
    context = {
        "operation": document,
        "retry_after": answer.get("Retry-After"),
        "problem": document.get("error"),
    }
    if document["status"] == "succeeded":
        context |= _result(request, document)
    return render(request, "demo_project/operation.html", context)


@guarded
@require_POST
@login_required(login_url="index")
def cancel(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Ask the API to cancel, and show the operation again."""
    _ask(request, "cancel", pk)
    return redirect("operation", pk=pk)


def _ask(request: HttpRequest, name: str, pk: UUID | str) -> Response:
    """The answer of the API to the same user."""
    match = resolve(reverse(f"async_reply:{name}", args=[pk]))
    return cast("Response", match.func(request, *match.args, **match.kwargs))


def _result(request: HttpRequest, document: dict[str, Any]) -> dict[str, Any]:
    """A profile, another JSON value, or the URL alone of a file or a resource."""
    url = document["resourceLocation"]
    if document["kind"] not in JSON_RESULTS:
        return {"url": url}
    value = _ask(request, "result", document["id"]).data
    return {"url": url, "profile" if "columns" in value else "value": value}


def _sample(name: str) -> SimpleUploadedFile:
    if name == "large":
        content = "".join(exports.batches(LARGE_ROWS)).encode()
        return SimpleUploadedFile(f"{LARGE_ROWS}-rows.csv", content, "text/csv")
    return SimpleUploadedFile(SAMPLE.name, SAMPLE.read_bytes(), "text/csv")
