"""Switches webhooks on, in each process whose settings name the app."""

from typing import Any

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class WebhooksConfig(AppConfig):
    name = "async_reply.contrib.webhooks"
    label = "async_reply_webhooks"
    verbose_name = _("Webhooks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from celery.signals import worker_init

        from async_reply import signals
        from async_reply.contrib.webhooks import checks  # noqa: F401 registers them
        from async_reply.services import additions

        if _add_deliveries not in additions.functions:
            additions.functions.append(_add_deliveries)
        if _disown not in additions.of_removed_owners:
            additions.of_removed_owners.append(_disown)
        uid = self.label
        signals.operation_started.connect(_hint, dispatch_uid=f"{uid}.started")
        signals.operation_asked.connect(_hint, dispatch_uid=f"{uid}.asked")
        signals.operation_finished.connect(_hint, dispatch_uid=f"{uid}.finished")
        worker_init.connect(_add_duties, dispatch_uid=f"{uid}.duties")


def _add_deliveries(operation: Any) -> None:
    """Imported with the first submit: `django.setup()` needs none of it."""
    from async_reply.contrib.webhooks import submits

    submits.add_deliveries(operation)


def _disown(owner: str) -> None:
    from async_reply.contrib.webhooks import submits

    submits.disown(owner)


def _hint(operation: Any, **_kwargs: Any) -> None:
    from async_reply.contrib.webhooks import hints

    hints.give(operation)


def _add_duties(**_kwargs: Any) -> None:
    """Add the duties before the worker's maintenance starts."""
    from async_reply.contrib.webhooks.duties import MAKERS
    from async_reply.worker import duties

    duties.additional.extend(make for make in MAKERS if make not in duties.additional)
