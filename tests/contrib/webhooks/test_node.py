"""A message is verified by a second implementation: the library from npm, in Node."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from pytest_django import Settings

from async_reply import services
from async_reply.contrib.webhooks import hints, signatures
from async_reply.testing import run_operations
from tests.clients.server import lacks
from tests.contrib.webhooks.receivers import Receiver
from tests.project.tasks import echo

pytestmark = [pytest.mark.clients, pytest.mark.django_db]

SOURCE = Path(__file__).parent / "node"
PRIVATE_KEY = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, with the package that package.json pins."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        lacks("needs node and npm")
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
    process = subprocess.run(
        install, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    if process.returncode:
        lacks(f"npm cannot install: {process.stderr[-500:]}")
    return folder


def verify(package: Path, **message: Any) -> Any:
    shown = subprocess.check_output(
        ["node", "verify.mjs", json.dumps(message)],
        cwd=package,
        env={"PATH": os.environ["PATH"]},
        text=True,
        timeout=60,
    )
    return json.loads(shown)


def test_message__is_verified_in_node(
    package: Path,
    user: AbstractBaseUser,
    endpoint: Any,
    receiver: Receiver,
    deliver: Callable[[], int],
    settings: Settings,
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WEBHOOK_KEYS": [PRIVATE_KEY]}
    services.submit(echo, input={"text": "ä"}, owner=str(user.pk))
    run_operations()
    hints.mark()
    assert deliver() == 1
    ((headers, body),) = receiver.requests
    message: dict[str, Any] = {
        "secret": endpoint.plain_secret,
        "publicKey": signatures.public_key(PRIVATE_KEY),
        "headers": headers,
        "body": body,
    }
    assert verify(package, **message) == {"hmac": "operation.succeeded", "ed25519": True}
    forged = {**message, "body": body.replace("succeeded", "failed")}
    assert verify(package, **forged) == {"hmac": "WebhookVerificationError", "ed25519": False}
