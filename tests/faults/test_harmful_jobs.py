"""Jobs that harm their process run among a hundred good jobs. All good jobs succeed at once."""

import json
from pathlib import Path

import pytest

from tests.faults.clients import Client, ClientRequest
from tests.faults.conftest import FULL
from tests.faults.project.tasks import HARMS
from tests.faults.system import System

pytestmark = pytest.mark.faults

GOOD = 100
PATHS = {"hang": "/hang/"}
#: The harm -> the code of the error.
ERROR_CODES = {
    "crash": "worker-lost",
    "memory": "internal-error",
    "hang": "timed-out",
    "exit": "internal-error",
    "rubbish": "invalid-result",
}


@pytest.mark.slow
@pytest.mark.parametrize("harms", [list(HARMS), *([[harm] for harm in HARMS] if FULL else [])])
def test_harmful_job__does_not_affect_good_jobs(harms: list[str], tmp_path: Path) -> None:
    good = [ClientRequest(f"good-{number}", {}, "/work/", cancels=False) for number in range(GOOD)]
    for request in good:
        request.body = {"seconds": 0, "manner": "silent", "token": request.token}
    bad = [
        ClientRequest(f"bad-{harm}", {"harm": harm}, PATHS.get(harm, "/poison/"), cancels=False)
        for harm in harms
    ]
    mixed = [*good[:50], *bad, *good[50:]]
    with System(tmp_path, database=None, broker=None, lease=2) as system:
        Client(system.base_url, mixed, pace=0, seed=0, watches=False).run()
        rows = json.loads(system.manage("faults_rows", "--wait", "60"))
        unwanted = [ended for ended in system.supervisor.exits if not ended.wanted]
    operations = {row["id"]: row for row in rows["operations"]}
    assert [operations[request.id]["status"] for request in good] == ["succeeded"] * GOOD
    assert [operations[request.id]["attempt"] for request in good] == [1] * GOOD
    codes = {request.body["harm"]: operations[request.id]["error"]["code"] for request in bad}
    assert codes == {harm: ERROR_CODES[harm] for harm in harms}
    assert unwanted == []
