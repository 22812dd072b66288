"""Histories of one approval, made by two processes at once, and the check that each could have happened one by one.

Linearisable: there is an order of the operations, true to which ended before which began, in which a request that is
decided by one operation at a time gives every answer that was given, and ends in the state that was found.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, cast

from slack_sdk.web.async_client import AsyncWebClient

from handlers import decisions, taking
from handlers.blocks.modals import Rejection
from handlers.people import People
from handlers.services import Services
from knowledge.model import RejectReason
from knowledge.store import outbox
from remediation.approvals import Person
from tests.handlers.office import made_services, rows, sandbox_policy
from tests.rows import NOOP, S, an_approval, an_incident, opened

PEOPLE = ("U001", "U002", "U003")
OPERATIONS_EACH = 4
DIGEST = NOOP.digest[:16]
# What a refused click says, and what that tells of the request's state.
ANSWERS = {
    "already approved": "approved",
    "already rejected": "rejected",
    "was withdrawn": "withdrawn",
    "approved this already": "voted",
}


class Known:
    """Everybody is a member of the workspace: who may decide is then the policy's word alone."""

    team_id = "T0SANDBOX"

    async def look_up(self, user: str) -> Person:
        return Person(user)


@dataclass(frozen=True, slots=True)
class Operation:
    """What one person did, when it began and ended (one clock for both processes), and what it was answered."""

    what: str
    user: str
    began: int
    ended: int
    answer: str


@dataclass(frozen=True, slots=True)
class Request:
    """The state of a request in the model."""

    state: str
    votes: frozenset[str]


def step(request: Request, operation: Operation, needed: int) -> tuple[Request, str]:
    """One operation on a request that is decided by one at a time: the new state, and the answer ("": it counts)."""
    if operation.what == "take":
        return (Request("withdrawn", request.votes) if request.state == "open" else request), ""
    if request.state != "open":
        return request, request.state
    if operation.what == "reject":
        return Request("rejected", request.votes), ""
    if operation.user in request.votes:
        return request, "voted"
    votes = request.votes | {operation.user}
    return Request("approved" if len(votes) >= needed else "open", votes), ""


def linearisable(history: Sequence[Operation], needed: int, final: str) -> bool:
    """Whether some order explains the history: Wing and Gong's search; none goes before one that ended earlier."""
    dead: set[tuple[frozenset[int], Request]] = set()

    def explain(left: frozenset[int], request: Request) -> bool:
        if not left:
            return request.state == final
        if (left, request) in dead:
            return False
        first_end = min(history[index].ended for index in left)
        for index in left:
            if history[index].began > first_end:
                continue
            after, answer = step(request, history[index], needed)
            if answer == history[index].answer and explain(left - {index}, after):
                return True
        dead.add((left, request))
        return False

    return explain(frozenset(range(len(history))), Request("open", frozenset()))


def services_of(engine: Any, url: str) -> Services:
    approvers = sandbox_policy().approvers.model_copy(update={"users": PEOPLE})
    policy = sandbox_policy(approvers=approvers)
    return made_services(engine, cast(AsyncWebClient, None), url, policy=policy, people=cast(People, Known()))


async def prepared(url: str, count: int, seed: int) -> list[tuple[int, int, int]]:
    """(incident, approval, how many are needed) of so many requests."""
    chosen = random.Random(seed)
    made = []
    async with opened(url) as engine:
        for number in range(count):
            async with engine.begin() as db:
                incident = await an_incident(db, state=S.WAITING, title=f"history {number}")
                await outbox.new_card(db, incident.id, "C0DEPLOY")
                needed = chosen.choice((1, 2, 2, 3))
                approval = await an_approval(db, incident, needed=needed, who=PEOPLE)
            made.append((incident.id, approval, needed))
    return made


def play(url: str, requests: list[tuple[int, int, int]], seed: int, start: Barrier, out: str) -> None:
    """In a process of its own: some operations on each request, at the same time as the other process."""
    Path(out).write_text("\n".join(asyncio.run(_play(url, requests, seed, start))))


async def _play(url: str, requests: list[tuple[int, int, int]], seed: int, start: Barrier) -> list[str]:
    chosen = random.Random(seed)
    lines: list[str] = []
    async with opened(url) as engine:
        services = services_of(engine, url)
        for incident_id, approval_id, _ in requests:
            plan = [_operation(chosen) for _ in range(OPERATIONS_EACH)]
            start.wait(60)
            lines += await asyncio.gather(
                *(
                    _do(services, incident_id, approval_id, one, key=f"{approval_id}:{seed}:{number}")
                    for number, one in enumerate(plan)
                )
            )
    return lines


def _operation(chosen: random.Random) -> tuple[str, str]:
    return chosen.choices(("approve", "reject", "take"), (8, 2, 1))[0], chosen.choice(PEOPLE)


async def _do(services: Services, incident_id: int, approval_id: int, one: tuple[str, str], *, key: str) -> str:
    what, user = one
    click = {"user": user, "channel": "C0DEPLOY", "approval_id": approval_id, "digest": DIGEST, "key": key}
    began = time.monotonic_ns()
    if what == "approve":
        await decisions.approve(services, click)
    elif what == "reject":
        rejection = Rejection(approval_id, DIGEST, incident_id, RejectReason.NOT_NOW, "")
        await decisions.reject(services, rejection, user=user, key=key)
    else:
        await taking.take(services, click | {"incident_id": incident_id})
    return f"{approval_id} {what} {user} {began} {time.monotonic_ns()} {key}"


async def collected(url: str, lines: Sequence[str]) -> dict[int, tuple[list[Operation], str]]:
    """By approval: its history, with what each operation was answered, and the state that was found at the end."""
    async with opened(url) as engine:
        told = await rows(engine, "SELECT key, payload->>'text' AS words FROM outbox WHERE kind = 'ephemeral'")
        ends = {row.id: row.state for row in await rows(engine, "SELECT id, state FROM approvals")}
    words = {row.key.removeprefix("tell:"): row.words for row in told}
    histories: dict[int, tuple[list[Operation], str]] = {number: ([], state) for number, state in ends.items()}
    for line in lines:
        approval, what, user, began, ended, key = line.split(" ")
        answer = _read(what, words.get(key, ""))
        histories[int(approval)][0].append(Operation(what, user, int(began), int(ended), answer))
    return histories


def _read(what: str, words: str) -> str:
    if not words or what == "take":
        return ""
    return next(meaning for said, meaning in ANSWERS.items() if said in words)


async def executions_by_approval(url: str) -> dict[int, int]:
    async with opened(url) as engine:
        found = await rows(engine, "SELECT approval_id, count(*) AS number FROM executions GROUP BY 1")
    return {row.approval_id: row.number for row in found}
