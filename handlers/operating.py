"""What people switch with /codehealer: mode, pause, resume, trust and mute. Each is a named person's recorded decision.

Anybody may pause, every full member may narrow; to widen, to resume and to grant trust takes the policy's operators.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import facts
from handlers.blocks import commands as wording
from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import Card
from handlers.looking import Query, meant
from handlers.services import Services
from handlers.trusting import SHADOW_DAYS
from handlers.typed import EVERYTHING
from knowledge.store import answers, audit, switches, trust
from knowledge.store.under_way import told, under_way
from remediation import modes
from remediation.approvals import Person
from remediation.policy import AUTO_RISK, MODES
from remediation.trust import evidence

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Asked:
    """One command: who typed it and what, the words after its name, and the thread of a mention (channel, ts).

    `text` is what was typed after the command's name, with its lines as they were.
    """

    person: Person
    query: Query
    text: str = ""

    @property
    def channel(self) -> str:
        return self.query.reader.channel

    @property
    def words(self) -> tuple[str, ...]:
        return self.query.words


async def _pause(db: AsyncConnection, _services: Services, asked: Asked) -> Card:
    if asked.person.is_bot or asked.person.deleted:
        return wording.said("pause", "Only people may pause.")
    await switches.write(db, switches.PAUSED, True, by=asked.person.id)
    await audit.record(db, "switch.paused", actor=asked.person.id, value=True)
    lines = ["⏸️ *Paused.* Nothing new is carried out until somebody resumes it; diagnoses go on."]
    return wording.said("pause", "\n".join([*lines, *told(await under_way(db))]))


async def _resume(db: AsyncConnection, services: Services, asked: Asked) -> Card:
    """Without a number the pause and the breaker over all targets, with one the loop breaker of that incident's.

    In an incident's thread the bare word could mean either, so it is asked which.
    """
    refusal = modes.may_operate(asked.person, services.policy)
    if refusal:
        await audit.record(db, "switch.refused", actor=asked.person.id, what_for="resume", why=refusal)
        return wording.said("resume", refusal)
    everything = bool(asked.words) and {word.lower() for word in asked.words} <= EVERYTHING
    if not asked.words and asked.query.thread[1]:
        incident, _ = await meant(db, services, (), asked.query.reader, asked.query.thread)
        if incident is not None:
            return wording.resume_which_answer(incident.id)
    if asked.words and not everything:
        incident, _ = await meant(db, services, asked.words, asked.query.reader, asked.query.thread)
        if incident is None or incident.target is None:
            return wording.said(
                "resume", "There is no such incident with a target; `/codehealer incidents` lists them."
            )
        await switches.write(db, switches.RESUMED + incident.target.family, True, by=asked.person.id)
        await audit.record(db, "switch.resumed", actor=asked.person.id, incident_id=incident.id)
        return wording.said("resume", "Resumed: what was tried there before no longer counts against a fix.")
    await switches.write(db, switches.PAUSED, False, by=asked.person.id)
    await switches.write(db, switches.BREAKER, "", by=asked.person.id)
    await audit.record(db, "switch.paused", actor=asked.person.id, value=False)
    if why := services.halted():
        return wording.said("resume", f"▶️ *Resumed,* but {m.inline(why, 300)} still pauses what I do here.")
    return wording.said("resume", "▶️ *Resumed.* Fixes may run again, as far as the policy lets them.")


async def _mode(db: AsyncConnection, services: Services, asked: Asked) -> Card:
    found = await switches.beginning_with(db, switches.MODE)
    if not asked.words:
        return wording.modes_answer(services.policy.mode, {scope: (s.value, s.set_by) for scope, s in found.items()})
    scope, mode = _read_mode(asked)
    if not scope:
        return wording.mode_usage_answer()
    problem = _unknown_place(services, scope)
    if problem:
        return wording.said("mode", problem)
    now = {name: str(switch.value) for name, switch in found.items()}
    wider = modes.widens(services.policy, now, scope, mode)
    refusal = modes.may_operate(asked.person, services.policy) if wider else modes.may_narrow(asked.person)
    if refusal:
        await audit.record(db, "mode.refused", actor=asked.person.id, scope=scope, mode=mode or DEFAULT, why=refusal)
        return wording.said("mode", refusal)
    name = switches.MODE + scope
    await (switches.write(db, name, mode, by=asked.person.id) if mode else switches.drop(db, name))
    before = now.get(scope, DEFAULT)
    await audit.record(db, "mode.set", actor=asked.person.id, scope=scope, mode=mode or DEFAULT, before=before)
    return wording.mode_set_answer(scope, mode, before)


def _read_mode(asked: Asked) -> tuple[str, str]:
    """(scope, mode) of what was typed, the mode "" for default; ("", "") where it cannot be read."""
    *place, mode = asked.words
    mode = mode.lower()
    kind = place[0].lower() if place else ""
    if mode not in {*MODES, DEFAULT} or kind not in modes.SCOPES or len(place) > 2:
        return "", ""
    name = place[1] if len(place) == 2 else ""
    if kind == "channel":
        # As typed by hand or as Slack writes a channel that was picked: <#C0123|name>.
        name = name.strip("<>#").partition("|")[0] or asked.channel
    if bool(name) == (kind == modes.EVERYTHING):
        return "", ""
    return f"{kind}:{name}" if name else kind, "" if mode == DEFAULT else mode


def _unknown_place(services: Services, scope: str) -> str:
    kind, _, name = scope.partition(":")
    known = {
        "service": {row.name for row in services.policy.services},
        "environment": {*services.policy.environments, *(row.environment for row in services.policy.services), "prod"},
    }.get(kind)
    if known is None or name in known:
        return ""
    return f"There is no {kind} of that name in the policy; known are {', '.join(sorted(known)) or 'none'}."


async def _trust(db: AsyncConnection, services: Services, asked: Asked) -> Card:
    """Without words the list; `grant 12` and `withdraw 12` are about the fix of that incident."""
    verb = asked.words[0].lower() if asked.words else ""
    if not verb:
        shadow = await trust.shadowed(db, since=services.now() - timedelta(days=SHADOW_DAYS))
        return wording.trust_answer(await trust.granted(db), shadow)
    incident, _ = await meant(db, services, asked.words[1:], asked.query.reader, asked.query.thread)
    planned = await answers.latest_plan(db, incident.id) if incident else None
    case = facts.case_of(incident.kind, planned.plan) if incident and planned else None
    if verb not in {"grant", "withdraw"} or incident is None or case is None:
        return wording.said("trust", "Name an incident with a fix: `/codehealer trust grant 12`, or `withdraw 12`.")
    # Taking trust away narrows, so every member may.
    refusal = modes.may_operate(asked.person, services.policy) if verb == "grant" else modes.may_narrow(asked.person)
    if not refusal and verb == "grant" and case.environment not in AUTO_RISK:
        refusal = f"In {case.environment} a person is always asked, so trust would change nothing there."
    if refusal:
        await audit.record(
            db, "trust.refused", actor=asked.person.id, incident_id=incident.id, what_for=verb, why=refusal
        )
        return wording.said("trust", refusal)
    counted = await trust.counted(db, case)
    state = "granted" if verb == "grant" else "withdrawn"
    words = evidence(counted.verified, counted.failed)
    await trust.put(db, case, state, evidence=words, by=asked.person.id)
    await audit.record(
        db, f"trust.{state}", actor=asked.person.id, incident_id=incident.id, kind=case.kind, action=case.action,
        service=case.service, environment=case.environment, evidence=words,
    )  # fmt: skip
    return wording.trust_set_answer(case, state, words)


ACTS: Mapping[str, Callable[[AsyncConnection, Services, Asked], Awaitable[Card]]] = {
    "mode": _mode,
    "pause": _pause,
    "resume": _resume,
    "trust": _trust,
}
