"""A caller's word that several requests are one."""

from dataclasses import dataclass

from async_reply.exceptions import KeyReused, OperationGone
from async_reply.models import Operation


@dataclass(frozen=True)
class IdempotencyKey:
    """`digest` identifies caller, view and key, `fingerprint` the request: 64 hex digits each."""

    digest: str
    fingerprint: str

    def find(self) -> Operation | None:
        """The operation this key made before.

        Raises KeyReused when another request made it, OperationGone when it was deleted or
        has expired.
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
            raise OperationGone("The operation of this idempotency key is gone: use a new key.")
        return operation
