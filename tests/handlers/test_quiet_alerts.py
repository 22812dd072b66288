"""What is silenced or under maintenance opens no card, is shown, and opens one when the quiet is over."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from bot.sandbox.server import Sandbox
from handlers import commands, flow, hushing, inbox
from handlers.reading import Reader
from handlers.services import Services
from handlers.sources import kubernetes
from knowledge.model import Alert, AlertStatus
from knowledge.store import incidents
from remediation.alertmanager import AlertmanagerServer
from remediation.policy import parse_policy
from remediation.policy_file import Maintenance
from remediation.ports import Clients, Silence
from tests.handlers.office import rows
from tests.rows import S, alert, an_incident, ended
from tests.waiting import until

NOW = datetime.now(UTC)


@pytest_asyncio.fixture
async def asking(services: Services, sandbox: Sandbox) -> AsyncIterator[Services]:
    """Services that know the sandbox's Alertmanager."""
    async with httpx.AsyncClient() as http:
        yield replace(services, clients=Clients(silences=AlertmanagerServer(http, sandbox.env["ALERTMANAGER_URL"])))


async def came(services: Services, *alerts: Alert) -> None:
    for one in alerts:
        await flow.accept_alerts(services, [one], source=one.source, delivery_id=uuid.uuid4().hex)
    while await inbox.drain(services):
        pass


async def titles(services: Services, *, only_open: bool = True) -> list[str]:
    async with services.engine.connect() as db:
        return sorted(one.title for one in await incidents.listed(db, only_open=only_open))


async def status(services: Services) -> str:
    async with services.engine.connect() as db:
        return (await commands.answer(db, services, "status", Reader(services.channel))).text


async def silenced(services: Services, sandbox: Sandbox) -> Alert:
    """The one alert that the sandbox's Alertmanager has, silenced there."""
    client = services.clients.silences
    assert isinstance(client, AlertmanagerServer)
    await sandbox.world.break_("release-crash-checkout")
    while not (found := await client.alerts()):
        pass
    body: dict[str, Any] = {
        "matchers": [{"name": "alertname", "value": ".*", "isRegex": True}],
        "startsAt": (NOW - timedelta(minutes=1)).isoformat(),
        "endsAt": (NOW + timedelta(hours=1)).isoformat(),
        "createdBy": "kim",
        "comment": "rolling back",
    }
    await client.http.post(f"{client.server}/api/v2/silences", json=body)
    return alert("Silenced", fingerprint=found[0]["fingerprint"])


async def end_silences(services: Services, sandbox: Sandbox) -> None:
    client = services.clients.silences
    assert isinstance(client, AlertmanagerServer)
    for number in list(sandbox.world.alertmanager.silences):
        await client.http.delete(f"{client.server}/api/v2/silence/{number}")
    services.hush.ask_again_at = 0.0


async def test_a_silenced_alert_opens_its_card_when_the_silence_ends_and_it_fires_still(
    asking: Services, sandbox: Sandbox
) -> None:
    quiet = await silenced(asking, sandbox)
    await came(asking, quiet, alert("Loud", namespace="pay", owner="pay", service="pay"))
    assert await titles(asking) == ["Loud"]
    said = await status(asking)
    assert "1 alert kept quiet" in said
    assert "by kim: rolling back" in said
    await hushing.tell_what_lasted(asking)
    await came(asking)
    assert await titles(asking) == ["Loud"]
    await end_silences(asking, sandbox)
    for _ in range(2):
        await hushing.tell_what_lasted(asking)
        await came(asking)
    assert await titles(asking) == ["Loud", "Silenced"]
    assert "kept quiet" not in await status(asking)


async def test_an_alert_that_ends_in_its_silence_is_never_told_of(asking: Services, sandbox: Sandbox) -> None:
    quiet = await silenced(asking, sandbox)
    await came(asking, quiet, ended(quiet))
    await end_silences(asking, sandbox)
    await hushing.tell_what_lasted(asking)
    await came(asking)
    assert await titles(asking, only_open=False) == []


@pytest.mark.parametrize(
    ("start", "kept"),
    [(NOW - timedelta(hours=3), True), (NOW, False), (NOW + timedelta(seconds=1), False), (None, False)],
)
async def test_the_late_end_of_an_earlier_spell_leaves_the_one_that_is_kept_quiet(
    asking: Services, sandbox: Sandbox, start: datetime | None, kept: bool
) -> None:
    quiet = replace(await silenced(asking, sandbox), started_at=NOW)
    await came(asking, quiet, ended(quiet, started_at=start))
    assert ("1 alert kept quiet" in await status(asking)) == kept


async def test_the_end_of_what_is_kept_quiet_without_a_start_is_its_end(asking: Services, sandbox: Sandbox) -> None:
    quiet = replace(await silenced(asking, sandbox), started_at=None)
    await came(asking, quiet, ended(quiet, started_at=NOW))
    assert "kept quiet" not in await status(asking)


async def test_without_an_answer_nothing_counts_as_silenced(asking: Services, sandbox: Sandbox) -> None:
    quiet = await silenced(asking, sandbox)
    sandbox.world.faults["alertmanager"].update(error_next=99, status=503)
    await came(asking, quiet, replace(quiet, identity="b", title="Other"))
    assert await titles(asking) == ["Silenced"]
    asked = [one for one in sandbox.world.requests if one["query"].get("active") == "false"]
    assert len(asked) == 1  # and for a while nobody waits for it


async def test_maintenance_keeps_what_it_names_quiet_and_nothing_else(services: Services) -> None:
    entry = Maintenance.model_validate(
        {
            "from": (NOW - timedelta(hours=1)).isoformat(),
            "to": (NOW + timedelta(hours=1)).isoformat(),
            "namespaces": ["shop"],
            "reason": "moving the database",
        }
    )
    policy = services.policy.model_copy(update={"maintenance": (entry,)})
    under = replace(services, policy=policy)
    pod = alert("crashloop", source="kubernetes", identity="pod")
    info = alert("Watchdog", actionable=False, namespace="monitoring", owner="", workload="", identity="dog")
    await came(under, pod, alert("Elsewhere", namespace="pay", owner="pay", service="pay"), info)
    assert await titles(under) == ["Elsewhere"]
    said = await status(under)
    assert "under maintenance until" in said
    assert "moving the database" in said
    assert "1 informational alert" in said
    assert "Watchdog" in said
    later = replace(under, now=lambda: datetime.now(UTC) + timedelta(hours=2))
    await hushing.tell_what_lasted(later)
    await came(later)
    assert await titles(later) == ["Elsewhere", "crashloop"]


def of_the_shop(services: Services) -> Services:
    """Maintenance of the shop for an hour to come, and an Alertmanager."""
    hours = {"from": (NOW - timedelta(hours=1)).isoformat(), "to": (NOW + timedelta(hours=1)).isoformat()}
    entry = Maintenance.model_validate({**hours, "namespaces": ["shop"]})
    return replace(services, policy=services.policy.model_copy(update={"maintenance": (entry,)}))


# --- what fires in its quiet and has no sender that tells its end -----------------------------------------------------


def of_pod(name: str, title: str = "", **changes: Any) -> Alert:
    target = {"kind": "Pod", "name": name, "namespace": "shop", "cluster": "sandbox"}
    about: dict[str, Any] = {"owner": name, "workload": name, "target": target, **changes}
    return alert(title or name, source="kubernetes", fingerprint="", **about)


async def lasted(services: Services, *held: Alert, now: datetime | None = None) -> list[str]:
    """What is open once the maintenance that kept these quiet is over; at `now` there is none any more."""
    await came(of_the_shop(services), *held)
    assert await titles(services, only_open=False) == []
    later = replace(services, now=lambda: now or datetime.now(UTC) + timedelta(hours=2))
    await hushing.tell_what_lasted(later)
    await came(later)
    return await titles(services)


async def test_of_pods_that_failed_under_maintenance_only_those_that_fail_still_are_told_of(
    looking: Services, sandbox: Sandbox
) -> None:
    cluster = sandbox.world.kubernetes.cluster
    well = str(cluster.pods("orders")[0]["metadata"]["name"])
    await sandbox.world.break_("release-crash-checkout")

    def crashing() -> list[str]:
        found = [one for one in cluster.pods("checkout") if kubernetes.parse({"kind": "Pod", **one}, {})[0].actionable]
        return [str(one["metadata"]["name"]) for one in found]

    await until(lambda: bool(crashing()))
    failing = crashing()[0]
    assert await lasted(looking, *map(of_pod, (well, "checkout-5d8f7c9b6d-gone1", failing))) == [failing]
    assert "kept quiet" not in await status(looking)


async def test_a_pod_that_has_been_well_for_a_moment_is_looked_at_again(looking: Services, sandbox: Sandbox) -> None:
    pod = sandbox.world.kubernetes.cluster.pods("orders")[0]
    moments = [one["lastTransitionTime"] for one in pod["status"]["conditions"] if one["type"] == "Ready"]
    moments += [one["state"]["running"]["startedAt"] for one in pod["status"]["containerStatuses"]]
    newest = max(datetime.fromisoformat(one.replace("Z", "+00:00")) for one in moments)
    assert await lasted(looking, of_pod(pod["metadata"]["name"]), now=newest + timedelta(seconds=59)) == []
    assert "1 alert kept quiet" in await status(looking)
    await hushing.tell_what_lasted(replace(looking, now=lambda: newest + timedelta(seconds=61)))
    await came(looking)
    assert await titles(looking) == []
    assert "kept quiet" not in await status(looking)


async def test_what_cannot_be_looked_at_when_the_quiet_ends_is_told_of(looking: Services, sandbox: Sandbox) -> None:
    well = str(sandbox.world.kubernetes.cluster.pods("orders")[0]["metadata"]["name"])
    elsewhere, words = of_pod(well, "Elsewhere", cluster="another"), of_pod(well, "Words", owner="", trusted=False)
    assert await lasted(looking, of_pod(well), elsewhere, words) == ["Elsewhere", "Words"]


@pytest.mark.parametrize(("ended_as", "told"), [("success", []), ("failure", ["CI"])])
async def test_a_run_that_failed_under_maintenance_is_told_of_unless_it_has_succeeded_since(
    looking: Services, sandbox: Sandbox, ended_as: str, told: list[str]
) -> None:
    store = sandbox.world.github.store
    repository = store.repositories["acme/catalog"]
    run = store.start(repository, repository.head.sha, "Build")
    run.announced, run.branch, run.last.status, run.last.conclusion = True, "rounding", "completed", ended_as
    held = alert("CI", source="github", fingerprint="", repository="acme/catalog", run_id=str(run.id))
    assert await lasted(looking, held) == told


class Restarted(AlertmanagerServer):
    """One that has just started, and has nothing yet."""

    async def alerts(self) -> list[dict[str, Any]]:
        return []

    async def muted(self) -> dict[str, Silence]:
        return {}


async def test_what_one_alertmanager_does_not_know_is_told_of_when_the_quiet_ends(asking: Services) -> None:
    under = of_the_shop(asking)
    await came(under, alert("Of another"))
    later = replace(under, now=lambda: datetime.now(UTC) + timedelta(hours=2))
    await hushing.tell_what_lasted(later)
    await came(later)
    assert await titles(later) == ["Of another"]


async def test_what_an_alertmanager_has_lost_is_news_when_it_comes_again(asking: Services, sandbox: Sandbox) -> None:
    lost = await silenced(asking, sandbox)
    await came(asking, lost)
    client = asking.clients.silences
    assert isinstance(client, AlertmanagerServer)
    started = Restarted(client.http, client.server)
    await end_silences(asking, sandbox)
    asking = replace(asking, clients=Clients(silences=started))
    await hushing.tell_what_lasted(asking)
    await came(asking)
    assert await titles(asking) == []
    await came(asking, lost)
    assert await titles(asking) == ["Silenced"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{from: 2026-03-02 20:00, to: 2026-03-02 19:00, services: [a]}", "'from' must be before 'to'"),
        ("{from: 2026-03-02 20:00, to: 2026-03-02 21:00}", "name the services, namespaces or environments"),
        ("{from: 2026-03-02 20:00, to: 2026-03-02 21:00, services: [a], timezone: Mars}", "no time zone"),
    ],
)
def test_a_maintenance_that_is_not_understood_is_told(line: str, problem: str) -> None:
    with pytest.raises(Exception, match=problem):
        parse_policy(f"version: 1\nmaintenance:\n  - {line}\n")


# --- PagerDuty's word about a page of ours --------------------------------------------------------------------------


def page_word(number: int, what: str) -> Alert:
    return Alert(
        "pagerduty", AlertStatus.INFO, "checkout", "pd:1", fingerprint=f"codehealer-incident-{number}",
        labels={"event_type": f"incident.{what}", "agent": "Kim Lee"}, actionable=False,
    )  # fmt: skip


async def test_a_page_that_somebody_resolved_ends_its_incident_unless_the_alert_fires(services: Services) -> None:
    async with services.engine.begin() as db:
        over = await an_incident(db, state=S.ESCALATED)
        firing = await an_incident(db, state=S.ESCALATED, identity="other")
        await incidents.add_alert(db, ended(alert()), over.id)
    for incident in (over, firing):
        await came(services, page_word(incident.id, "resolved"))
        await came(services, replace(page_word(incident.id, "acknowledged"), summary="late"))
    found = await rows(services.engine, "SELECT state, by_hand FROM incidents ORDER BY id")
    assert [tuple(row) for row in found] == [("resolved", ""), ("escalated", "resolved in PagerDuty by Kim Lee")]


# --- a post that its app edits --------------------------------------------------------------------------------------


async def test_a_post_edited_to_other_words_ends_what_it_told_of(services: Services) -> None:
    first = alert("Deploy failed", source="slack", channel="C1", message_ts="1.5", fingerprint="")
    await came(services, first)
    counted = replace(first, title="Deploy failed (2)", identity="id:2")
    await came(services, counted)
    assert await titles(services, only_open=False) == ["Deploy failed"]
    over = replace(first, title="All is well", identity="id:3", status=AlertStatus.RESOLVED)
    await came(services, over)
    assert await titles(services) == []


async def test_the_end_of_another_alert_closes_nothing_that_only_the_live_system_tells_of(services: Services) -> None:
    watched = alert("crashloop", source="kubernetes", identity="pod", fingerprint="")
    lately = alert("CPUThrottlingHigh", actionable=False)
    await came(services, watched, lately, ended(lately), ended(alert("Never heard of")))
    assert await titles(services) == ["crashloop"]
    synced = alert("SyncFailed", source="argocd", identity="app", fingerprint="", namespace="pay", owner="pay")
    await came(services, synced, ended(synced))
    assert await titles(services) == ["crashloop"], "an application's own end is its incident's"


async def test_a_post_that_is_kept_quiet_and_edited_to_other_words_has_ended(services: Services) -> None:
    under = of_the_shop(services)
    first = alert("Deploy failed", source="slack", channel="C1", message_ts="1.5", fingerprint="")
    over = replace(first, title="All is well", identity="id:3", status=AlertStatus.RESOLVED)
    await came(under, first, replace(first, title="Deploy failed (2)", identity="id:2"))
    assert "1 alert kept quiet" in await status(under)
    await came(under, over)
    later = replace(under, now=lambda: datetime.now(UTC) + timedelta(hours=2))
    await hushing.tell_what_lasted(later)
    await came(later)
    assert await titles(later) == []
