"""The pages for operators name each metric, and their YAML can be read."""

import re
from pathlib import Path

import pytest

from tests.packaging.documents import HOW_TO, blocks

WATCH = HOW_TO / "watch-and-alert.rst"
PAGES = [page for page in sorted(HOW_TO.glob("*.rst")) if blocks(page, "yaml")]
NAME = re.compile(r"\basync_reply_\w+")

pytestmark = pytest.mark.django_db


@pytest.fixture
def metrics() -> set[str]:
    """The names of the metrics. Counters have their suffix."""
    pytest.importorskip("prometheus_client", reason="needs the extra prometheus")
    from async_reply.contrib.prometheus import OperationCollector

    families = list(OperationCollector().collect())
    return {
        f"{family.name}_total" if family.type == "counter" else family.name for family in families
    }


def test_watch__has_an_action_for_each_metric(metrics: set[str]) -> None:
    rows = re.findall(r"^``(async_reply_\w+)``", WATCH.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(metrics)


def test_watch__alerts_name_metrics_that_there_are(metrics: set[str]) -> None:
    names = set(NAME.findall(blocks(WATCH, "yaml")[1])) - {"async_reply"}
    assert len(names) > 4
    assert names <= metrics


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page__blocks_of_yaml_can_be_read(page: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="needs the package PyYAML")
    for block in blocks(page, "yaml"):
        assert all(isinstance(document, dict) for document in yaml.safe_load_all(block))
