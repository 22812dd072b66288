"""Evidence is bounded, redacted, and says what could not be had."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.sandbox.world.scenarios.memory import LEAK
from knowledge.errors import Unavailable
from knowledge.live_state import read_state
from knowledge.model import FailureKind
from remediation.evidence import MAX_CHARS, collect, finished
from remediation.evidence.piece import Piece
from remediation.ports import Clients
from tests.remediation.site import Site
from tests.rows import alert


async def test_what_is_not_connected_is_said(site: Site) -> None:
    incident = site.incident("checkout", run_id="12", repository="acme/checkout")
    found = await collect(incident, Clients())
    assert {e.could_not for e in found} == {"no cluster is connected", "GitHub is not connected"}
    assert all(e.text == "" for e in found)


async def test_a_failing_part_does_not_take_the_others_with_it(site: Site) -> None:
    await site.broken("release-crash-checkout")
    site.world.kubernetes.denied |= {("list", "events", "*"), ("get", "pods/log", "*")}
    found = {e.kind: e for e in await collect(site.incident("checkout"), site.clients)}
    assert "forbids" in found["events"].could_not
    assert "forbids" in found["logs"].could_not
    assert "Deployment checkout: 3 desired" in found["pod_status"].text


async def test_words_that_are_not_trusted_choose_nothing_that_is_looked_at(site: Site) -> None:
    """Any pod's and run's log could else be had on a card, by a post that names it."""
    await site.broken("release-crash-checkout")
    told = alert("Checkout down: no such host", trusted=False, log="dial tcp: lookup db: no such host")
    place = {"repository": "acme/checkout", "run_id": "12"}
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {"pod_status"}),
        ({"source": "argocd", **place}, {"pod_status", "workflow_run"}),
        ({"workload": "", **place}, {"workflow_run"}),
        ({"workload": "", "namespace": ""}, set()),
    ]
    for of, named in cases:
        before = len(site.world.requests)
        found = await collect(site.incident("checkout", trusted=False, **of), site.clients, alerts=[told])
        assert {e.kind for e in found if e.text} == {"status_page"}, of
        assert {e.kind for e in found if "allow-list" in e.could_not} == named, of
        asked = {one["path"] for one in site.world.requests[before:]}
        assert all(path.startswith("/status/") for path in asked), asked


async def test_a_collector_that_does_not_answer_is_given_up(site: Site) -> None:
    class Silent:
        names = ("sandbox",)

        async def get(self, *_: Any) -> Any:
            await asyncio.Event().wait()

    clients = replace(site.clients, cluster=Silent())
    found = await collect(site.incident("checkout"), clients, deadline_s=0.05)
    assert [e.could_not for e in found] == ["no answer within 0 s"]


async def test_an_outside_fault_is_evidence_too(site: Site) -> None:
    class Down:
        names = ("sandbox",)

        async def get(self, *_: Any) -> Any:
            raise Unavailable("Cluster sandbox cannot be reached.")

    found = await collect(site.incident("checkout"), replace(site.clients, cluster=Down()))
    assert [e.could_not for e in found] == ["Cluster sandbox cannot be reached."]


async def test_a_pod_in_the_alert_leads_to_its_workload_and_comes_first(site: Site) -> None:
    await site.broken("stuck-pod-checkout")
    victim = site.world.kubernetes.cluster.pods("checkout")[-1]["metadata"]["name"]
    found = {e.kind: e for e in await collect(site.incident("checkout", workload=victim), site.clients)}
    lines = found["pod_status"].text.splitlines()
    assert lines[0].startswith("Deployment checkout:")
    assert next(line for line in lines if line.startswith("Pod ")).startswith(f"Pod {victim}:")
    assert "deadlock" in found["logs"].text or "goroutines" in found["logs"].text
    assert f"pod/{victim}" in found["events"].text


async def test_nothing_of_that_name_is_said(site: Site) -> None:
    found = await collect(site.incident("checkout", workload="never-was"), site.clients)
    assert [e.could_not for e in found] == ["nothing named never-was was found in namespace shop"]


def test_a_long_text_keeps_its_end_at_a_whole_line_and_counts_the_rest() -> None:
    text = "".join(f"line {n} of the log\n" for n in range(10_000))
    evidence = finished(Piece("logs", "x", text))
    assert len(evidence.text) <= MAX_CHARS
    assert evidence.text.startswith("line ")
    assert evidence.text.endswith("line 9999 of the log\n")
    assert evidence.truncated_chars >= len(text) - MAX_CHARS


def test_secrets_and_control_codes_are_gone_before_anything_is_returned() -> None:
    secret = "s3cr3t" + "Pa55w0rd" + "xyz"
    evidence = finished(
        Piece("logs", "x", f"\x1b[31mpostgresql://app:{secret}@db/app\x1b[0m", could_not=f"password={secret}")
    )
    assert secret not in evidence.text + evidence.could_not
    assert "\x1b" not in evidence.text


async def test_a_neighbours_end_for_lack_of_memory_is_no_evidence(site: Site) -> None:
    """One node runs many: that another container reached its own limit says nothing of this failure."""
    await site.broken("oom-orders")
    await site.broken("release-crash-checkout")
    cluster = site.world.kubernetes.cluster
    killed = cluster.pods("orders")[0]["spec"]["nodeName"]
    for pod in cluster.pods("checkout"):
        pod["spec"]["nodeName"] = killed
    ours = {e.kind: e.text for e in await collect(site.incident("orders"), site.clients)}
    assert "Memory cgroup out of memory" in ours["node"]
    theirs = await collect(site.incident("checkout"), site.clients)
    assert not [e.text for e in theirs if "Memory cgroup out of memory" in e.text]


@pytest.mark.parametrize(("since", "told"), [(timedelta(days=21), False), (timedelta(minutes=20), True)])
async def test_an_end_of_weeks_ago_is_no_evidence_of_todays_failure(site: Site, since: timedelta, told: bool) -> None:
    """A container keeps its last end for as long as its pod lives, however well it ran since."""
    await site.broken("oom-orders")
    await site.broken("wedged-all-checkout")
    cluster = site.world.kubernetes.cluster
    beside = cluster.pods("orders")[0]["spec"]["nodeName"]
    began = datetime.now(UTC) - since
    for pod in cluster.pods("checkout"):
        pod["spec"]["nodeName"] = beside
        run = cluster.container(pod)
        run.restarts, run.started_at = 1, began.timestamp()
        run.last = {
            "exitCode": 137, "reason": "OOMKilled", "startedAt": began.isoformat(), "finishedAt": began.isoformat(),
        }  # fmt: skip
        run.last_started, run.last_ended, run.last_symptom = began.timestamp(), began.timestamp(), LEAK
    statuses = "containerStatuses"
    await site.until(lambda: all(pod["status"][statuses][0]["lastState"] for pod in cluster.pods("checkout")))
    found = {e.kind: e for e in await collect(site.incident("checkout"), site.clients)}
    assert "0/1 ready, 1 restarts" in found["pod_status"].text
    assert found["logs"].text
    assert ("previous_logs" in found) is told
    # Without an end of its own now, the node's word of one is about a neighbour.
    assert any("Memory cgroup out of memory" in e.text for e in found.values()) is told
    facts = read_state("CheckoutDown", [e.text for e in found.values()], list(found)).facts
    assert any(fact.kind is FailureKind.OOMKILLED for fact in facts) is told
    planned = await site.plan(FailureKind.OOMKILLED, site.incident("checkout"))
    refused = "was killed for its memory lately" in dict(planned.excluded).get("k8s_raise_memory", "")
    assert refused is not told
