"""Checks the types that a project sees: mypy and pyright, both strict, against the installed wheel.

basedpyright is pyright with a Node.js of its own, so that pip alone installs it.
"""

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


def test_consumer__is_fully_typed_for_pyright(environment: Make, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("consumer.py"), tmp_path)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    project = environment("basedpyright", *STUBS)
    output = project.run("basedpyright", "consumer.py", cwd=tmp_path)
    assert "0 errors, 0 warnings" in output
