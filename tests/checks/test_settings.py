"""Checks of ASYNC_REPLY: its keys, and the storage, class and functions that keys name."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from pytest_django import Settings
from rest_framework.permissions import IsAdminUser

from async_reply import conf
from async_reply.permissions import OperationAccess
from async_reply.storage import operation_storage
from tests.checks.messages import ids

ROOT = Path(__file__).parents[2]


def test_checks__find_nothing_in_the_demo() -> None:
    assert ids() == []
    assert ids(include_deployment_checks=True) == []


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ([], ["async_reply.E010"]),
        ({"LEESE": 3}, ["async_reply.E011"]),
        ({"LEASE": "long"}, ["async_reply.E012"]),
        ({"BATCH": 0, "MAX_INPUT": -1}, ["async_reply.E012", "async_reply.E012"]),
        ({"REDIRECT_HOSTS": "example.org"}, ["async_reply.E012"]),
        ({"REDIRECT_HOSTS": 7}, ["async_reply.E012"]),
        ({"POLL_RATE": 7}, ["async_reply.E012"]),
        ({"STORAGE": "nowhere"}, ["async_reply.E013"]),
        ({"STORAGE": ["default"]}, ["async_reply.E012"]),
        ({"ACCESS": "nowhere.Access"}, ["async_reply.E014"]),
        ({"ACCESS": "tests.project.broken.Access"}, ["async_reply.E014"]),
        ({"ACCESS": "rest_framework.permissions"}, ["async_reply.E018"]),
        ({"ACCESS": "tests.project.access.StatelessUser"}, ["async_reply.E018"]),
        ({"ACCESS": "tests.project.access.TenantAccess"}, []),
        ({"NOTIFY": "carrier pigeon"}, ["async_reply.E012"]),
        ({"MAX_WAIT": -1, "WAIT_THREADS": 0.5}, ["async_reply.E012", "async_reply.E012"]),
        ({"SIGNED_URL": "nowhere.sign"}, ["async_reply.E016"]),
        ({"SIGNED_URL": "tests.project.broken.sign"}, ["async_reply.E016"]),
        ({"SIGNED_URL": 7}, ["async_reply.E012"]),
        ({"AROUND_JOB": "nowhere.schema"}, ["async_reply.E019"]),
    ],
)
def test_settings__with_mistakes(settings: Settings, configured: Any, expected: list[str]) -> None:
    settings.ASYNC_REPLY = configured
    assert [name for name in ids() if name.startswith("async_reply.E01")] == expected


def test_settings__each_default_is_valid() -> None:
    refused = [
        key for key, setting in conf.SETTINGS.items() if not setting.values.include(setting.default)
    ]
    assert refused == []


@pytest.mark.parametrize("key", ["WEBHOOK_KEYS", "WEBHOOK_PROXY"])
def test_wrong_value_of_a_secret__is_not_shown(settings: Settings, key: str) -> None:
    settings.ASYNC_REPLY = {key: "socks5://user:the-secret@proxy"}
    (message,) = run_checks()
    assert message.id == "async_reply.E012"
    assert "the-secret" not in str(message)


def test_storage__published_by_web_servers(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"STORAGE": "default"}
    assert ids(include_deployment_checks=True) == ["async_reply.W104"]
    settings.ASYNC_REPLY = {"STORAGE": "nowhere"}
    assert ids(include_deployment_checks=True) == ["async_reply.E013"]


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ({"STORAGE": "nowhere"}, "E013"),
        ({"STORAGE": ["default"]}, "E012"),
        ([], "E010"),
        (None, "E010"),
    ],
)
def test_settings__with_mistakes_let_models_load(
    tmp_path: Path, configured: Any, expected: str
) -> None:
    lines = ["from tests.settings import *", f"ASYNC_REPLY = {configured!r}"]
    (tmp_path / "mistaken.py").write_text("\n".join(lines))
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--tag", "async_reply"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "mistaken"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert re.findall(r"async_reply\.(E\d+)", done.stderr) == [expected], done.stderr


def test_storage__without_an_alias_stores_nothing(settings: Settings) -> None:
    settings.ASYNC_REPLY = {"STORAGE": "nowhere"}
    storage = operation_storage()
    with pytest.raises(ImproperlyConfigured, match="STORAGE"):
        storage.save("name", ContentFile(b"private"))
    with pytest.raises(ImproperlyConfigured, match="STORAGE"):
        storage.open("name")


@pytest.mark.parametrize(("size", "expected"), [(0, ["async_reply.W108"]), (1024 * 1024, [])])
def test_storage__that_reads_whole_files(
    settings: Settings, size: int, expected: list[str]
) -> None:
    pytest.importorskip("storages.backends.s3", reason="needs the extra s3")
    options = {"bucket_name": "x", "max_memory_size": size}
    s3 = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "operations": s3}
    assert ids(include_deployment_checks=True) == expected


class MisspeltAccess(OperationAccess):
    permision_classes = [IsAdminUser]


def test_access__with_a_misspelt_name(settings: Settings) -> None:
    settings.ASYNC_REPLY = {
        **settings.ASYNC_REPLY,
        "ACCESS": "tests.checks.test_settings.MisspeltAccess",
    }
    [message] = run_checks(tags=["async_reply"], databases=[])
    assert (message.id, "permission_classes" in str(message.hint)) == ("async_reply.W116", True)
