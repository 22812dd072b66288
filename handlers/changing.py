"""Changing what is asked: the fix's parameters, or when the question is put."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, decisions, facts, flow, replies
from handlers.blocks.card_decision import rule_words
from handlers.services import Services
from knowledge.model import (
    Action,
    Approval,
    ApprovalState,
    Ask,
    Auto,
    Incident,
    IncidentState,
    Plan,
)
from knowledge.store import answers, approvals, audit, incidents
from knowledge.store.answers import StoredAnswer, StoredPlan
from remediation import editing
from remediation.approvals import Denied, Person, check_change, requesters
from remediation.approvers import asked, lists_in_force
from remediation.context import Context
from remediation.policy import environment_of

S = IncidentState


@dataclass(frozen=True, slots=True)
class _Change:
    """A change that may be made, as far as the action alone tells: what was asked, and what is wanted in its place."""

    old: Approval
    planned: StoredPlan
    action: Action
    seen: Context


async def edit(services: Services, click: Mapping[str, Any]) -> None:
    """A submitted change of parameters: a new plan with a request of its own; whoever changed it is a requester too.

    `click`: user, approval_id, digest, values (by parameter, as written), key. A crash before the transaction repeats
    the whole; after it the old request is withdrawn by this person, and a repeat finds that.
    """
    person = await services.people.look_up(click["user"])
    wanted = await _wanted(services, click)
    async with services.engine.begin() as db:
        incident, current = await decisions.locked(db, click["approval_id"])
        if current is None or incident is None:
            return  # erased meanwhile, with its card
        if await approvals.was_counted(db, current.id, click["key"]):
            return  # the same submission, delivered again
        planned = await decisions.planned_of(db, current)
        verdict = check_change(
            current,
            person,
            decisions.shown_digest(current, click),
            now=services.now(),
            policy=services.policy,
            action=planned.plan.action if planned else None,
        )
        why = verdict.reason if isinstance(verdict, Denied) else wanted if isinstance(wanted, str) else ""
        if not why and isinstance(wanted, _Change):
            why = await _replace(db, services, incident, wanted, user=person.id, key=click["key"])
        if why:
            await decisions.refuse(db, {**click, "channel": incident.channel or services.channel}, current, why)


async def _wanted(services: Services, click: Mapping[str, Any]) -> _Change | str:
    """The change, or why it cannot be made: by the bounds of this moment, not those of when the form was opened."""
    async with services.engine.connect() as db:
        approval = await approvals.get(db, click["approval_id"])
        incident = await incidents.get(db, approval.incident_id) if approval else None
        planned = await decisions.planned_of(db, approval) if approval else None
    if approval is None or incident is None or planned is None or planned.plan.action is None:
        return replies.CHANGED
    fields = editing.editable(planned.plan.action, services.policy)
    wrong = editing.refusals(fields, click["values"])
    if wrong or not fields:
        return " ".join(wrong.values()) or replies.NOT_EDITABLE
    action = editing.edited(planned.plan.action, fields, click["values"])
    if action.digest == planned.plan.action.digest:
        return editing.NOTHING_CHANGED
    seen = await flow.look(services, replace(incident, target=action.target), ())
    if seen is None or seen.could_not:
        return replies.NOT_SEEN
    return _Change(approval, planned, action, seen)


async def _replace(
    db: AsyncConnection, services: Services, incident: Incident, change: _Change, *, user: str, key: str
) -> str:
    """Withdraw what was asked and ask for the changed fix; or why the policy does not let it be asked."""
    answer = await answers.latest_diagnosis(db, incident.id, final=True)
    if answer is None:
        return replies.CHANGED
    plan = editing.replanned(change.planned.plan, change.action, change.seen)
    decided = await _asking(db, services, incident, plan, answer)
    decision, verdict = decided.decision, decided.decision.verdict
    if not isinstance(verdict, Ask):
        failed = [rule for rule in decision.rules if not rule.passed and rule.otherwise == "block"]
        return f"Policy does not allow that: {'; '.join(rule_words(rule) for rule in failed)}."
    await approvals.decide(
        db, change.old.id, ApprovalState.WITHDRAWN, by=user, reason="its parameters were changed", click=key
    )
    stored = await answers.add_plan(db, incident.id, answer.id, plan, decision, facts=decided.rested_on)
    await approvals.ask(
        db,
        incident_id=incident.id,
        plan_id=stored.id,
        digest=change.action.digest,
        needed=verdict.how_many,
        who=verdict.who,
        until=verdict.until,
        requester=requesters(change.old.requester, user),
    )
    was = change.planned.plan.action
    await audit.record(
        db,
        "approval.edited",
        actor=user,
        incident_id=incident.id,
        approval=change.old.id,
        was=dict(was.parameters) if was else {},
        now=dict(change.action.parameters),
    )
    moved = await incidents.move(db, incident, S.WAITING)
    await cards.show(db, services, moved or incident)
    await cards.call_people(db, services, moved or incident)
    return ""


async def _asking(
    db: AsyncConnection, services: Services, incident: Incident, plan: Plan, answer: StoredAnswer
) -> facts.Decided:
    """The policy's decision about the changed fix; what may run by itself is asked as well: a person changed it."""
    decided = await facts.decide(db, services, incident, answer.answer, plan, answer.precedents)
    if plan.action is None or not isinstance(decided.decision.verdict, Auto):
        return decided
    policy = services.policy
    _, rules = environment_of(policy, plan.action.target.environment)
    who = asked(lists_in_force(policy, rules, plan.action.name))
    until = services.now() + timedelta(minutes=policy.limits.approval_minutes)
    return replace(decided, decision=replace(decided.decision, verdict=Ask(who, rules.approvals, until)))


async def snooze(services: Services, click: Mapping[str, Any]) -> None:
    """Put a question off: nobody is reminded until `at`, and then it is asked anew.

    `click`: user, approval_id, digest, at (ISO), key. One compare-and-set; a repeat sets the same again.
    """
    person = await services.people.look_up(click["user"])
    until = datetime.fromisoformat(click["at"])
    async with services.engine.begin() as db:
        incident, approval = await decisions.locked(db, click["approval_id"])
        if approval is None or incident is None:
            return
        digest = decisions.shown_digest(approval, click)
        refusal = await put_off(db, services, incident, approval, person, digest=digest, until=until)
        if refusal:
            await decisions.refuse(db, {**click, "channel": incident.channel or services.channel}, approval, refusal)


async def put_off(
    db: AsyncConnection,
    services: Services,
    incident: Incident,
    approval: Approval,
    person: Person,
    *,
    digest: str,
    until: datetime,
) -> str:
    """Put a locked request off until a moment; or why this person may not, and nothing was done."""
    planned = await decisions.planned_of(db, approval)
    verdict = check_change(
        approval,
        person,
        digest,
        now=services.now(),
        policy=services.policy,
        action=planned.plan.action if planned else None,
    )
    if isinstance(verdict, Denied):
        return verdict.reason
    expires = until + timedelta(minutes=services.policy.limits.approval_minutes)
    if await approvals.snooze(db, approval.id, by=person.id, until=until, expires=expires):
        await audit.record(
            db,
            "approval.snoozed",
            actor=person.id,
            incident_id=incident.id,
            approval=approval.id,
            until=until.isoformat(),
        )
        await cards.show(db, services, incident)
    return ""
