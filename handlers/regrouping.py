"""Incidents that are split and merged: by a person from the card's menu, or because a common cause came late.

Each is one transaction, so that a crash leaves the click to be handled again, and a click that is handled again finds
its own mark. Nothing moves while a fix is under way; what was asked for is withdrawn, with the reason.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from difflib import SequenceMatcher
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, reading, replies
from handlers.blocks import grouping as words
from handlers.blocks.grouping import Part
from handlers.mentions import QUESTION_SOURCE
from handlers.services import Services
from knowledge import correlation
from knowledge.choices import Choice, Verdict, guided, naming
from knowledge.lifecycle import UNDER_WAY
from knowledge.model import Alert, AlertStatus, Diagnosis, Incident, IncidentState
from knowledge.severity import worst
from knowledge.store import approvals, audit, grouping, incidents, outbox
from remediation.approvals import check_taking

S = IncidentState
LINK_TRIES, LINK_EVERY_S = 20, 3.0
# Where an answer is given that the split may have made wrong.
_ANSWERED = frozenset({S.WAITING, S.PROPOSED, S.BLOCKED})
MAX_SERVICE = 253
# What an incident says of where it is, by which its target is looked up; and how bad it is.
_PLACE = ("service", "environment", "namespace", "workload", "cluster", "repository", "run_id", "commit", "severity")


# --- pure: what an incident consists of -------------------------------------------------------------------------------


def workload_name(alert: Alert) -> str:
    owner = alert.owner or alert.workload
    return f"{alert.namespace}/{owner}" if alert.namespace and owner else owner or alert.repository or alert.title


def part_ids(alert: Alert) -> tuple[str, str]:
    """The parts that an alert is in: its workload's, and the one of its own name there."""
    name = workload_name(alert)
    return _digest("w", alert.cluster, name), _digest("a", alert.cluster, name, alert.title)


def _digest(kind: str, *of: str) -> str:
    return f"{kind}:{hashlib.sha256(chr(0).join(of).encode('utf-8', 'replace')).hexdigest()[:16]}"


def parts_of(alerts: Sequence[Alert]) -> list[Part]:
    """What can be split off: each workload where there are several, and each alert's name where a workload has some."""
    workloads: dict[str, list[Alert]] = defaultdict(list)
    names: dict[str, dict[str, list[Alert]]] = defaultdict(lambda: defaultdict(list))
    for alert in alerts:
        workload, own = part_ids(alert)
        workloads[workload].append(alert)
        names[workload][own].append(alert)
    found = []
    for workload, of_it in sorted(workloads.items(), key=lambda item: workload_name(item[1][0])):
        if len(workloads) > 1:
            found.append(Part(workload, workload_name(of_it[0]), len(of_it), alone=False))
        if len(names[workload]) > 1:
            found += [
                Part(own, f"{some[0].title} of {workload_name(some[0])}", len(some), alone=True)
                for own, some in names[workload].items()
            ]
    return found


def place_of(incident: Incident, alerts: Sequence[Alert]) -> dict[str, Any]:
    """What is to change of an incident of which these alerts are left; {} where it is about them already.

    Its target is looked up by it, and must not be that of what has left.
    """
    said = [one for one in alerts if one.trusted] or alerts
    first = next((one for one in said if one.status is AlertStatus.FIRING), said[0])
    known = [{name: getattr(one, name) for name in _PLACE} for one in (first, *said)]
    for one, fields in zip((first, *said), known, strict=True):
        # As the store keeps them, where an index is on the service.
        fields |= {"workload": one.owner or one.workload, "service": one.service[:MAX_SERVICE]}
    place = {name: next((fields[name] for fields in known if fields[name]), "") for name in _PLACE}
    place["severity"] = worst(one.severity for one in said)
    same = all(getattr(incident, name) == value for name, value in place.items() if name != "severity")
    if same and any(one.identity == incident.identity for one in alerts):
        return {}
    trusted = any(one.trusted for one in alerts)
    return {**place, "identity": first.identity, "title": first.title, "trusted": trusted, "target": None}


# --- the form and the click -------------------------------------------------------------------------------------------


async def form(services: Services, incident_id: int, *, channel: str, user: str) -> dict[str, Any] | None:
    """The form for an incident; None where there is nothing to choose, or it is over."""
    reader = await reading.reader_of(services, channel, user)
    async with services.engine.connect() as db:
        incident = await incidents.get(db, incident_id)
        if incident is None or not incident.open:
            return None
        stored = await grouping.stored_alerts(db, incident_id)
        every = await incidents.listed(db, only_open=True, limit=200)
        others = await reading.readable(db, services, every, reader)
    parts = parts_of([one.alert for one in stored if one.alert.status is AlertStatus.FIRING])
    other = [one for one in others if one.id != incident_id and one.source != QUESTION_SOURCE]
    return words.regroup_modal(incident, parts, other) if parts or other else None


async def regroup(services: Services, click: Mapping[str, Any]) -> None:
    """One submitted form. `click`: user, channel, key, incident_id, and part or into."""
    person = await services.people.look_up(click["user"])
    async with services.engine.connect() as db:
        clicked = await incidents.get(db, click["incident_id"])
    reader = await reading.reader_of(services, (clicked.channel if clicked else "") or services.channel, person.id)
    async with services.engine.begin() as db:
        await incidents.lock_correlation(db)  # no alert may choose one of them meanwhile
        if await grouping.was_done(db, click["key"]):
            return  # the same submission, delivered again
        into = click.get("into")
        found = {one: await incidents.get(db, one, lock=True) for one in sorted({click["incident_id"], into} - {None})}
        incident, other = found[click["incident_id"]], found.get(into)
        refusal = check_taking(person) or _refusal(incident, other, merging=into is not None)
        if incident is None or refusal:
            await _tell(db, services, incident, click, refusal)
        elif other is None:
            if not await _split(db, services, incident, click["part"], by=person.id, click=click["key"]):
                await _tell(db, services, incident, click, replies.REGROUPED)
        elif not await reading.readable(db, services, [other], reader):
            await _tell(db, services, incident, click, replies.REGROUPED)
        else:
            await _remember_together(db, incident, other, by=person.id)
            await merge(db, services, incident, other, by=person.id, click=click["key"])


def _refusal(incident: Incident | None, other: Incident | None, *, merging: bool) -> str:
    if incident is None or not incident.open or (merging and (other is None or not other.open)):
        return replies.REGROUPED
    return replies.FIX_UNDER_WAY if incident.state in UNDER_WAY else ""


async def _tell(
    db: AsyncConnection, services: Services, incident: Incident | None, click: Mapping[str, Any], text: str
) -> None:
    channel = click["channel"] or (incident.channel if incident else "") or services.channel
    await cards.tell(db, key=click["key"], channel=channel, user=click["user"], text=text or replies.REGROUPED)


# --- merging ------------------------------------------------------------------------------------------


async def _remember_together(db: AsyncConnection, one: Incident, other: Incident, *, by: str) -> None:
    """The next alerts of either side join the other's: both are given one key more."""
    stored = [*await grouping.stored_alerts(db, one.id), *await grouping.stored_alerts(db, other.id)]
    found = [correlation.keys_of(item.alert) for item in stored]
    named = {key for keys in found for key in naming(keys.hold)}
    known = await grouping.choices(db, sorted({key for keys in found for key in naming(keys.seek)}))
    shared = sorted({choice.value for choice in known.values() if choice.verdict is Verdict.TOGETHER})
    value = shared[0] if shared else f"{other.id}"
    # What was together with either side before is so with both from now on.
    await grouping.choose_again(db, shared, value)
    await grouping.choose(db, named, Choice(Verdict.TOGETHER, value), by=by)
    await incidents.hold_keys(db, other.id, [f"choice:{value}"])


async def merge(
    db: AsyncConnection, services: Services, taken: Incident, into: Incident, *, by: str, click: str = ""
) -> bool:
    """Make the alerts of the locked incident `taken` those of `into`; False where it may not be moved by now.

    What `taken` asked for is withdrawn. A fix that runs for `into` goes on, and its check sees the new alerts too.
    """
    if taken.id == into.id or taken.state in UNDER_WAY or not into.open:
        return False
    moved = await incidents.move(db, taken, S.DISMISSED, merged_into=into.id)
    if moved is None:
        return False
    why = f"merged into incident {into.id}"
    await approvals.withdraw_open(db, taken.id, why, by=by)
    await grouping.take_over(db, taken.id, into.id)
    await grouping.link(db, taken.id, grouping.MERGED, str(into.id), by=by, click=click)
    await grouping.link(db, into.id, grouping.TOOK, str(taken.id), by=by)
    await audit.record(db, "incident.merged", actor=by, incident_id=taken.id, into=into.id)
    await audit.record(db, "incident.took", actor=by, incident_id=into.id, taken=taken.id)
    current = await _held_as_before(db, await incidents.get(db, into.id) or into, taken)
    person = by if by != "codehealer" else ""
    await cards.show(db, services, moved)
    await cards.show(db, services, current)
    # What the other is called stays with those who may read of it.
    here = reading.Reader(current.channel or services.channel)
    about = taken.title if await reading.readable(db, services, [taken], here) else ""
    told = words.note(f"Incident {taken.id} is merged into this one", about=about, by=person)
    await cards.tell_thread(db, services, current, f"took:{taken.id}", told)
    await _enqueue(db, services, "stand_down", taken.id)
    await ask_for_links(db, services, taken.id, into.id)
    return True


async def _held_as_before(db: AsyncConnection, incident: Incident, before: Incident) -> Incident:
    """Where people took a failure over, nothing runs by itself for it wherever its alerts go."""
    if incident.by_hand or not before.by_hand:
        return incident
    held = {"by_hand": before.by_hand, "assigned_to": before.assigned_to}
    return await incidents.move(db, incident, incident.state, **held) or incident


# --- splitting ------------------------------------------------------------------------------------------


async def _split(db: AsyncConnection, services: Services, old: Incident, part: str, *, by: str, click: str) -> bool:
    """Give the alerts of a part an incident of their own; False where it has no firing alert any more."""
    stored = await grouping.stored_alerts(db, old.id)
    leaving = [one for one in stored if part in part_ids(one.alert)]
    staying = [one for one in stored if part not in part_ids(one.alert)]
    firing = [one.alert for one in leaving if one.alert.status is AlertStatus.FIRING]
    if not firing or not staying:
        return False
    alone = part.startswith("a:") or not naming(correlation.keys_of(firing[-1]).hold, ("workload",))
    named = {
        key
        for one in leaving
        for key in naming(correlation.keys_of(one.alert).hold, ("identity",) if alone else ("workload",))
    }
    choice = Choice(Verdict.APART)
    await grouping.choose(db, named, choice, by=by)
    left = {key for one in leaving for key in correlation.keys_of(one.alert).hold}
    kept = {key for one in staying for key in correlation.keys_of(one.alert).hold}
    await grouping.drop_keys(db, old.id, left - kept)
    new = await incidents.open_incident(
        db, replace(firing[-1], thread_ts="", asked_by=""), channel=old.channel or services.channel
    )
    new = await _held_as_before(db, new, old)
    held = {key for one in leaving for key in guided(correlation.keys_of(one.alert), dict.fromkeys(named, choice)).hold}
    await incidents.hold_keys(db, new.id, sorted(held))
    await grouping.move_alerts(db, [one.id for one in leaving], new.id)
    await grouping.began_with_its_alerts(db, new.id)
    for number in (old.id, new.id):
        await grouping.recount(db, number)
    await grouping.link(db, old.id, grouping.SPLIT, str(new.id), by=by, click=click)
    await grouping.link(db, new.id, grouping.FROM, str(old.id), by=by)
    await audit.record(db, "incident.split", actor=by, incident_id=old.id, into=new.id, part=workload_name(firing[-1]))
    await audit.record(db, "incident.opened", actor=by, incident_id=new.id, source=new.source, identity=new.identity)
    await _show_both(db, services, old.id, new, [one.alert for one in staying], by=by)
    return True


async def _show_both(
    db: AsyncConnection, services: Services, old_id: int, new: Incident, staying: Sequence[Alert], *, by: str
) -> None:
    current = await incidents.get(db, old_id)
    place = place_of(current, staying) if current else {}
    if current and (place or current.state in _ANSWERED):
        # The answer rested on alerts that are not its own any more.
        await approvals.withdraw_open(db, old_id, f"a part of it is incident {new.id} now", by=by)
        current = await incidents.move(db, current, S.DIAGNOSING, **place) or current
        await _enqueue(db, services, "gather_evidence", old_id)
    if current:
        await cards.show(db, services, current)
        told = words.note(f"A part of this is incident {new.id} now", about=new.title, by=by)
        await cards.tell_thread(db, services, current, f"split:{new.id}", told)
    opened = await incidents.get(db, new.id) or new
    await cards.show(db, services, opened, first=True)
    await _enqueue(db, services, "gather_evidence", new.id)
    await ask_for_links(db, services, old_id, new.id)


# --- a hint -----------------------------------------------------------------------------------------------------------

LIKE_WITHIN, LIKE_SHARE, LIKE_CHARS = timedelta(minutes=30), 0.8, 400


async def hint(db: AsyncConnection, services: Services, incident: Incident, answer: Diagnosis) -> None:
    """Say in the thread that another open incident reads the same. Likeness of text joins nothing by itself."""
    if incident.storm_id or incident.source == QUESTION_SOURCE or answer.healthy:
        return
    others = await grouping.alike(db, incident.id, kind=answer.kind, channel=incident.channel, within=LIKE_WITHIN)
    alike = next((one for one in others if _reads_the_same(answer.cause, one.cause)), None)
    if alike and await grouping.link(db, incident.id, grouping.LIKE, str(alike.id)):
        said = words.note(
            f"This may belong to incident {alike.id}; if so, the card's menu merges them", about=alike.title
        )
        await cards.tell_thread(db, services, incident, f"like:{alike.id}", said)
        await ask_for_links(db, services, incident.id)


def _reads_the_same(one: str, other: str) -> bool:
    one, other = one[:LIKE_CHARS], other[:LIKE_CHARS]
    return bool(one and other) and SequenceMatcher(None, one, other, autojunk=False).ratio() >= LIKE_SHARE


# --- links ----------------------------------------------------------------------------------------------------------


async def ask_for_links(db: AsyncConnection, services: Services, *numbers: int) -> None:
    """Have the cards of these incidents link what they are linked with, once Slack has told the addresses."""
    for number in numbers:
        await services.jobs.enqueue(
            db, "link_cards", lock=f"links:{number}", once=f"links:{number}", incident_id=number, tries=LINK_TRIES
        )


async def link_cards(services: Services, incident_id: int, tries: int = 1) -> None:
    """Find the addresses of what an incident is linked with; again later while a card is not posted yet."""
    async with services.engine.connect() as db:
        wanted = [one for one in await grouping.links_of(db, incident_id) if not one.url]
        places = {one: await _place(db, one) for one in wanted}
    urls = {one: await cards.permalink(services, place) for one, place in places.items()}
    async with services.engine.begin() as db:
        for one, url in urls.items():
            if url:
                await grouping.found_url(db, incident_id, one, url)
        incident = await incidents.get(db, incident_id)
        if incident and any(urls.values()):
            await cards.show(db, services, incident)
        if not all(urls.values()) and tries > 1:
            await services.jobs.enqueue(
                db, "link_cards", lock=f"links:{incident_id}", delay_s=LINK_EVERY_S, incident_id=incident_id,
                tries=tries - 1,
            )  # fmt: skip


async def _place(db: AsyncConnection, link: grouping.Link) -> outbox.CardPlace | None:
    if link.kind == grouping.POST:
        channel, _, ts = link.other.partition("/")
        return outbox.CardPlace(channel, ts, "")
    return await outbox.card_place(db, int(link.other))


async def _enqueue(db: AsyncConnection, services: Services, stage: str, incident_id: int) -> None:
    await services.jobs.enqueue(
        db, stage, lock=f"incident:{incident_id}", once=f"{stage}:{incident_id}", incident_id=incident_id
    )
