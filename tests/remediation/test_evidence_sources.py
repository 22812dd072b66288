"""What each source adds to the evidence, on the sandbox's world and through the real clients."""

import asyncio
import contextlib
import copy
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import stamina

from bot.sandbox.world.github_store import Failure
from knowledge.errors import CodeHealerError, NotFound, Refused, SettingsError, Unavailable
from knowledge.model import Alert, AlertStatus, Evidence
from remediation.alertmanager import AlertmanagerServer
from remediation.argocd import ArgoCdServer
from remediation.code_host import GitHubHost
from remediation.evidence import collect, github_actions
from remediation.evidence.piece import Piece
from remediation.evidence.status_pages import symptoms_of
from remediation.prometheus import PrometheusServer
from remediation.status_pages import StatusPageReader, parse_pages
from tests.programs import need_program
from tests.remediation.site import Site


async def look(site: Site, name: str, **changes: Any) -> dict[str, list[Evidence]]:
    """The evidence for a service's incident, by kind."""
    alerts = changes.pop("alerts", ())
    incident = site.incident(name, target=site.target(name), **changes)
    found: dict[str, list[Evidence]] = {}
    for item in await collect(incident, site.clients, policy=site.policy, alerts=alerts):
        found.setdefault(item.kind, []).append(item)
    return found


def first_lines(items: list[Evidence]) -> list[str]:
    return [item.text.partition("\n")[0] for item in items]


# --- Kubernetes and what changed ----------------------------------------------------------------------------------


async def test_a_release_is_named_as_what_changed_with_its_commit_and_its_effect(site: Site) -> None:
    await site.broken("release-crash-checkout")
    found = await look(site, "checkout")
    rollout, deployed = first_lines(found["changes"])
    assert rollout.startswith("image 2.14.1 → 2.14.2, ")
    assert "revision 2 → 3" in rollout
    assert '"Release checkout 2.14.2" (1 commit; deploy/kustomization.yaml)' in deployed
    assert "release checkout 2.14.2" in found["rollout"][0].text
    assert not any(item.could_not for items in found.values() for item in items if item.kind != "logs")
    # Without Argo CD the images name their commits.
    site.clients = replace(site.clients, argocd=None)
    (rollout,) = first_lines((await look(site, "checkout"))["changes"])
    assert rollout.endswith('1 commit, newest "Release checkout 2.14.2"; deploy/kustomization.yaml')


async def test_nodes_autoscaler_volumes_and_quota_are_looked_at_where_the_symptom_points(site: Site) -> None:
    store = site.store()
    well = await look(site, "checkout")
    assert not {"node", "autoscaler", "volumes", "quota"} & well.keys()
    victim = site.world.kubernetes.cluster.pods("checkout")[-1]
    spec = {**victim["spec"], "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "absent"}}]}
    victim = store.update("pods", {**victim, "spec": spec})
    node = copy.deepcopy(store.get("nodes", "", victim["spec"]["nodeName"]))
    node["status"]["conditions"][1].update(status="True", reason="KubeletHasDiskPressure", message="disk is full")
    store.update("nodes", node)
    store.create("resourcequotas", {
        "metadata": {"name": "team", "namespace": "shop"}, "spec": {"hard": {"pods": "5", "requests.cpu": "100"}},
        "status": {"hard": {"pods": "5", "requests.cpu": "100"}, "used": {"pods": "5", "requests.cpu": "1250m"}},
    })  # fmt: skip
    store.create("horizontalpodautoscalers", hpa("checkout"))
    await site.broken("stuck-pod-checkout")
    live = site.world.kubernetes.cluster.deployment("checkout")
    store.update("deployments", {**live, "spec": {**live["spec"], "replicas": 6}})
    name = victim["metadata"]["name"]
    await site.until(lambda: not_ready(site, name), "the pod is not ready")
    found = await look(site, "checkout", workload=name)
    assert "Condition DiskPressure: True KubeletHasDiskPressure: disk is full" in found["node"][0].text
    assert "2 now, 4 wanted, from 2 to 4" in found["autoscaler"][0].text
    assert "cpu target 80 %, now 140 %" in found["autoscaler"][0].text
    assert "ScalingLimited: TooManyReplicas" in found["autoscaler"][0].text
    assert 'persistentvolumeclaim "absent" not found' in found["volumes"][0].text
    assert found["quota"][0].text == "ResourceQuota team: pods 5 of 5"


def not_ready(site: Site, name: str) -> bool:
    pod = site.store().get("pods", "shop", name)
    return any(c["type"] == "Ready" and c["status"] == "False" for c in pod["status"]["conditions"])


def hpa(name: str) -> dict[str, Any]:
    def cpu(key: str, share: int) -> dict[str, Any]:
        return {"type": "Resource", "resource": {"name": "cpu", key: {"averageUtilization": share}}}

    limited = {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas", "message": "at the most"}
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 2, "maxReplicas": 4, "metrics": [cpu("target", 80)],
        },
        "status": {
            "currentReplicas": 2, "desiredReplicas": 4, "currentMetrics": [cpu("current", 140)],
            "conditions": [limited],
        },
    }  # fmt: skip


async def test_a_stateful_set_has_its_history_in_controller_revisions(site: Site) -> None:
    store, deployment = site.store(), site.world.kubernetes.cluster.deployment("orders")
    body = {"metadata": {"name": "queue", "namespace": "shop"}, "spec": deployment["spec"], "status": {"replicas": 0}}
    queue = store.create(
        "statefulsets", {**body, "spec": {**body["spec"], "selector": {"matchLabels": {"app": "queue"}}}}
    )
    owner = {"kind": "StatefulSet", "name": "queue", "uid": queue["metadata"]["uid"], "controller": True}
    old = copy.deepcopy(deployment["spec"]["template"])
    old["spec"]["containers"][0]["image"] = "registry.acme.example/acme/orders:3.7.9"
    for number, template, days in ((1, old, 9.0), (2, deployment["spec"]["template"], 0.01)):
        meta = {"name": f"queue-{number}", "namespace": "shop", "labels": {"app": "queue"}, "ownerReferences": [owner]}
        row = {"metadata": meta, "revision": number, "data": {"spec": {"template": {"$patch": "replace", **template}}}}
        store.create("controllerrevisions", row, created_at=site.world.kubernetes.cluster.clock() - days * 86400)
    found = {e.kind: e for e in await collect(site.incident("orders", workload="queue"), site.clients)}
    assert "revision 2 (current): registry.acme.example/acme/orders:3.8.1" in found["rollout"].text
    assert found["changes"].text.startswith("image 3.7.9 → 3.8.1; revision 1 → 2")


# --- GitHub Actions -----------------------------------------------------------------------------------------------


async def test_a_failed_run_has_its_commits_since_the_last_success_and_its_annotations(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = site.world.github.store.repositories["acme/orders"]
    noted = Failure("Run tests", ("FAILED tests/test_a.py",), path="src/totals.py", line=12, note="0.26 is not 0.24")
    site.world.github.store.causes["test"] = lambda where, run, _, job: (
        noted if where is repository and job == "test" and run.sha == repository.head.sha else None
    )
    commit = site.world.github.store.commit(repository, "Round halves up", {"src/totals.py": "x\n"})
    run = site.world.github.store.start(repository, commit.sha, commit.message)
    run.branch = "rounding"
    await site.until(lambda: run.last.conclusion == "failure", "the run failed")
    incident = site.incident(
        "orders", namespace="", workload="", repository="acme/orders", run_id=str(run.id), target=None
    )
    found = {e.kind: e for e in await collect(incident, site.clients, policy=site.policy)}
    assert found["changes"].text.startswith('1 commit, newest "Round halves up"; src/totals.py\n')
    assert "last success: run 2 " in found["changes"].text
    assert ", branch main, commit " in found["changes"].text
    assert found["changes"].link.endswith(f"...{commit.sha}")
    # Not the runner's own note that the step failed: the log says that too, and more.
    assert found["annotations"].text == "Job test:\n  failure src/totals.py:12: 0.26 is not 0.24"
    assert "Failed step 4: Run tests" in found["workflow_run"].text
    # A log that does not come takes nothing else with it.
    monkeypatch.setattr(github_actions, "PART_DEADLINE_S", 0.5)
    monkeypatch.setattr(GitHubHost, "job_log", lambda *_, **__: asyncio.Event().wait())
    found = {e.kind: e for e in await collect(incident, site.clients, policy=site.policy)}
    assert found["job_log"].could_not.startswith("no answer within")
    assert {"workflow_run", "changes"} <= found.keys()


# --- Argo CD ------------------------------------------------------------------------------------------------------


async def test_an_application_tells_its_failed_sync_and_how_it_differs_from_git(site: Site) -> None:
    await site.world.break_("argocd-sync-notifications")
    app = site.world.argocd.store.apps["notifications"]
    await site.until(lambda: app.operation.phase == "Failed", "the sync failed")
    cluster = site.world.kubernetes.cluster
    live = copy.deepcopy(cluster.deployment("notifications"))
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.acme.example/acme/notifications:0.40.2"
    cluster.store.update("deployments", live)
    found = await look(site, "notifications")
    text = found["argocd"][0].text
    assert "Last operation: Failed: one or more objects failed to apply" in text
    assert "Deployment/notifications: SyncFailed" in text
    assert "Deployment/notifications is OutOfSync" in text
    assert "[notifications].image: registry.acme.example/acme/notifications:0.40.2 → " in text
    assert any('"Label the worker tier" (1 commit' in line for line in first_lines(found["changes"]))


# --- metrics ------------------------------------------------------------------------------------------------------


async def test_metrics_that_cannot_be_had_are_said_by_name(site: Site) -> None:
    good = 'kube_deployment_spec_replicas{deployment=~"check.*"}'
    queries = {"replicas": good, "broken": "sum(", "too clever": "rate(up[5m])", "absent": "no_such_metric"}
    rows = tuple(s.model_copy(update={"metrics": queries}) for s in site.policy.services if s.name == "checkout")
    policy = site.policy.model_copy(update={"services": rows})
    incident = site.incident("checkout", target=site.target("checkout"))
    clients = replace(site.clients, cluster=None, argocd=None)
    items = [e for e in await collect(incident, clients, policy=policy) if e.kind == "metrics"]
    assert items[0].text.splitlines() == [
        "all as 15 min before the failure", "  replicas 3, was 3", "  absent: no data",
    ]  # fmt: skip
    assert [e.source for e in items[1:]] == ["checkout broken", "checkout too clever"]
    assert "parse error" in items[1].could_not
    unconnected = await collect(incident, replace(clients, metrics=None), policy=policy)
    assert "set PROMETHEUS_URL" in next(e for e in unconnected if e.kind == "metrics").could_not


async def test_a_metrics_answer_is_bounded_and_one_value_a_series(peer: "Peer") -> None:
    server, now = PrometheusServer(peer.http, peer.url), datetime.now(UTC)
    rows = [{"metric": {"pod": str(n)}, "value": [1.5, "NaN"]} for n in range(60)]
    peer.answer = json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}})
    assert len(await server.query("x", now)) == 20
    peer.answer = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}})
    with pytest.raises(Refused, match="one value a series"):
        await server.query("x", now)
    peer.answer = "x" * 1_100_000
    with pytest.raises(Refused, match="more than 1 MB"):
        await server.query("x", now)
    peer.answer = "<html>"
    with pytest.raises(Unavailable, match="not JSON"):
        await server.query("x", now)
    peer.status = 302
    with pytest.raises(Refused, match="sends us elsewhere"):
        await server.query("x", now)
    peer.status = 404
    with pytest.raises(NotFound):
        await server.query("x", now)


ODD = [None, [], {}, "x", 7, [7], {"status": 7}, {"status": "success", "data": 7}, {"status": {"indicator": 7}},
       {"status": {"indicator": "none"}, "incidents": [7, {"incident_updates": [7]}], "nodes": 7, "items": {}},
       {"status": "success", "data": {"resultType": "vector", "result": [7, {"value": 7}, {"metric": 7, "value": []}]}},
       [{"fingerprint": "f", "status": 7}], [{"fingerprint": "f", "status": {"silencedBy": [7, "a/b?c"]}}]]  # fmt: skip


async def test_answers_of_any_shape_end_in_a_value_or_in_a_sentence(peer: "Peer") -> None:
    argocd = ArgoCdServer(peer.http, peer.url, "t")
    metrics, silences = PrometheusServer(peer.http, peer.url), AlertmanagerServer(peer.http, peer.url)
    asked: list[Callable[[], Awaitable[object]]] = [
        lambda: metrics.query("x", datetime.now(UTC)), metrics.version, silences.version,
        lambda: silences.silences_of("a", "f"),
        lambda: argocd.resource_tree("a"), lambda: argocd.managed_resources("a"),
        lambda: StatusPageReader(peer.http, parse_pages([f"X:ci={peer.url}"])).ask("X"),
    ]  # fmt: skip
    with stamina.set_testing(True):  # one attempt each
        for odd in ODD:
            peer.answer = json.dumps(odd)
            for ask in asked:
                with contextlib.suppress(CodeHealerError):
                    await ask()


class Peer:
    """A server that answers everything with one text."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http, self.url, self.answer, self.status = http, "", "{}", 200

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = self.answer.encode()
        head = f"HTTP/1.1 {self.status} x\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        with_reset = asyncio.gather(writer.drain(), return_exceptions=True)
        await with_reset
        writer.close()


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[Peer]:
    async with httpx.AsyncClient() as http:
        made = Peer(http)
        async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
            made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield made


# --- silences -----------------------------------------------------------------------------------------------------


async def test_a_silence_of_a_real_alertmanager_is_found_by_the_alerts_fingerprint(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    program = need_program("prometheus-alertmanager", "alertmanager")
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    url = f"http://127.0.0.1:{unused_tcp_port}"
    arguments = [f"--config.file={config}", f"--storage.path={tmp_path}", "--cluster.listen-address="]
    arguments.append(f"--web.listen-address=127.0.0.1:{unused_tcp_port}")
    with subprocess.Popen([program, *arguments], stderr=subprocess.DEVNULL) as process:  # noqa: ASYNC220
        try:
            async with httpx.AsyncClient() as http:
                await silence_one_of_two(http, url)
        finally:
            process.terminate()


async def silence_one_of_two(http: httpx.AsyncClient, url: str) -> None:
    client = AlertmanagerServer(http, url)
    async with asyncio.timeout(30):
        while True:
            try:
                assert (await client.version()).startswith("0.")
                break
            except Unavailable:
                await asyncio.sleep(0.05)
    labels = {"alertname": 'Odd"Name', "service": "checkout"}
    now = datetime.now(UTC)
    until = now + timedelta(hours=2)
    silence = {
        "matchers": [{"name": "service", "value": "check.*", "isRegex": True}], "startsAt": now.isoformat(),
        "endsAt": until.isoformat(), "createdBy": "kim", "comment": "known, working on it",
    }  # fmt: skip
    await http.post(f"{url}/api/v2/alerts", json=[{"labels": labels}, {"labels": {**labels, "service": "orders"}}])
    assert (await http.post(f"{url}/api/v2/silences", json=silence)).status_code == 200
    rows = (await http.get(f"{url}/api/v2/alerts")).json()
    by_service = {row["labels"]["service"]: row["fingerprint"] for row in rows}
    (found,) = await client.silences_of(labels["alertname"], by_service["checkout"])
    assert (found.created_by, found.comment) == ("kim", "known, working on it")
    assert found.ends_at is not None
    assert abs((found.ends_at - until).total_seconds()) < 1
    assert await client.silences_of(labels["alertname"], by_service["orders"]) == []
    assert await client.silences_of("Nothing", by_service["checkout"]) == []


async def test_a_silenced_alert_is_said_and_the_world_keeps_quiet_about_it(site: Site) -> None:
    await site.broken("release-crash-checkout")
    await site.until(site.world.alertmanager.firing, "the alert was sent")
    base = site.clients.silences
    assert isinstance(base, AlertmanagerServer)
    rows = (await base.http.get(f"{base.server}/api/v2/alerts")).json()
    now = datetime.now(UTC)
    posted = await base.http.post(f"{base.server}/api/v2/silences", json={
        "matchers": [{"name": "alertname", "value": "KubePodCrashLooping", "isRegex": False}],
        "startsAt": (now - timedelta(minutes=1)).isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "kim", "comment": "rolling back",
    })  # fmt: skip
    assert posted.status_code == 200
    alert = Alert(
        "alertmanager", AlertStatus.FIRING, "t", "i", fingerprint=rows[0]["fingerprint"], labels=rows[0]["labels"]
    )
    found = await look(site, "checkout", alerts=[alert])
    assert found["silence"][0].text.startswith("KubePodCrashLooping is silenced until ")
    assert found["silence"][0].text.endswith(" by kim: rolling back")
    site.world.faults["alertmanager"].update(error_next=9, status=503)
    assert "Alertmanager answered 503" in (await look(site, "checkout", alerts=[alert]))["silence"][0].could_not


# --- providers ----------------------------------------------------------------------------------------------------


async def test_a_providers_page_is_asked_for_its_symptom_alone_and_once_a_minute(site: Site) -> None:
    async def ready(count: int) -> bool:
        metrics = site.clients.metrics
        assert metrics is not None
        query = 'kube_deployment_status_replicas_ready{namespace="payments",deployment="payments-api"}'
        return [one.value for one in await metrics.query(query, datetime.now(UTC))] == [count]

    site.world.status_pages.trouble("github", "Pulling images fails", said="Container registry requests time out.")
    await site.until(lambda: ready(3), "all is well, as Prometheus has it")
    await site.broken("image-missing-payments")
    await site.until(lambda: ready(2), "the rollout is stuck, as Prometheus has it")
    found = await look(site, "payments-api")
    assert first_lines(found["metrics"]) == ["pods ready 2, was 3 (15 min before the failure)"]
    (page,) = found["status_page"]
    assert page.text.splitlines()[0].startswith("GitHub: Partial System Outage (http")
    assert "Pulling images fails (major impact, investigating)" in page.text
    await look(site, "payments-api")
    asked = [request["path"] for request in site.world.requests if request["system"] == "status"]
    assert sorted(asked) == ["/status/github/api/v2/incidents/unresolved.json", "/status/github/api/v2/status.json"]
    assert "status_page" not in await look(site, "checkout")


def test_a_job_that_fails_of_its_own_doing_is_no_providers_symptom() -> None:
    red = "connection refused by 127.0.0.1\n1 failed, 412 passed\n"
    assert symptoms_of([Piece("job_log", "x", red)]) == set()
    assert symptoms_of([Piece("job_log", "x", "fatal: Could not resolve host: github.com")]) == {"ci", "network"}
    assert symptoms_of([Piece("events", "x", 'Failed to pull image "a": EOF')]) == {"registry"}
    assert symptoms_of([Piece("changes", "x", '1 commit, newest "Handle no such host"')]) == set()


@pytest.mark.parametrize("entry", ["github", "GitHub:ci=ftp://x", "GitHub:weather=https://x.example", "=https://x"])
def test_a_status_page_that_is_not_understood_is_told(entry: str) -> None:
    assert parse_pages(["none"]) == ()
    with pytest.raises(SettingsError, match="CODEHEALER_STATUS_PAGES"):
        parse_pages(["GitHub:ci+registry=https://www.githubstatus.com", entry])
