"""Serving with ASGI: clients that wait cost neither a thread nor a database connection."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from async_reply.waiting.application import ParkingLot


def waiting(application: Any) -> "ParkingLot":
    """Wrap a project's ASGI application: `application = waiting(get_asgi_application())`.

    Each request goes through Django as ever. Those that wait are then parked outside of it, until
    there is something to say. All else passes through untouched.
    """
    # By now Django is set up; when this module is imported it need not be.
    from async_reply.waiting.application import ParkingLot

    return ParkingLot(application)
