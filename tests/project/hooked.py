"""Settings whose webhooks may be sent to receivers of a test, over http on this machine."""

from tests.settings import *  # noqa: F403
from tests.settings import ASYNC_REPLY

ASYNC_REPLY = {
    **ASYNC_REPLY,
    "WEBHOOK_SCHEMES": ["http"],
    "WEBHOOK_NETWORKS": ["127.0.0.0/8"],
}
