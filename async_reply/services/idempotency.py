"""Finds the operation that an earlier request with the same idempotency key has submitted."""

from dataclasses import dataclass

from async_reply.exceptions import KeyReused, OperationGone
from async_reply.models import Operation


@dataclass(frozen=True)
class IdempotencyKey:
    """`digest` identifies caller, view and key; `fingerprint` the request. Both: 64 hex digits."""

    digest: str
    fingerprint: str

    def find(self) -> Operation | None:
        """The operation that was submitted with this key; None if there is none.

        Raises KeyReused if the request was a different one, OperationGone if the operation was
        deleted or has expired.
        """
        operation: Operation | None = (
            Operation.objects.filter(idempotency_digest=self.digest)
            .defer("input", "extra", "error")
            .first()
        )
        if operation is None:
            return None
        if operation.fingerprint != self.fingerprint:
            raise KeyReused("This idempotency key was used for another request: use a new one.")
        if operation.is_gone:
            raise OperationGone(
                "The operation of this idempotency key was deleted or has expired: use a new key."
            )
        return operation
