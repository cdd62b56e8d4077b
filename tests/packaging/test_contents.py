"""The contents and the metadata of the wheel and the sdist."""

import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser

import pytest

import async_reply
from tests.packaging.environments import ROOT, Distribution, repository_files, run

pytestmark = pytest.mark.packaging

#: Files of the repository that a reader of the sdist does not need.
NOT_IN_SDIST = {".gitignore", ".ci/run"}


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The files of the repository."""
    return repository_files()


def test_wheel__contains_only_the_package(distribution: Distribution, tracked: set[str]) -> None:
    with zipfile.ZipFile(distribution.wheel) as archive:
        names = set(archive.namelist())
    information = {name for name in names if ".dist-info/" in name}
    assert names - information == {name for name in tracked if name.startswith("async_reply/")}
    assert {"LICENSE", "METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"} == {
        name.rpartition("/")[2] for name in information
    }


def test_sdist__contains_the_repository(distribution: Distribution, tracked: set[str]) -> None:
    with tarfile.open(distribution.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    generated = {name for name in names if ".egg-info/" in name} | {"PKG-INFO"}
    assert names - generated == tracked - NOT_IN_SDIST


def test_metadata__is_accepted_by_twine(distribution: Distribution) -> None:
    files = [str(distribution.wheel), str(distribution.sdist)]
    run([sys.executable, "-m", "twine", "check", "--strict", *files], cwd=ROOT)


@pytest.fixture(scope="module")
def metadata(distribution: Distribution) -> Message:
    with zipfile.ZipFile(distribution.wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def test_metadata__has_absolute_urls(metadata: Message) -> None:
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL") or [])
    assert "Pattern" in urls
    assert all(url.startswith("https://") for url in urls.values())


def test_metadata__names_version_and_licence(metadata: Message) -> None:
    assert (metadata["Version"], metadata["License-Expression"], metadata["License-File"]) == (
        async_reply.__version__,
        "MIT",
        "LICENSE",
    )


def test_metadata__requires_four_libraries(metadata: Message) -> None:
    lines = metadata.get_all("Requires-Dist", [])
    assert {line.partition(">=")[0].lower() for line in lines if "extra ==" not in line} == {
        "django",
        "djangorestframework",
        "celery",
        "django-celery-results",
    }


def test_metadata__classifiers_are_the_versions_that_tox_runs(metadata: Message) -> None:
    classifiers = set(metadata.get_all("Classifier", []))
    cells = run([sys.executable, "-m", "tox", "list", "--no-desc", "-q"], cwd=ROOT).split()
    factors = {factor for cell in cells for factor in cell.split("-")}
    pythons = {
        f"{factor[2]}.{factor[3:]}"
        for factor in factors
        if factor[:2] == "py" and factor[2:].isdigit()
    }
    djangos = {f"{factor[6]}.{factor[7:]}" for factor in factors if factor[:6] == "django"}
    prefixes = {"Programming Language :: Python :: ": pythons, "Framework :: Django :: ": djangos}
    for prefix, expected in prefixes.items():
        versions = {line.removeprefix(prefix) for line in classifiers if line.startswith(prefix)}
        assert versions - {"3"} == expected
