"""Unpacks the sdist for tox, which runs the suite against the installed package.

tox runs `python bench.py FOLDER`. The variable TOX_PACKAGE names the file that tox installed.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PRINT_LOCATION = "import async_reply; print(async_reply.__file__)"


def unpack(sdist: Path, bench: Path) -> None:
    """Unpack the sdist, without the package itself, into the new folder `bench`."""
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
    command = [sys.executable, "-c", PRINT_LOCATION]
    process = subprocess.run(command, cwd=bench, capture_output=True, text=True, check=True)
    location = process.stdout
    if "site-packages" not in location:
        sys.exit(f"The suite would not test the installed package, but {location}")
    sys.stdout.write(f"The suite runs against {location}")


if __name__ == "__main__":
    main()
