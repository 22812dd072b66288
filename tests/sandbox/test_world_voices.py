"""How the world announces itself, and the two small systems beside it: Argo CD and PagerDuty."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bot.sandbox.tokens import Tokens
from bot.sandbox.world import alerts
from tests.sandbox.world_fixtures import running_world, take
from tests.waiting import until


async def test_alertmanager_fires_once_and_resolves_by_the_state() -> None:
    async with running_world() as running:
        scenario = await running.break_("stuck-pod-payments")
        await running.until(lambda: running.webhooks, "the alert arrives")
        source, body, headers, _ = running.webhooks[0]
        assert source == "alertmanager"
        assert headers["Authorization"] == f"Bearer {running.tokens.webhook}"
        assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "codehealer")
        alert = body["alerts"][0]
        assert alert["labels"]["namespace"] == "payments"
        assert alert["endsAt"] == "0001-01-01T00:00:00Z"
        await running.turns(20)
        assert not any(w[1]["status"] == "resolved" for w in running.webhooks)
        await take(running, scenario.service, scenario.proofs.heals)
        await running.until(lambda: running.webhooks[-1][1]["status"] == "resolved", "the alert is resolved")
        resolved = running.webhooks[-1][1]["alerts"][0]
        assert resolved["fingerprint"] == alert["fingerprint"]
        assert resolved["startsAt"] == alert["startsAt"]


async def test_an_alert_is_repeated_while_it_fires() -> None:
    async with running_world() as running:
        await running.break_("oom-orders")
        await running.until(lambda: len(running.webhooks) >= 3, "the alert is repeated")
        assert len({w[1]["alerts"][0]["fingerprint"] for w in running.webhooks}) == 1


async def test_a_slack_alert_is_posted_as_alertmanager_does_it() -> None:
    async with running_world() as running:
        await running.break_("image-missing-payments")
        await running.until(lambda: running.posts, "the post is made")
        channel, app, text, attachments, blocks = running.posts[0]
        assert (channel, app, text, blocks) == ("alerts", "Alertmanager", "", [])
        assert attachments[0]["title"].startswith("[FIRING:1] KubeContainerWaiting")
        assert attachments[0]["color"] == "danger"
        assert {"title": "service", "value": "payments-api", "short": True} in attachments[0]["fields"]


async def test_a_cluster_failure_without_an_alert_stays_silent() -> None:
    async with running_world() as running:
        await running.break_("stuck-pod-checkout")
        await running.turns(100)
        assert (running.webhooks, running.posts) == ([], [])


async def test_the_false_alarm_fires_when_everything_is_well() -> None:
    async with running_world() as running:
        await running.break_("false-alarm-catalog")
        await running.until(
            lambda: any(w[0] == "alertmanager" for w in running.webhooks), "the alert arrives though all is well"
        )
        assert running.service("catalog")["status"] == "healthy"
        await running.until(
            lambda: any(w[1].get("status") == "resolved" for w in running.webhooks), "and is resolved soon after"
        )


async def test_argocd_shows_syncs_and_rolls_back() -> None:
    async with running_world() as running:
        listed = (await running.argocd("GET", "applications")).json()["items"]
        assert {a["status"]["health"]["status"] for a in listed} == {"Healthy"}
        assert {a["status"]["sync"]["status"] for a in listed} == {"Synced"}
        app = (await running.argocd("GET", "applications/checkout")).json()
        first = app["status"]["history"][0]
        metadata = await running.argocd("GET", f"applications/checkout/revisions/{first['revision']}/metadata")
        assert metadata.json()["message"] == "Release checkout 2.14.0"
        tree = (await running.argocd("GET", "applications/checkout/resource-tree")).json()["nodes"]
        assert {n["kind"] for n in tree} == {"Deployment", "ReplicaSet", "Pod"}
        answer = await running.argocd("POST", "applications/checkout/rollback", {"name": "checkout", "id": first["id"]})
        assert answer.status_code == 200
        await running.until(
            lambda: running.service("checkout")["image"].endswith(":2.14.0"), "the old version is applied"
        )
        after = (await running.argocd("GET", "applications/checkout")).json()["status"]
        assert after["sync"]["status"] == "OutOfSync"


async def test_argocd_refuses_what_argocd_refuses() -> None:
    async with running_world() as running:
        answer = await running.argocd("POST", "applications/notifications/rollback", {"id": 0})
        assert answer.status_code == 400
        assert answer.json()["message"] == "rollback cannot be initiated when auto-sync is enabled"
        assert (await running.argocd("GET", "applications/nothing")).status_code == 404
        bare = await running.http.get(f"{running.url}/argocd/api/v1/applications")
        assert (bare.status_code, bare.json()["message"]) == (401, "no session information")


async def test_a_failed_sync_is_posted_by_argocd() -> None:
    async with running_world() as running:
        await running.break_("argocd-sync-notifications")
        await running.until(lambda: running.posts, "Argo CD posts")
        assert running.posts[0][1] == "Argo CD"
        app = (await running.argocd("GET", "applications/notifications")).json()
        assert app["status"]["operationState"]["phase"] == "Failed"
        assert "field is immutable" in app["status"]["operationState"]["message"]


@pytest.mark.parametrize("missing", ["routing_key", "payload", "event_action"])
async def test_pagerduty_takes_whole_events_only(missing: str) -> None:
    async with running_world() as running:
        url = f"{running.url}/pagerduty/v2/enqueue"
        event = {
            "routing_key": running.tokens.pagerduty_routing_key,
            "event_action": "trigger",
            "dedup_key": "incident-1",
            "payload": {"summary": "checkout is down", "source": "codehealer", "severity": "critical"},
        }
        accepted = await running.http.post(url, json=event)
        assert (accepted.status_code, accepted.json()["dedup_key"]) == (202, "incident-1")
        event.pop(missing)
        assert (await running.http.post(url, json=event)).status_code == 400
        assert running.world.pagerduty.alerts["incident-1"]["status"] == "triggered"


async def test_alertmanager_tries_until_it_is_heard_and_says_the_newest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "RETRIES", (0.001,))
    refused, heard = 0, []

    async def receive(request: web.Request) -> web.Response:
        nonlocal refused
        body = await request.json()
        if body["status"] == "firing" or refused < 100:
            refused += 1
            return web.Response(status=503)
        heard.append(body["status"])
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/webhooks/alertmanager", receive)
    async with TestServer(app) as server:
        sender = alerts.Sender(str(server.make_url("")).rstrip("/"), Tokens())
        await sender.start()
        try:
            for status in ("firing", "resolved"):
                sender.alertmanager({"groupKey": "one", "status": status})
                await until(lambda: refused > 50)
            await until(lambda: heard == ["resolved"])
            before = refused
            sender.alertmanager({"groupKey": "one", "status": "resolved"})
            await until(lambda: len(heard) == 2)
            assert refused == before, "what was replaced is not tried any more"
        finally:
            await sender.stop()
