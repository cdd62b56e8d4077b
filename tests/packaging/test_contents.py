"""What is in the wheel and in the sdist."""

import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser

import pytest

import async_reply
from tests.packaging.environments import ROOT, Distribution, run

pytestmark = pytest.mark.packaging

#: In the repository, and of no use to who unpacks the sdist.
NOT_IN_SDIST = {".gitignore", ".ci/run"}


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The files of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no clone: git does not know the files")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def test_wheel__holds_the_package_and_nothing_else(
    distribution: Distribution, tracked: set[str]
) -> None:
    with zipfile.ZipFile(distribution.wheel) as archive:
        names = set(archive.namelist())
    information = {name for name in names if ".dist-info/" in name}
    assert names - information == {name for name in tracked if name.startswith("async_reply/")}
    assert {"LICENSE", "METADATA", "RECORD", "WHEEL", "top_level.txt"} == {
        name.rpartition("/")[2] for name in information
    }


def test_sdist__holds_the_repository(distribution: Distribution, tracked: set[str]) -> None:
    with tarfile.open(distribution.sdist) as archive:
        names = {each.name.partition("/")[2] for each in archive if each.isfile()}
    made = {name for name in names if ".egg-info/" in name} | {"PKG-INFO"}
    assert names - made == tracked - NOT_IN_SDIST


def test_metadata__is_what_an_index_accepts(distribution: Distribution) -> None:
    files = [str(distribution.wheel), str(distribution.sdist)]
    run([sys.executable, "-m", "twine", "check", "--strict", *files], cwd=ROOT)


@pytest.fixture(scope="module")
def metadata(distribution: Distribution) -> Message:
    with zipfile.ZipFile(distribution.wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def test_metadata__names_version_and_licence(metadata: Message) -> None:
    assert (metadata["Version"], metadata["License-Expression"], metadata["License-File"]) == (
        async_reply.__version__,
        "MIT",
        "LICENSE",
    )


def test_metadata__requires_four_libraries(metadata: Message) -> None:
    required = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert {each.partition(">=")[0].lower() for each in required} == {
        "django",
        "djangorestframework",
        "celery",
        "django-celery-results",
    }


def test_metadata__classifiers_are_the_cells_of_tox(metadata: Message) -> None:
    told = set(metadata.get_all("Classifier", []))
    cells = run([sys.executable, "-m", "tox", "list", "--no-desc", "-q"], cwd=ROOT).split()
    factors = {factor for cell in cells for factor in cell.split("-")}
    pythons = {
        f"{each[2]}.{each[3:]}" for each in factors if each[:2] == "py" and each[2:].isdigit()
    }
    djangos = {f"{each[6]}.{each[7:]}" for each in factors if each[:6] == "django"}
    prefixes = {"Programming Language :: Python :: ": pythons, "Framework :: Django :: ": djangos}
    for prefix, expected in prefixes.items():
        found = {each.removeprefix(prefix) for each in told if each.startswith(prefix)}
        assert found - {"3"} == expected
