"""Real servers log URLs without their valet keys, although no project configures that."""

import sys
from pathlib import Path

import httpx
import pytest

from demo_project.processes import Process, free_port, listens, wait_for
from tests.concurrency import until
from tests.projects.project import Project

pytestmark = [pytest.mark.system, pytest.mark.projects]

#: The name of a server -> the command that starts it on a port.
COMMANDS = {
    "runserver": "django runserver --noreload 127.0.0.1:{port}",
    "uvicorn": "uvicorn project.asgi:application --port {port}",
    "gunicorn": "gunicorn project.asgi:wsgi --bind 127.0.0.1:{port} --access-logfile -",
}
APPS = """
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["rest_framework", "async_reply", "project"]
REST_FRAMEWORK = {"UNAUTHENTICATED_USER": None, "DEFAULT_AUTHENTICATION_CLASSES": []}
"""
ASGI = """
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

application = get_asgi_application()
wsgi = get_wsgi_application()
"""


@pytest.mark.parametrize("server", COMMANDS)
def test_server__writes_urls_without_their_keys(tmp_path: Path, server: str) -> None:
    if server != "runserver":
        pytest.importorskip(server, reason="needs the extra demo")
    project = Project(tmp_path, APPS, {"project/asgi.py": ASGI})
    port = free_port()
    process = Process(
        server,
        [sys.executable, "-u", "-m", *COMMANDS[server].format(port=port).split()],
        logs=tmp_path / "logs",
        environment=project.environment,
        folder=tmp_path,
    )
    try:
        wait_for(lambda: listens(port), processes=[process], what=server)
        url = f"http://127.0.0.1:{port}/operations/odd/"
        assert httpx.get(url, params={"sig": "read.1.secret", "page": 7}).status_code == 404
        until(lambda: "/operations/odd/" in process.tail(50))
    finally:
        process.stop()
    assert "secret" not in process.tail(50)
    assert "sig=***&page=7" in process.tail(50)
