"""How often a caller may ask."""

import hashlib
from typing import TYPE_CHECKING, Any

from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle

from async_reply import conf

if TYPE_CHECKING:
    # It imports the project's authentication, whose module may hold its OperationAccess as well.
    from rest_framework.views import APIView


class PollThrottle(UserRateThrottle):
    """`POLL_RATE` per caller, in a bucket of its own: a submit never uses up a poll."""

    scope = "async_reply"

    def get_rate(self) -> Any:
        return conf.get("POLL_RATE")

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        """By owner, as lists and quotas are; by address where there is none."""
        owner = view.access.get_owner(request) or f"from {self.get_ident(request)}"
        # Caches do not take each text for a key.
        ident = hashlib.sha256(str(owner).encode()).hexdigest()
        return self.cache_format % {"scope": self.scope, "ident": ident}

    def allow_request(self, request: Request, view: "APIView") -> bool:
        return self.rate is None or super().allow_request(request, view)
