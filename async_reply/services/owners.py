"""What becomes of a user's operations when the user is deleted."""

from typing import Any

from django.db import transaction
from django.db.models import Model
from django.db.models.signals import post_delete

from async_reply import conf, services
from async_reply.database import alias
from async_reply.exceptions import AlreadyFinished, NotCancelable
from async_reply.models import Operation
from async_reply.services import retention, users


def listen() -> None:
    """Hear of each user that is deleted; of none in a project without a model of users."""
    model = users.user_model()
    for each in users.proxies(model) if model is not None else ():
        post_delete.connect(remove_operations, sender=each, dispatch_uid="async_reply.owners")


def remove_operations(sender: type[Model], instance: Model, **_kwargs: Any) -> None:
    """With the setting USER_DELETED = "remove": cancel what runs and let the rest expire."""
    if conf.get("USER_DELETED") == "remove":
        # As OperationAccess.get_owner names a user; for other owners the project calls `remove`.
        remove(str(instance.pk))


def remove(owner: str) -> None:
    """Cancel and expire all operations of `owner`; purge then removes their content."""
    if not owner:
        raise ValueError("The operations of nobody cannot be removed: name an owner.")
    with transaction.atomic(using=alias()):
        retention.disown(owner)
        for operation in Operation.objects.unfinished().filter(owner=owner).iterator():
            try:
                services.cancel(operation)
            except (AlreadyFinished, NotCancelable):
                # It expires as soon as it has finished.
                continue
