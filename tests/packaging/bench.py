"""Unpack the sdist for a run of the suite against the installed package.

`python bench.py FOLDER` in an environment of tox, which names what it installed in TOX_PACKAGE.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

WHERE = "import async_reply; print(async_reply.__file__)"


def unpack(sdist: Path, bench: Path) -> None:
    """All of the sdist into the new folder `bench`, but for the package."""
    shutil.rmtree(bench, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(bench.parent, filter="data")
    (bench.parent / sdist.name.removesuffix(".tar.gz")).rename(bench)
    shutil.rmtree(bench / "async_reply")


def main() -> None:
    bench = Path(sys.argv[1])
    package = Path(os.environ["TOX_PACKAGE"])
    # A wheel lies beside the sdist it was built from.
    sdist = package if package.suffix == ".gz" else next(package.parent.glob("*.tar.gz"))
    unpack(sdist, bench)
    command = [sys.executable, "-c", WHERE]
    found = subprocess.run(command, cwd=bench, capture_output=True, text=True, check=True).stdout
    if "site-packages" not in found:
        sys.exit(f"The suite would run against {found}and not what was installed.")
    sys.stdout.write(f"The suite runs against {found}")


if __name__ == "__main__":
    main()
