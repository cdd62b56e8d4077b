"""Checks the types that a project sees: mypy --strict against the installed wheel."""

import shutil
from pathlib import Path

import pytest

from tests.packaging.conftest import Make
from tests.packaging.environments import Environment

pytestmark = pytest.mark.packaging

STUBS = ["celery-types", "django-stubs", "djangorestframework-stubs"]
STRICT = ["--strict", "--warn-unreachable", "--disallow-any-decorated", "--disallow-any-unimported"]


@pytest.fixture(scope="module", params=[[], STUBS], ids=["no-stubs", "stubs-without-plugin"])
def project(request: pytest.FixtureRequest, environment: Make) -> Environment:
    return environment("mypy", *request.param)


def test_consumer__is_fully_typed(project: Environment, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("consumer.py"), tmp_path)
    output = project.run("mypy", *STRICT, "consumer.py", cwd=tmp_path)
    assert output.startswith("Success")
