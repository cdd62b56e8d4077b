"""Takes the callback out of a submit's body, for views with `webhook = True`.

The app `async_reply.contrib.webhooks` knows what a callback may be.
"""

from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.http import QueryDict
from django.utils.module_loading import import_string
from rest_framework.request import Request

from async_reply.models import Operation

#: The members of a body that are for the callback, and not for the job.
URL, EVENTS = "callback", "callback_events"


#: The function that reads and checks the callback of a request, and has it stored with the
#: operation. It raises ValidationError (400).
READER = "async_reply.contrib.webhooks.submits.read_callback"


def read(request: Request, operation: Operation, *, whole: bool) -> None:
    """Read the callback, if the app for it is installed."""
    if not apps.is_installed(READER.rpartition(".submits")[0]):
        raise ImproperlyConfigured(
            'A view has webhook = True: add "async_reply.contrib.webhooks" to INSTALLED_APPS.'
        )
    import_string(READER)(request, operation, whole=whole)


def without(data: Any) -> Any:
    """The body without the members of the callback. A body that is no object has none."""
    if isinstance(data, QueryDict):
        rest = QueryDict(mutable=True, encoding=data.encoding)
        for name, values in data.lists():
            if name not in (URL, EVENTS):
                rest.setlist(name, values)
        return rest
    if isinstance(data, Mapping):
        return {name: value for name, value in data.items() if name not in (URL, EVENTS)}
    return data
