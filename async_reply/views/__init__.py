"""The views: a project subclasses those that submit, and includes the others by their URLs."""

from async_reply.views.events import EventsView
from async_reply.views.health import HealthView
from async_reply.views.inputs import InputView
from async_reply.views.lists import ListView
from async_reply.views.log import LogView
from async_reply.views.operations import CancelView, MonitorView, StatusView
from async_reply.views.results import ResultView
from async_reply.views.submit import LongRunningOperationMixin, LongRunningOperationView

__all__ = [
    "CancelView",
    "EventsView",
    "HealthView",
    "InputView",
    "ListView",
    "LogView",
    "LongRunningOperationMixin",
    "LongRunningOperationView",
    "MonitorView",
    "ResultView",
    "StatusView",
]
