"""Registers the app: its checks, and its receivers of signals.

A process that serves requests needs neither checks nor the worker's modules. `django.setup()`
therefore imports none of them: they come with the first signal, or when the checks run.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

#: Celery's signals, and the functions that receive them in this order.
CELERY_RECEIVERS = (
    ("worker_init", "async_reply.worker.receivers.clear_stop"),
    # It also adds a duty, which the maintenance that starts next takes over.
    ("worker_ready", "async_reply.checks.pools.warn_of_pool"),
    ("worker_ready", "async_reply.worker.receivers.start_maintenance"),
    ("worker_ready", "async_reply.worker.receivers.wrap_stop_handlers"),
    ("worker_shutting_down", "async_reply.worker.receivers.stop_jobs"),
    ("worker_shutdown", "async_reply.worker.receivers.stop_maintenance"),
    ("task_prerun", "async_reply.worker.receivers.reset_process"),
    ("task_revoked", "async_reply.worker.receivers.cancel_revoked"),
    ("task_unknown", "async_reply.worker.receivers.reject_unknown"),
)


class AsyncReplyConfig(AppConfig):
    name = "async_reply"
    verbose_name = _("Asynchronous replies")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # The import of `beat` registers a Celery task.
        from async_reply import logs
        from async_reply.checks import registry
        from async_reply.worker import beat, tracebacks  # noqa: F401

        registry.connect()
        logs.mask_valet_keys()
        tracebacks.drop_logged_failures()
        _listen_to_celery()
        _listen_to_deletions()


def _listen_to_celery() -> None:
    from celery import signals

    for name, path in CELERY_RECEIVERS:
        # The id keeps a second `django.setup()` from connecting it twice.
        getattr(signals, name).connect(_importing(path), weak=False, dispatch_uid=path)


def _listen_to_deletions() -> None:
    """Hear of deleted users. A project without a user model has none to hear of."""
    from django.db.models.signals import post_delete

    from async_reply.services import users

    receiver = _importing("async_reply.services.owners.remove_operations")
    model = users.user_model()
    for sender in users.proxies(model) if model is not None else ():
        post_delete.connect(receiver, sender=sender, weak=False, dispatch_uid="async_reply.owners")


def _importing(path: str) -> Callable[..., None]:
    """A receiver that calls the function at `path`, and imports its module for the first call."""
    module, _dot, name = path.rpartition(".")

    def receive(**arguments: Any) -> None:
        getattr(import_module(module), name)(**arguments)

    return receive
