"""Who may read what: an answer carries nothing of a closed channel, or of a closed namespace, into a wider channel.

Closed are private channels, direct messages, channels that are not known (yet), and those that other companies read;
and the namespaces that the policy calls private or protected.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import routing, slack_calls
from handlers.services import Services
from knowledge.errors import Unavailable
from knowledge.model import Alert, Incident
from knowledge.store import threads
from knowledge.store.threads import Asked, Closed
from remediation.policy import Policy

log = structlog.get_logger(__name__)

# A command is answered within three seconds, whatever Slack says of who asks.
LOOK_UP_S = 1.0
CHANNELS_KEPT_S, MOST_CHANNELS = 60.0, 999


@dataclass(frozen=True, slots=True)
class Reader:
    """Where an answer will be read. `member`: by people who may read every public channel; `timezone`: whoever asks."""

    channel: str
    member: bool = True
    timezone: str = field(default="UTC", compare=False)


async def reader_of(services: Services, channel: str, user: str) -> Reader:
    """Who reads a private answer. A guest, and somebody Slack does not describe in time, reads this channel alone."""
    try:
        async with asyncio.timeout(LOOK_UP_S):
            person = await services.people.look_up(user)
    except (TimeoutError, Unavailable):
        return Reader(channel, member=False)
    member = not (person.restricted or person.foreign or person.deleted)
    return Reader(channel, member=member, timezone=person.timezone)


async def channels_of(services: Services, user: str) -> frozenset[str]:
    """The channels that both the person and the bot are in, at most a minute old; none where Slack does not say."""
    found: frozenset[str] = await services.kept.get(
        ("channels", user), CHANNELS_KEPT_S, lambda: _joined(services, user)
    )
    return found


async def _joined(services: Services, user: str) -> frozenset[str]:
    try:
        async with asyncio.timeout(LOOK_UP_S):
            page = await slack_calls.read(
                services.slack.users_conversations,
                user=user,
                types="public_channel,private_channel",
                limit=MOST_CHANNELS,
            )
    except (TimeoutError, Unavailable, slack_calls.Refusal) as error:
        log.warning("channels_of_person_not_known", error=str(error) or type(error).__name__)
        return frozenset()
    return frozenset(str(one["id"]) for one in page["channels"])


async def is_closed(db: AsyncConnection, channel: str) -> bool:
    """Whether a channel is known to be read by its members alone."""
    place = await threads.channel(db, channel)
    return place is not None and place.audience == "members"


async def is_open(db: AsyncConnection, channel: str) -> bool:
    """Whether every full member is known to read a channel."""
    place = await threads.channel(db, channel)
    return place is not None and place.audience == "all"


async def readable(
    db: AsyncConnection, services: Services, incidents: Sequence[Incident], reader: Reader
) -> list[Incident]:
    """Those of the incidents that may be told of to the reader."""
    open_to_all = {one.id for one in await threads.channels(db) if one.audience == "all"}
    closed = closed_by(services.policy).namespaces
    return [one for one in incidents if _may_read(services, one, reader, open_to_all, closed)]


def _may_read(
    services: Services, incident: Incident, reader: Reader, open_to_all: set[str], closed: frozenset[str]
) -> bool:
    channel = incident.channel or services.channel
    if channel == reader.channel:
        return True
    target = incident.target.namespace if incident.target else ""
    return reader.member and channel in open_to_all and not {incident.namespace, target} & closed


async def open_alerts(db: AsyncConnection, services: Services, reader: Reader) -> Callable[[Alert], bool]:
    """Which alerts without a card the reader may be told of: as if their card stood where it would be posted."""
    open_to_all = {one.id for one in await threads.channels(db) if one.audience == "all"}
    closed = closed_by(services.policy).namespaces

    def shows(alert: Alert) -> bool:
        channel = alert.channel if alert.closed else routing.channel_for(services.policy, alert, services.channel)
        if channel == reader.channel:
            return True
        return reader.member and channel in open_to_all and alert.namespace not in closed

    return shows


def closed_by(policy: Policy, *, service: str = "") -> Closed:
    """What the policy closes: namespaces, and the services in them but the one that is asked about."""
    namespaces = frozenset({*policy.private_namespaces, *policy.protected_namespaces})
    services = frozenset(row.name for row in policy.services if row.namespace in namespaces)
    return Closed(namespaces, services - {service})


def asked_in(services: Services, incident: Incident) -> Asked:
    """The place of an incident's card, for what is shown on it."""
    return Asked(
        channel=incident.channel or services.channel, closed=closed_by(services.policy, service=incident.service)
    )
