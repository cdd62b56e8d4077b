"""The built distribution, and a maker of environments that install it."""

from collections.abc import Callable

import pytest

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
