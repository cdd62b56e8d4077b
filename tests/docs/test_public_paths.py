"""The paths that projects import can be imported, and the reference names them."""

from importlib import import_module
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs/reference.rst"

PATHS = [
    "async_reply.admin",
    "async_reply.asgi.waiting",
    "async_reply.client.OperationFailed",
    "async_reply.client.OperationTimeout",
    "async_reply.client.aio",
    "async_reply.client.follow",
    "async_reply.client.submit",
    "async_reply.client.wait_for",
    "async_reply.conf",
    "async_reply.contrib.opentelemetry",
    "async_reply.contrib.prometheus.MetricsView",
    "async_reply.contrib.prometheus.OperationCollector",
    "async_reply.contrib.s3.signed_url",
    "async_reply.contrib.webhooks.replays.replay",
    "async_reply.contrib.webhooks.replays.replay_since",
    "async_reply.contrib.webhooks.replays.send_test",
    "async_reply.contrib.webhooks.signatures.public_key",
    "async_reply.cors.ALLOWED",
    "async_reply.cors.EXPOSED",
    "async_reply.documents",
    "async_reply.documents.links_at",
    "async_reply.estimates.eta",
    "async_reply.estimates.retry_after",
    "async_reply.exceptions.OperationFailed",
    "async_reply.logs.ValetKeyFilter",
    "async_reply.management.commands.async_reply_maintain",
    "async_reply.management.commands.async_reply_status",
    "async_reply.models.Operation",
    "async_reply.models.OperationAttempt",
    "async_reply.models.OperationFile",
    "async_reply.models.OperationResult",
    "async_reply.models.OperationStep",
    "async_reply.permissions.HasOwner",
    "async_reply.permissions.OperationAccess",
    "async_reply.responses.exception_handler",
    "async_reply.services.accept",
    "async_reply.services.cancel",
    "async_reply.services.delete",
    "async_reply.services.owners.remove",
    "async_reply.services.rerun",
    "async_reply.services.submit",
    "async_reply.signals",
    "async_reply.status.Status",
    "async_reply.tasks.Job",
    "async_reply.tasks.operation_task",
    "async_reply.testing.Ending",
    "async_reply.testing.FakeFile",
    "async_reply.testing.FakeJob",
    "async_reply.testing.Interruption",
    "async_reply.testing.Operations",
    "async_reply.testing.Report",
    "async_reply.testing.Shown",
    "async_reply.testing.WorkerLost",
    "async_reply.testing.accepted",
    "async_reply.testing.cancel_at",
    "async_reply.testing.isolated",
    "async_reply.testing.lose_at",
    "async_reply.testing.result_of",
    "async_reply.testing.run_operations",
    "async_reply.testing.stop_at",
    "async_reply.testing.time_out_at",
    "async_reply.urls",
    "async_reply.statistics.health.Limits",
    "async_reply.views.HealthView",
    "async_reply.views.LongRunningOperationMixin",
    "async_reply.views.LongRunningOperationView",
]


@pytest.mark.parametrize("path", PATHS)
def test_public_path__can_be_imported(path: str) -> None:
    module, _, name = path.rpartition(".")
    try:
        import_module(path)
    except ModuleNotFoundError as error:
        if not path.startswith(error.name or "?"):
            raise
        assert hasattr(import_module(module), name)


@pytest.mark.parametrize("path", PATHS)
def test_public_path__is_named_in_the_reference(path: str) -> None:
    """In full, or as a name of a module that the page names."""
    text = REFERENCE.read_text()
    path = path.removeprefix("async_reply.management.commands.")
    module, _, name = path.rpartition(".")
    assert f"``{path}``" in text or (f"``{module}``" in text and f"``{name}" in text)


def test_public_path__of_the_spectacular_extra() -> None:
    pytest.importorskip("drf_spectacular", reason="needs the extra spectacular")
    import_module("async_reply.contrib.spectacular")


def test_task_name__of_scheduled_submits_stays() -> None:
    assert import_module("async_reply.worker.beat").submit.name == "async_reply.submit"
