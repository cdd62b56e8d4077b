"""The settings of the fault suite with webhooks, to receivers on this machine.

FAULTS_DEATHS is a folder: a process dies once at each boundary (see `project.deaths`).
"""

from tests.faults.settings import *  # noqa: F403
from tests.faults.settings import ASYNC_REPLY, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "async_reply.contrib.webhooks"]
ASYNC_REPLY = {
    **ASYNC_REPLY,
    "WEBHOOK_SCHEMES": ["http"],
    "WEBHOOK_NETWORKS": ["127.0.0.1/32"],
}
