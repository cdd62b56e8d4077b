"""Each invariant of webhooks detects its breach."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="needs the extra webhooks")
pytest.importorskip("standardwebhooks", reason="needs the extra webhooks")

from async_reply.contrib.webhooks import signatures
from tests.faults.hook_invariants import HookEvidence, breaches

SECRET = signatures.new_secret()
PK = "01a226c6-c7a7-7af2-a79a-e13d470d63bf"


def request(event: str, *, secret: str = SECRET, behaves: bool = True, pk: str = PK) -> Any:
    body = json.dumps({"type": event})
    headers = signatures.sign([secret], f"{pk}.{event}", datetime.now(UTC), body)
    return {"manner": "well", "headers": headers, "body": body, "behaves": behaves}


def judge(*requests: Any, status: str = "succeeded", deliveries: Any = None) -> dict[str, Any]:
    if deliveries is None:
        deliveries = [{"operation": PK, "state": "delivered"}]
    rows = {"operations": [{"id": PK, "status": status}], "deliveries": deliveries}
    return breaches(HookEvidence(rows, list(requests), {"well": SECRET}))


def test_messages_in_order__breach_nothing() -> None:
    failed = request("succeeded", behaves=False)
    assert judge(request("started.1"), request("started.2"), failed, request("succeeded")) == {}


ALTERED = {**request("succeeded"), "body": '{"type": "other"}'}
OTHER = "11a226c6-c7a7-7af2-a79a-e13d470d63bf"


@pytest.mark.parametrize(
    ("requests", "rest", "broken"),
    [
        ([], {}, "outcome_was_delivered"),
        ([request("succeeded", behaves=False)], {}, "outcome_was_delivered"),
        ([request("succeeded")], {"status": "running"}, "outcome_was_delivered"),
        ([request("succeeded"), request("started.1")], {}, "nothing_follows_the_outcome"),
        (
            [request("started.2"), request("started.1"), request("succeeded")],
            {},
            "nothing_follows_the_outcome",
        ),
        ([request("failed"), request("succeeded")], {}, "one_outcome_each"),
        ([request("succeeded"), ALTERED], {}, "one_outcome_each"),
        ([request("succeeded", secret=signatures.new_secret())], {}, "messages_are_signed"),
        ([request("succeeded")], {"deliveries": []}, "rows_say_so"),
        (
            [request("succeeded")],
            {"deliveries": [{"operation": PK, "state": "open"}]},
            "rows_say_so",
        ),
        (
            [request("succeeded")],
            {
                "deliveries": [
                    {"operation": PK, "state": "delivered"},
                    {"operation": OTHER, "state": "delivered"},
                ]
            },
            "rows_say_so",
        ),
    ],
)
def test_breach__is_detected(requests: list[Any], rest: dict[str, Any], broken: str) -> None:
    assert broken in judge(*requests, **rest)
