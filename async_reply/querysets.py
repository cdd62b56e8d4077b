"""Selects operations, by methods that are named after adjectives. Only `lifecycle` writes them."""

from typing import Any, Self

from django.db import models, router

from async_reply.database.clock import DatabaseNow
from async_reply.status import ACTIVE, UNFINISHED, Status


class PrimaryManager(models.Manager[Any]):
    """Reads from the database that is written: a replica may be late.

    Each model has it as its base manager too: Django uses that one to refresh a row and to follow
    a foreign key.
    """

    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().using(self._db or router.db_for_write(self.model))


class OperationQuerySet(models.QuerySet[Any]):
    """Operations, selected by their status and times."""

    def unfinished(self) -> Self:
        return self.filter(status__in=sorted(UNFINISHED))

    def active(self) -> Self:
        """Operations that an attempt holds."""
        return self.filter(status__in=sorted(ACTIVE))

    def due(self) -> Self:
        """Operations that are pending and may start."""
        return self.filter(status=Status.PENDING, available_at__lte=DatabaseNow())

    def given_up(self) -> Self:
        """Unfinished operations whose time for all attempts together is over.

        Some may still run, until a rescue ends them. Without the status SQLite takes the index.
        """
        return self.filter(give_up_at__lte=DatabaseNow(), available_at__lte=DatabaseNow())

    def unpublished(self) -> Self:
        return self.filter(published_at=None)

    def lost(self) -> Self:
        """Operations of attempts whose lease is over."""
        return self.active().filter(lease_expires_at__lte=DatabaseNow())

    def expired(self) -> Self:
        """Operations whose content, or whose tombstone, is to be purged."""
        return self.filter(purge_at__lte=DatabaseNow())


OperationManager = PrimaryManager.from_queryset(OperationQuerySet)
