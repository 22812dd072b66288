"""GitHub does not repeat a delivery that failed: it is asked to, and delivers it as it does any other.

A delivery is known by its guid, which its repeats share: one of them that went well is enough, and GitHub's own list
says how often one was asked for already, so nothing has to be remembered here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from handlers.services import Services
from handlers.sources import fields, github
from knowledge.errors import CodeHealerError, NotFound, Refused
from knowledge.fingerprint import parse_time
from remediation.ports import CodeHost

log = structlog.get_logger(__name__)

APP = "app"
# GitHub keeps deliveries for three days; what failed the day before yesterday is no news.
OLDEST = timedelta(hours=24)
MOST_REPEATS = 3
MOST_AT_ONCE = 50
# Two requests each, four times an hour, of the 5,000 that GitHub gives in one.
MOST_PLACES = 100
NEEDS = "webhooks: write"
_PATH = "/webhooks/github"


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of a repository, or the App's own where `repository` is ""."""

    repository: str
    path: str


async def ask(services: Services) -> None:
    """Have GitHub repeat what it could not deliver. A hook that may not be read is said, and harms no other."""
    client = services.clients.code_host
    if client is None or "github" not in services.compare:
        return
    for place in places(services):
        try:
            for hook in await _hooks(client, place):
                await _repeat(client, hook, services.now())
        except (NotFound, Refused) as error:
            log.info("hook_not_looked_at", place=place, error=str(error))
        except CodeHealerError as error:
            log.warning("hook_not_looked_at", place=place, error=str(error))


def places(services: Services) -> list[str]:
    """Where hooks are looked for: as set, else the repositories of the policy."""
    if services.github_hooks:
        return list(services.github_hooks)
    return list(dict.fromkeys(row.repository for row in services.policy.services if row.repository))[:MOST_PLACES]


async def _hooks(client: CodeHost, place: str) -> list[Hook]:
    """The hooks there that post to a bot: an organisation's or another tool's are nobody's business here."""
    if place == APP:
        return [Hook("", "/hook/deliveries")]
    found = await client.read(place, "/hooks", {"per_page": 100})
    return [
        Hook(place, f"/hooks/{int(one['id'])}/deliveries")
        for one in fields.children(found)
        if isinstance(one.get("id"), int)
        and one.get("active") is not False
        and fields.text(fields.child(one, "config").get("url")).rstrip("/").endswith(_PATH)
    ]


async def _repeat(client: CodeHost, hook: Hook, now: datetime) -> None:
    query = {"per_page": 100}
    if hook.repository:
        rows = await client.read(hook.repository, hook.path, query)
    else:
        rows = await client.read_app(hook.path, query)
    wanted = to_repeat(fields.children(rows), now)
    for number in wanted:
        path = f"{hook.path}/{number}/attempts"
        if hook.repository:
            await client.write("POST", hook.repository, path, needs=NEEDS)
        else:
            await client.write_app(path, needs=NEEDS)
    if wanted:
        log.warning("deliveries_asked_for_again", place=hook.repository or APP, count=len(wanted))


def to_repeat(rows: Sequence[Mapping[str, Any]], now: datetime) -> list[int]:
    """Ids of the deliveries to ask for, oldest first: of each guid the newest, where none went well.

    Rows are GitHub's `hook-delivery-item`s, newest first. What we do not read is not asked for, nor what we refused for
    what it was (4xx but 401, 404, 408 and 429: a secret that was wrong, or a source that was off, may be right by now).
    """
    by_guid: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_guid.setdefault(fields.name(row.get("guid")), []).append(row)
    wanted = []
    for tries in by_guid.values():
        newest, at = tries[0], parse_time(tries[-1].get("delivered_at"))
        number, status = newest.get("id"), newest.get("status_code") or 0
        if (
            isinstance(number, int)
            and isinstance(status, int)
            and newest.get("event") in github.READ
            and at is not None
            and now - at <= OLDEST
            and len(tries) <= MOST_REPEATS
            and not any(_went_well(one) for one in tries)
            and (not 400 <= status < 500 or status in _MAY_PASS)
        ):
            wanted.append((at, number))
    return [number for _, number in sorted(wanted)][:MOST_AT_ONCE]


_MAY_PASS = frozenset({401, 404, 408, 429})


def _went_well(row: Mapping[str, Any]) -> bool:
    status = row.get("status_code")
    return isinstance(status, int) and 200 <= status < 300
