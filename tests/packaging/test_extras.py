"""Each extra, installed alone, brings the packages that its part needs."""

import shutil
import sys
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.conftest import need_service
from tests.packaging.bench import unpack
from tests.packaging.conftest import Make
from tests.packaging.environments import ROOT, Distribution, Environment

pytestmark = [pytest.mark.packaging, pytest.mark.extras]

Smoke = Callable[[Environment, Distribution, Path], None]

REDIS = """
from kombu import Connection
with Connection("redis://127.0.0.1:6379/5") as connection:
    queue = connection.SimpleQueue("async_reply-extra")
    queue.put("through the broker")
    message = queue.get(timeout=30)
    message.ack()
    assert message.payload == "through the broker"
"""
POSTGRESQL = """
from django.conf import settings
from django.db import connection
database = {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1"}
settings.configure(DATABASES={"default": {**database, "NAME": "postgres", "USER": "postgres"}})
with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
"""

MARIADB = """
try:
    driver.connect(host="127.0.0.1", port=1, user="nobody")
except driver.OperationalError:
    pass
"""
OPENTELEMETRY = """
import django
from django.conf import settings
apps = ["django.contrib.contenttypes", "async_reply", "async_reply.contrib.opentelemetry"]
settings.configure(INSTALLED_APPS=apps)
django.setup()
from async_reply import traces
assert type(traces.tracer).__name__ == "OpenTelemetryTracer"
"""
PROMETHEUS = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "async_reply"])
django.setup()
from prometheus_client import REGISTRY
from async_reply.contrib.prometheus import OperationCollector
REGISTRY.register(OperationCollector())
"""
WEBHOOKS = """
import django
from django.conf import settings
apps = ["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "async_reply"]
settings.configure(
    INSTALLED_APPS=[*apps, "async_reply.contrib.webhooks"],
    SECRET_KEY="x" * 50,
    ASYNC_REPLY={"WEBHOOK_KEYS": ["whsk_" + "A" * 43 + "="]},
)
django.setup()
from datetime import UTC, datetime
from async_reply.contrib.webhooks import encryption, posts, signatures
secret = signatures.new_secret()
assert encryption.decrypt(encryption.encrypt(secret)) == secret
keys = [secret, *settings.ASYNC_REPLY["WEBHOOK_KEYS"]]
assert "v1a," in signatures.sign(keys, "1", datetime.now(UTC), "{}")["webhook-signature"]
assert posts.post("https://127.0.0.1/", b"", {}).error
"""
S3 = """
from django.conf import settings
from storages.backends.s3 import S3Storage
settings.configure()
url = S3Storage(bucket_name="b", access_key="a", secret_key="s").url("name")
assert "Signature" in url, url
"""


def redis(environment: Environment, distribution: Distribution, folder: Path) -> None:
    need_service("Redis", port=6379)
    environment.run("python", "-c", REDIS, cwd=folder)


def postgresql(environment: Environment, distribution: Distribution, folder: Path) -> None:
    need_service("PostgreSQL", port=5432)
    environment.run("python", "-c", POSTGRESQL, cwd=folder)


def s3(environment: Environment, distribution: Distribution, folder: Path) -> None:
    environment.run("python", "-c", S3, cwd=folder)


def pymysql(environment: Environment, distribution: Distribution, folder: Path) -> None:
    environment.run("python", "-c", f"import pymysql as driver{MARIADB}", cwd=folder)


def mysql(environment: Environment, distribution: Distribution, folder: Path) -> None:
    environment.run("python", "-c", f"import MySQLdb as driver{MARIADB}", cwd=folder)


def gevent(environment: Environment, distribution: Distribution, folder: Path) -> None:
    code = "from celery.concurrency.gevent import TaskPool; TaskPool(limit=1)"
    environment.run("python", "-c", code, cwd=folder)


def spectacular(environment: Environment, distribution: Distribution, folder: Path) -> None:
    code = "from django.conf import settings; settings.configure(); import drf_spectacular.openapi"
    environment.run("python", "-c", code, cwd=folder)


def opentelemetry(environment: Environment, distribution: Distribution, folder: Path) -> None:
    environment.run("python", "-c", OPENTELEMETRY, cwd=folder)


def prometheus(environment: Environment, distribution: Distribution, folder: Path) -> None:
    environment.run("python", "-c", PROMETHEUS, cwd=folder)


def webhooks(environment: Environment, distribution: Distribution, folder: Path) -> None:
    environment.run("python", "-c", WEBHOOKS, cwd=folder)


def client(environment: Environment, distribution: Distribution, folder: Path) -> None:
    environment.run("python", "-c", "import async_reply.client.aio", cwd=folder)


def demo(environment: Environment, distribution: Distribution, folder: Path) -> None:
    unpack(distribution.sdist, folder / "bench")
    environment.run("python", "manage.py", "demo", cwd=folder / "bench")


def extras() -> list[str]:
    """The extras of setup.cfg for users of the package. Those for its developers are left out."""
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    for_developers = {"test", "dev", "clients", "docs", "plots"}
    return sorted(set(parser["options.extras_require"]) - for_developers)


@pytest.mark.parametrize("extra", extras())
def test_extra__brings_the_packages_that_it_needs(
    extra: str, environment: Make, distribution: Distribution, tmp_path: Path
) -> None:
    if extra == "mysql" and shutil.which("mariadb_config") is None:
        pytest.skip("mysqlclient is built against libmariadb-dev, which is not installed")
    smoke: Smoke = getattr(sys.modules[__name__], extra)
    smoke(environment(extra=extra), distribution, tmp_path)


def test_requirements__are_enough_to_import_every_module(environment: Make, tmp_path: Path) -> None:
    """Every module but `contrib`, `client` and the plugin can be imported without any extra."""
    code = """
import importlib, pkgutil
import django
from django.conf import settings
apps = ["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes"]
settings.configure(INSTALLED_APPS=[*apps, "django.contrib.messages", "async_reply"])
django.setup()
import async_reply
for module in pkgutil.walk_packages(async_reply.__path__, "async_reply."):
    if not any(part in module.name for part in (".contrib.", ".client", ".pytest_plugin")):
        importlib.import_module(module.name)
print(async_reply.__file__)
"""
    output = environment().run("python", "-W", "error::ImportWarning", "-c", code, cwd=tmp_path)
    assert "site-packages" in output
