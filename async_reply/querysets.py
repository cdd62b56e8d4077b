"""Reads of operations, named by adjectives; `lifecycle` alone writes."""

from typing import Any, Self

from django.db import models, router

from async_reply.database.clock import DatabaseNow
from async_reply.status import ACTIVE, UNFINISHED, Status


class PrimaryManager(models.Manager[Any]):
    """Reads from the alias that is written: a replica lags behind.

    Models name it as their base manager as well, by which Django refreshes a row and follows a
    foreign key.
    """

    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().using(self._db or router.db_for_write(self.model))


class OperationQuerySet(models.QuerySet[Any]):
    """Sets of operations by the part of their life they are in."""

    def unfinished(self) -> Self:
        return self.filter(status__in=sorted(UNFINISHED))

    def active(self) -> Self:
        """Held by an attempt."""
        return self.filter(status__in=sorted(ACTIVE))

    def due(self) -> Self:
        """Pending and allowed to start."""
        return self.filter(status=Status.PENDING, available_at__lte=DatabaseNow())

    def unpublished(self) -> Self:
        return self.filter(published_at=None)

    def lost(self) -> Self:
        """Held by an attempt that did not renew its lease."""
        return self.active().filter(lease_expires_at__lte=DatabaseNow())

    def expired(self) -> Self:
        """Those whose content, or whose tombstone, is to be removed."""
        return self.filter(purge_at__lte=DatabaseNow())


OperationManager = PrimaryManager.from_queryset(OperationQuerySet)
