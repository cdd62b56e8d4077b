"""Removes the operations of a user who is deleted, where the project's settings ask for it."""

from typing import Any

from django.db import transaction
from django.db.models import F, Model

from async_reply import conf, lifecycle, services
from async_reply.database import alias
from async_reply.database.clock import DatabaseNow
from async_reply.exceptions import AlreadyFinished, NotCancelable
from async_reply.models import Operation
from async_reply.services import additions
from async_reply.status import FINAL


def remove_operations(sender: type[Model], instance: Model, **_kwargs: Any) -> None:
    """With the setting USER_DELETED = "remove": remove the operations of the deleted user."""
    if conf.get("USER_DELETED") == "remove":
        # OperationAccess.get_owner names a user so. For other owners the project calls `remove`.
        remove(str(instance.pk))


def remove(owner: str) -> None:
    """Cancel and expire all operations of `owner`; a purge then removes their content.

    Clients that wait for one of them are told at once. Raises ValueError for an empty owner.
    """
    if not owner:
        raise ValueError("The operations of nobody cannot be removed: name an owner.")
    with transaction.atomic(using=alias()):
        for operation in Operation.objects.unfinished().filter(owner=owner).iterator():
            _remove_unfinished(operation)
        # The finished ones come last: some have finished since the loop began.
        finished = Operation.objects.filter(owner=owner, deleted_at=None, status__in=sorted(FINAL))
        now = DatabaseNow()
        finished.update(expires_at=now, purge_at=now, updated_at=now, version=F("version") + 1)
        for function in additions.of_removed_owners:
            function(owner)


def _remove_unfinished(operation: Operation) -> None:
    lifecycle.expire(operation)
    try:
        services.cancel(operation)
    except (AlreadyFinished, NotCancelable):
        # It is purged once it has finished.
        return
