"""Jobs that harm their process, among a hundred good ones: those are done as if nothing was."""

import json
from pathlib import Path

import pytest

from tests.faults.clients import Asked, Client
from tests.faults.conftest import FULL
from tests.faults.project.tasks import VENOMS
from tests.faults.system import System

pytestmark = pytest.mark.faults

GOOD = 100
PATHS = {"hang": "/hang/"}
ENDS = {
    "crash": "worker-lost",
    "memory": "internal-error",
    "hang": "timed-out",
    "exit": "internal-error",
    "rubbish": "invalid-result",
}


@pytest.mark.parametrize("venoms", [list(VENOMS), *([[one] for one in VENOMS] if FULL else [])])
def test_poison__harms_nobody_else(venoms: list[str], tmp_path: Path) -> None:
    good = [Asked(f"good-{number}", {}, "/work/", cancels=False) for number in range(GOOD)]
    for wish in good:
        wish.body = {"seconds": 0, "manner": "silent", "token": wish.token}
    bad = [
        Asked(f"bad-{venom}", {"venom": venom}, PATHS.get(venom, "/poison/"), cancels=False)
        for venom in venoms
    ]
    mixed = [*good[:50], *bad, *good[50:]]
    with System(tmp_path, database=None, broker=None, lease=2) as system:
        Client(system.base_url, mixed, pace=0, seed=0, watches=False).run()
        rows = json.loads(system.manage("faults_rows", "--wait", "60"))
        unwanted = [one for one in system.supervisor.exits if not one.wanted]
    operations = {row["id"]: row for row in rows["operations"]}
    assert [operations[wish.id]["status"] for wish in good] == ["succeeded"] * GOOD
    assert [operations[wish.id]["attempt"] for wish in good] == [1] * GOOD
    codes = {wish.body["venom"]: operations[wish.id]["error"]["code"] for wish in bad}
    assert codes == {venom: ENDS[venom] for venom in venoms}
    assert unwanted == []
