"""incidents list, show, update, delete."""

from dataclasses import replace
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.cli.opening import Number, YesOption, confirm, in_database, moment, who
from bot.cli.printing import JsonOption, Verbs, plain, put, words
from handlers import cards, learning
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.errors import BadInput, Conflict
from knowledge.importing import LONGEST_WORDS
from knowledge.lifecycle import UNDER_WAY
from knowledge.model import OUTCOMES, Diagnosis, FailureKind, Incident, IncidentState, KnowledgeItem
from knowledge.passages import passage_of
from knowledge.redaction import clean, redact
from knowledge.store import answers, approvals, audit, casebook, executions, incidents, memory, outbox
from knowledge.store.casebook import Remembered
from knowledge.store.codec import to_json

DELETED = "Incident {} was deleted. There is nothing left to decide here."
STATUSES = ("open", "closed", *IncidentState)


def list_incidents(  # noqa: PLR0917  one option a filter
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
    source: str = "",
    service: str = "",
    environment: str = "",
    status: Annotated[str, typer.Option(help="open, closed, or a state such as healed.")] = "",
    kind: str = "",
    since: Annotated[str, typer.Option("--from", "--since", metavar="TIME", help="Opened then or later.")] = "",
    until: Annotated[str, typer.Option("--to", "--until", metavar="TIME", help="Opened before.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many a page.")] = 100,
    page: Annotated[int, typer.Option(min=1, max=1_000_000)] = 1,
    after: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Those after this one, so older.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List incidents, newest first."""
    if after and page > 1:
        raise BadInput("--after and --page do not go together: give one of them.")
    _known("--status", status, STATUSES)
    _known("--kind", kind, tuple(FailureKind))
    filters = {"source": source, "service": service, "environment": environment, "kind": kind}
    filters["state"] = status if status in list(IncidentState) else ""
    begin, end = moment("--from", since), moment("--to", until)
    rows = in_database(
        lambda db: incidents.listed(
            db,
            only_open=only_open or status == "open",
            only_closed=status == "closed",
            limit=limit + 1,
            offset=(page - 1) * limit,
            before_id=after or None,
            since=begin,
            until=end,
            **{name: value for name, value in filters.items() if value},
        )
    )
    if not rows and not as_json:
        words.print("There are no such incidents.")
    for row in rows[:limit]:
        if as_json:
            put(to_json(row))
        else:
            where = row.service or row.workload or row.repository
            plain.print(f"{row.id:>6}  {row.state:<12}  {where:<24}  {row.title}", markup=False)
    if len(rows) > limit:
        words.print(f"There are more: give --after {rows[limit - 1].id}, or --page {page + 1}.")


def _known(option: str, value: str, known: tuple[str, ...]) -> None:
    if value and value not in known:
        raise BadInput(f"{option} {value}: not known; write one of {', '.join(known)}.")


async def find(db: AsyncConnection, number: int, *, lock: bool = False) -> Incident:
    """Raises BadInput where there is none."""
    incident = await incidents.get(db, number, lock=lock)
    if incident is None:
        raise BadInput(f"There is no incident {number}; `codehealer incidents list` shows them.")
    return incident


def show_incident(number: Number, as_json: JsonOption = False) -> None:
    """Show one incident: what was seen, what was thought of it, what was decided and how it ended."""
    values = in_database(lambda db: _about(db, number))
    if as_json:
        put(values)
        return
    for name, value in values.items():
        if isinstance(value, list):
            plain.print(f"{name}:", markup=False)
            for entry in value:
                plain.print(f"  - {_line(entry)}", markup=False)
        else:
            plain.print(f"{name}: {_line(value)}", markup=False)


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_line(part)}" for name, part in value.items() if part not in ("", None, [], {}))
    return "; ".join(map(_line, value)) if isinstance(value, list) else "" if value is None else str(value)


async def _about(db: AsyncConnection, number: int) -> dict[str, Any]:
    incident = await find(db, number)
    answer = await answers.latest_diagnosis(db, number)
    planned = await answers.latest_plan(db, number)
    approval = await approvals.latest(db, number)
    current = await executions.latest(db, number)
    found = await executions.latest_verification(db, current.id) if current else None
    remembered = await casebook.get(db, _item_id(number))
    thumbs = await memory.feedback_of(db, number)
    seen = [
        {"kind": one.kind, "source": one.source, "chars": len(one.text), "could_not": one.could_not, "link": one.link}
        for one in await incidents.evidence_of(db, number)
    ]
    return {
        **to_json(incident),
        "evidence": seen,
        "diagnosis": _of_answer(answer.answer) if answer else None,
        "plan": {
            "action": planned.plan.action.name if planned.plan.action else None,
            "preview": planned.plan.preview,
            "no_action_because": planned.plan.no_action_because,
        }
        if planned
        else None,
        "decision": {
            "verdict": planned.decision.name,
            "mode": planned.decision.mode,
            "not_passed": [rule.rule for rule in planned.decision.rules if not rule.passed],
        }
        if planned
        else None,
        "approval": {"state": approval.state, "by": list(approval.approved_by), "decided_by": approval.decided_by}
        if approval
        else None,
        "execution": {"state": current.state, "detail": current.outcome.detail if current.outcome else ""}
        if current
        else None,
        "verification": {"verdict": found.verdict, "detail": found.detail} if found else None,
        "outcome": remembered.item.outcome if remembered else cards.outcome_word(incident, approval, current, found),
        "remembered": _of_item(remembered) if remembered else None,
        "feedback": {"up": sum(one.value > 0 for one in thumbs), "down": sum(one.value < 0 for one in thumbs)},
    }


def _of_answer(answer: object) -> dict[str, Any]:
    if isinstance(answer, Diagnosis):
        about = {"kind": answer.kind, "confidence": answer.confidence, "cause": answer.cause}
        quotes = [quote.text for quote in answer.quotes]
        return {**about, "quotes": quotes, "answered_by": answer.answered_by.name}
    return {"kind": FailureKind.UNKNOWN, "reason": getattr(answer, "reason", "")}


def _of_item(remembered: Remembered) -> dict[str, Any]:
    item = remembered.item
    names = ("id", "kind", "cause", "fix", "action", "outcome", "status", "link")
    return {**{name: getattr(item, name) for name in names}, "corrected": list(remembered.corrected)}


def _item_id(number: int) -> str:
    return f"incident-{number}"


def update_incident(  # noqa: PLR0917  one option a field
    number: Number,
    kind: Annotated[str, typer.Option(help="What kind of failure it was.")] = "",
    cause: Annotated[str, typer.Option(help="Its cause, in a sentence.")] = "",
    fix: Annotated[str, typer.Option(help="What helped, or would have.")] = "",
    outcome: Annotated[str, typer.Option(help=f"How it ended: {', '.join(OUTCOMES)}.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Correct what is believed of an incident; what is remembered and the track record follow."""
    _known("--kind", kind, tuple(FailureKind))
    _known("--outcome", outcome, OUTCOMES)
    said = {"kind": kind, "cause": _text(cause), "fix": _text(fix), "outcome": outcome}
    said = {name: value for name, value in said.items() if value}
    if not said:
        raise BadInput("Nothing to correct: give --kind, --cause, --fix or --outcome.")
    changed = in_database(lambda db: _correct(db, number, said))
    if as_json:
        put({"incident": number, "changed": changed})
    else:
        plain.print(f"Incident {number}: {', '.join(changed) + ' corrected.' if changed else 'it says so already.'}")


def _text(value: str) -> str:
    return redact(clean(value)).strip()[:LONGEST_WORDS]


async def _correct(db: AsyncConnection, number: int, said: dict[str, str]) -> list[str]:
    incident = await find(db, number, lock=True)
    before = await casebook.get(db, _item_id(number), lock=True) or await _not_yet_remembered(db, incident)
    changed = [name for name, value in said.items() if getattr(before.item, name) != value]
    if not changed:
        return []
    values: dict[str, Any] = dict(said)
    if "kind" in said:
        values["kind"] = FailureKind(said["kind"])
        await incidents.set_kind(db, number, values["kind"])
    item = replace(before.item, **values)
    embedder = LocalEmbedder()
    vector = embedder.embed(passage_of(item))
    await casebook.correct(db, before, item, changed, vector=vector, vector_model=embedder.name)
    await audit.record(
        db,
        "knowledge.corrected",
        actor=who(),
        incident_id=number,
        item=item.id,
        changes={name: [getattr(before.item, name), said[name]] for name in changed},
    )
    return changed


async def _not_yet_remembered(db: AsyncConnection, incident: Incident) -> Remembered:
    """What a person says of an incident without a lesson yet is its lesson; its own fills in the rest."""
    planned = await answers.latest_plan(db, incident.id)
    plan = planned.plan if planned else None
    item = KnowledgeItem(
        id=_item_id(incident.id),
        source="incident",
        kind=incident.kind,
        service=incident.service,
        environment=incident.environment,
        cause="",
        fix=plan.preview if plan and plan.action else "",
        action=plan.action.name if plan and plan.action else "",
        outcome="",
        excerpt=learning.excerpt_of(await incidents.evidence_of(db, incident.id), incident),
        link="",
        occurred_at=incident.opened_at,
        incident_id=incident.id,
    )
    return Remembered(item, ())


def delete_incident(number: Number, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Delete an incident with everything that hangs on it; the audit log keeps what was done."""
    title = in_database(lambda db: find(db, number)).title
    confirm(f"Delete incident {number} ({title[:60]}), its evidence, decisions and what was learnt of it?", yes)
    rows = in_database(lambda db: _delete(db, number))
    if as_json:
        put({"deleted": number, "rows": rows})
    else:
        plain.print(f"Incident {number} is deleted, with {sum(rows.values())} rows that hung on it.")


async def _delete(db: AsyncConnection, number: int) -> dict[str, int]:
    incident = await find(db, number, lock=True)
    if incident.state in UNDER_WAY:
        raise Conflict(f"A fix of incident {number} is {incident.state}. Delete it when that has ended.")
    for one in await incidents.with_merged(db, number):
        await outbox.bid_farewell(db, one, DELETED.format(one))
    rows = dict(await incidents.erase(db, number))
    await audit.record(db, "incident.deleted", actor=who(), incident_id=number, rows=rows)
    return rows


COMMANDS: Verbs = {"list": list_incidents, "show": show_incident, "update": update_incident, "delete": delete_incident}
