"""The job of a FHIR bulk export, which only clients of FHIR submit."""

from typing import Any

from async_reply.attempts.jobs import Job
from async_reply.exceptions import OperationFailed
from async_reply.tasks import operation_task
from tests.project.questions import approve as approve


@operation_task(name="clients.bulk_export")
def bulk_export(operation: Job, *, request: str, types: list[str], files: str) -> dict[str, Any]:
    """The manifest of a FHIR bulk export."""
    if "Unicorn" in types:
        raise OperationFailed("There are no unicorns.", code="not-supported", status_code=422)
    return {
        "transactionTime": "2026-11-24T00:00:00Z",
        "request": request,
        "requiresAccessToken": True,
        "output": [{"type": name, "url": f"{files}{name}.ndjson"} for name in types],
        "error": [],
    }
