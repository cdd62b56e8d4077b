"""Serves with ASGI: clients that wait need neither a thread nor a database connection."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from async_reply.waiting.application import WaitingApplication


def waiting(application: Any) -> "WaitingApplication":
    """Wrap a project's ASGI application: `application = waiting(get_asgi_application())`.

    Each request goes to Django as before. Clients that wait are then held outside Django until
    there is something to tell. All other answers pass unchanged.
    """
    # Django is set up when this is called, but maybe not when this module is imported.
    from async_reply.waiting.application import WaitingApplication

    return WaitingApplication(application)
