"""The built distribution, a maker of environments that install it, and the previous commit."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging.commits import export, previous_commit
from tests.packaging.environments import Distribution, Environment

Make = Callable[..., Environment]


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return Distribution.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, distribution: Distribution) -> Make:
    """Makes an environment with the wheel, one of its extras, and further requirements."""

    def make(*requirements: str, extra: str = "") -> Environment:
        environment = Environment.create(tmp_path_factory.mktemp("environment"))
        wheel = f"{distribution.wheel}[{extra}]" if extra else str(distribution.wheel)
        environment.install(wheel, *requirements)
        return environment

    return make


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the previous commit."""
    return export(previous_commit(), tmp_path_factory.mktemp("commit") / "previous")
