"""Checks that workers import the modules of tasks that views name."""

import gc
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from celery import current_app, signals
from pytest_django import Settings

from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.checks import discovery
from async_reply.checks.mounted import Mounted
from async_reply.views import LongRunningOperationView

Shop = Callable[..., list[str]]


@pytest.fixture
def shop(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Makes an app of these files, imports them, and checks the task of its module `shop.jobs`."""
    folder = tmp_path / "shop"
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def check(**files: str) -> list[str]:
        for name, text in {"__init__": "", "jobs": "", **files}.items():
            path = folder / f"{name.replace('__of__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "shop"]
        for name in files:
            import_module(f"shop.{name.replace('__of__', '.')}".removesuffix(".__init__"))

        def function(operation: Job) -> None: ...

        function.__module__ = "shop.jobs"
        kind = Kind(name="shop.jobs.function", function=function)
        view = Mounted(LongRunningOperationView, {})
        return [str(message.id) for message in discovery.check_module(view, kind)]

    yield check
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "shop":
            del sys.modules[name]


@pytest.mark.parametrize(
    "files",
    [
        {"tasks": "import shop.jobs"},
        {"tasks": "from shop import jobs"},
        {"tasks": "from .jobs import function as job", "jobs": "function = None"},
        {"tasks": "def later():\n    from . import jobs"},
        {"__init__": "", "tasks": "from shop import more", "more": "from shop.jobs import *"},
        {"apps": "from django.apps import AppConfig\nfrom shop import jobs"},
        {"tasks__of__one": "from .. import jobs", "tasks__of____init__": "from . import one"},
        {"tasks": "from importlib import import_module\nimport_module('shop.jo' + 'bs')"},
        {"tasks": "import importlib\nfor name in ['jobs']: importlib.import_module('shop.jobs')"},
    ],
)
def test_module__that_workers_import(shop: Shop, files: dict[str, str]) -> None:
    assert shop(**files) == []


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"views": "from shop import jobs"},
        {"tasks": "import shop.other", "other": ""},
        {"tasks": "from shop import other", "other": "jobs = 'shop.jobs'"},
        {"tasks": "import json, django.apps, rest_framework.views"},
    ],
)
def test_module__that_only_views_import(shop: Shop, files: dict[str, str]) -> None:
    assert shop(**files) == ["async_reply.W114"]


def test_module__that_a_setting_names(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_app.loader, "default_modules", ("shop.jobs",))
    assert shop() == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((None, "jobs"), []),
        ((None, "works"), ["async_reply.W114"]),
        ((["shop.hidden"], "jobs"), []),
    ],
)
def test_module__that_autodiscovery_names(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, arguments: Any, expected: list[str]
) -> None:
    monkeypatch.setattr(signals.import_modules, "receivers", [*signals.import_modules.receivers])
    current_app.autodiscover_tasks(*arguments)
    assert shop() == expected


def test_module__after_a_receiver_is_gone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reference stays among the receivers until the next one is connected."""
    monkeypatch.setattr(signals.import_modules, "receivers", [*signals.import_modules.receivers])

    def load(**_kwargs: Any) -> None: ...

    signals.import_modules.connect(load)
    del load
    gc.collect()
    assert shop() == ["async_reply.W114"]


def test_module__with_a_receiver_of_the_project(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may import any module."""
    monkeypatch.setattr(signals.import_modules, "receivers", [*signals.import_modules.receivers])

    def load(**_kwargs: Any) -> None: ...

    signals.import_modules.connect(load)
    assert shop() == []
