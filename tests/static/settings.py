"""The settings of the tests of clients, with valet keys that expire while a test waits."""

from tests.clients.settings import *  # noqa: F403
from tests.clients.settings import ASYNC_REPLY as OTHERS

ASYNC_REPLY = {**OTHERS, "VALET_KEY": 5}
ROOT_URLCONF = "tests.static.urls"
