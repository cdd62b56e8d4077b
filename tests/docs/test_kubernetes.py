"""The manifests of the page about Kubernetes are valid YAML, and their times fit each other."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from async_reply import conf
from async_reply.contrib import prometheus
from async_reply.models import Worker
from tests.packaging.documents import HOW_TO, blocks, snippets

PAGE = HOW_TO / "kubernetes.rst"


def manifests() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    return [yaml.safe_load(block) for block in blocks(PAGE, "yaml")]


def pod(name: str) -> dict[str, Any]:
    """The pod of a deployment, with its one container merged into it."""
    [spec] = [
        manifest["spec"]["template"]["spec"]
        for manifest in manifests()
        if manifest["kind"] == "Deployment" and manifest["metadata"]["name"] == name
    ]
    [container] = spec["containers"]
    return {**spec, **container}


def test_web__stops_after_its_waiting_clients() -> None:
    web = pod("web")
    command = web["command"]
    graceful = int(command[command.index("--graceful-timeout") + 1])
    pause = int(web["lifecycle"]["preStop"]["exec"]["command"][1])
    assert conf.DEFAULTS["MAX_WAIT"] < graceful
    assert pause + graceful <= web["terminationGracePeriodSeconds"]


def test_web__probes_ask_urls_of_the_page() -> None:
    urls = dict(snippets(PAGE))["project/urls.py"]
    paths = [pod("web")[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")]
    assert [path for path in paths if f'path("{path[1:]}"' not in urls] == []


def test_scaling__asks_for_a_metric_that_there_is() -> None:
    [scaled] = [manifest for manifest in manifests() if manifest["kind"] == "ScaledObject"]
    [trigger] = scaled["spec"]["triggers"]
    assert 'oldest_waiting_seconds{queue="celery"}' in trigger["metadata"]["query"]
    assert "oldest_waiting_seconds" in Path(prometheus.__file__).read_text()
    assert scaled["spec"]["scaleTargetRef"]["name"] == "worker"
    assert pod("worker")["livenessProbe"]["exec"]["command"][-1] == "project.probe"


@pytest.mark.django_db
@pytest.mark.parametrize(("seconds", "expected"), [(10, True), (600, False), (None, False)])
def test_probe__of_a_worker_asks_for_its_own_row(seconds: int | None, expected: bool) -> None:
    if seconds is not None:
        seen_at = timezone.now() - timedelta(seconds=seconds)
        Worker.objects.create(name="celery@one", seen_at=seen_at, concurrency=4, queues=["celery"])
    now = timezone.now()
    Worker.objects.create(name="celery@two", seen_at=now, concurrency=4, queues=["celery"])
    assert is_alive("celery@one") is expected


def test_probe__of_a_worker_passes_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_kwargs: Any) -> Any:
        raise OperationalError("the database is away")

    monkeypatch.setattr(Worker.objects, "filter", refuse)
    assert is_alive("celery@one")


def is_alive(name: str) -> bool:
    """The probe of the page."""
    names: dict[str, Any] = {"__name__": "project.probe"}
    exec(dict(snippets(PAGE))["project/probe.py"], names)
    result: bool = names["is_alive"](name)
    return result
