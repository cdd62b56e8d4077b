"""Judges the webhooks of a run, by the rows and by what the receivers got.

Each function is an invariant and yields a sentence for each breach.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from async_reply.status import FINAL


@dataclass
class HookEvidence:
    """The rows after a run, and the requests that receivers got, oldest first.

    A receiver has its manner as its name. `secrets` has the manners as keys.
    """

    rows: dict[str, list[dict[str, Any]]]
    requests: list[dict[str, Any]]
    secrets: dict[str, str]

    @cached_property
    def statuses(self) -> dict[str, str]:
        return {row["id"]: row["status"] for row in self.rows["operations"]}

    @cached_property
    def heard(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """(operation, manner) -> the requests."""
        heard = defaultdict(list)
        for request in self.requests:
            operation = request["headers"]["webhook-id"].partition(".")[0]
            heard[operation, request["manner"]].append(request)
        return heard


def name(request: dict[str, Any]) -> str:
    """`started.1` or `succeeded`."""
    return str(request["headers"]["webhook-id"].partition(".")[2])


def outcome_was_delivered(evidence: HookEvidence) -> Iterator[str]:
    """Each receiver got the outcome of each operation, and has answered it with a success."""
    for pk, status in evidence.statuses.items():
        if status not in FINAL:
            yield f"{pk} is {status}"
        for manner in evidence.secrets:
            requests = evidence.heard[pk, manner]
            if not any(name(request) == status and request["behaves"] for request in requests):
                yield f"{pk} is {status}; {manner} heard {[name(request) for request in requests]}"


def nothing_follows_the_outcome(evidence: HookEvidence) -> Iterator[str]:
    """No receiver hears of a start after the outcome, or of an attempt after a later one."""
    for (pk, manner), requests in evidence.heard.items():
        order = [_place(name(request)) for request in requests]
        if order != sorted(order):
            yield f"{manner} heard of {pk} {[name(request) for request in requests]}"


def _place(event: str) -> tuple[bool, int]:
    is_start = event.startswith("started.")
    return not is_start, int(event.partition(".")[2]) if is_start else 0


def one_outcome_each(evidence: HookEvidence) -> Iterator[str]:
    """All messages about one outcome have one id, and one body for each receiver."""
    bodies = defaultdict(set)
    for request in evidence.requests:
        bodies[request["manner"], request["headers"]["webhook-id"]].add(request["body"])
    for message, texts in bodies.items():
        if len(texts) > 1:
            yield f"{message} has {len(texts)} bodies"
    for (pk, manner), requests in evidence.heard.items():
        outcomes = {name(request) for request in requests if name(request) in FINAL}
        if outcomes != {evidence.statuses.get(pk)}:
            yield f"{manner} heard of {pk} the outcomes {outcomes}"


def messages_are_signed(evidence: HookEvidence) -> Iterator[str]:
    """The receiver verifies each message with its own secret."""
    for request in evidence.requests:
        try:
            webhook = Webhook(evidence.secrets[request["manner"]])
            message = webhook.verify(request["body"], request["headers"])
        except (KeyError, WebhookVerificationError) as error:
            yield f"{request} is not valid: {error!r}"
        else:
            if message != json.loads(request["body"]):
                yield f"{request} is another message"


def rows_say_so(evidence: HookEvidence) -> Iterator[str]:
    """Each operation has one delivery for each receiver, and each is marked as delivered."""
    counts: dict[str, int] = defaultdict(int)
    for row in evidence.rows["deliveries"]:
        counts[row["operation"]] += 1
        if row["state"] != "delivered":
            yield f"{row} is not delivered"
    for pk in {*counts, *evidence.statuses}:
        if pk not in evidence.statuses or counts[pk] != len(evidence.secrets):
            yield f"{pk} ({evidence.statuses.get(pk)}) has {counts[pk]} deliveries"


INVARIANTS: tuple[Callable[[HookEvidence], Iterator[str]], ...] = (
    outcome_was_delivered,
    nothing_follows_the_outcome,
    one_outcome_each,
    messages_are_signed,
    rows_say_so,
)


def breaches(evidence: HookEvidence) -> dict[str, list[str]]:
    """The breaches by the name of the invariant."""
    judged = {check.__name__: list(check(evidence)) for check in INVARIANTS}
    return {invariant: sentences for invariant, sentences in judged.items() if sentences}
