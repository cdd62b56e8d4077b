"""The types of the modules in static/, with TypeScript and with Node."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import async_reply
from tests.clients.server import lacks

pytestmark = pytest.mark.clients

STATIC = Path(async_reply.__file__).parent / "static" / "async_reply"
SOURCE = Path(__file__).parent / "node"
MOST_LINES = 250

for command in ("node", "npm"):
    if shutil.which(command) is None:
        lacks(f"needs {command}")


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


def test_types__are_strict_and_refuse_mistakes(tmp_path: Path) -> None:
    """Each @ts-expect-error line of the consumer is an error, and no other line is one."""
    shutil.copytree(SOURCE, tmp_path, dirs_exist_ok=True)
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
    installed = run(*install, folder=tmp_path)
    if installed.returncode:
        lacks(f"npm cannot install: {installed.stderr[-500:]}")
    options = {
        "strict": True,
        "noEmit": True,
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "lib": ["es2022", "dom", "dom.iterable"],
        "types": [],
        "paths": {"async_reply/*": [f"{STATIC}/*"]},
    }
    config = {"compilerOptions": options, "files": ["consumer.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    checked = run("npx", "tsc", "--project", ".", folder=tmp_path)
    assert (checked.stdout, checked.returncode) == ("", 0)


@pytest.mark.parametrize("module", ["client", "log"])
def test_types__name_what_the_module_exports(tmp_path: Path, module: str) -> None:
    program = f"import * as m from {json.dumps((STATIC / f'{module}.js').as_uri())};"
    (tmp_path / "names.mjs").write_text(f"{program} console.log(Object.keys(m).join())")
    names = run("node", "names.mjs", folder=tmp_path).stdout.strip().split(",")
    types = (STATIC / f"{module}.d.ts").read_text()
    assert sorted(re.findall(r"^export (?:class|function) (\w+)", types, re.MULTILINE)) == names


def test_client__is_one_short_module_without_imports() -> None:
    text = (STATIC / "client.js").read_text()
    assert len(text.splitlines()) <= MOST_LINES
    assert not re.search(r"^import\b|\bimport\(", text, re.MULTILINE)
