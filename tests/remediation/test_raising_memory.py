"""How much memory a container may be given: one step, under the cap, and only what the namespace would take."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from knowledge.model import Action, FailureKind
from remediation.budgets import Budgets
from remediation.context import Context
from remediation.execution import run
from remediation.quantities import GI, MI, amount_of, memory_text
from remediation.registry import NotOffered
from remediation.remediators import REMEDIATORS
from tests.remediation.site import MemoryStore, Site, execution, services
from tests.remediation.test_planning import TARGET, context

ENTRY = REMEDIATORS["k8s_raise_memory"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512Mi", 512 * MI), ("1Gi", GI), ("1.5Gi", GI + GI // 2), ("128974848", 128974848), ("129e6", 129_000_000),
        ("129M", 129_000_000), ("128974848000m", 128974848), ("0", 0), ("", None), ("much", None), ("-1Gi", None),
        ("1gi", None), ("9" * 60, None),
    ],
)  # fmt: skip
def test_quantities_are_read_as_the_cluster_reads_them(text: str, size: int | None) -> None:
    assert amount_of(text) == size


def test_memory_is_written_in_whole_units() -> None:
    assert [memory_text(size) for size in (768 * MI, GI, 8 * GI, MI + 1)] == ["768Mi", "1024Mi", "8Gi", "2Mi"]


def killed(limit: str = "512Mi", request: str = "256Mi", **changes: Any) -> Context:
    """Three pods of which one was killed for its memory, with a cap of 2 Gi."""
    found = context(memory_cap="2Gi")
    container = {"name": "api", "image": "api:2", "resources": {"limits": {}, "requests": {}}}
    for kind, value in (("limits", limit), ("requests", request)):
        if value:
            container["resources"][kind]["memory"] = value  # type: ignore[index]
    assert found.workload is not None
    template = {"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [container]}}
    workload = {**found.workload, "spec": {**found.workload["spec"], "template": template}}
    end = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    status = {**found.pods[0]["status"], "containerStatuses": [{"name": "api", "restartCount": 3, "lastState": end}]}
    pods = ({**found.pods[0], "spec": {"containers": [container]}, "status": status}, *found.pods[1:])
    return replace(found, workload=workload, pods=pods, **changes)


def proposed(found: Context) -> dict[str, Any] | str:
    answer = ENTRY.propose(found)
    return answer.reason if isinstance(answer, NotOffered) else dict(answer.parameters)


def ended(found: Context, state: dict[str, Any], **end: str) -> Context:
    """The same with how the killed container is now, and since when."""
    (status,) = found.pods[0]["status"]["containerStatuses"]
    last = {"terminated": {**status["lastState"]["terminated"], **end}}
    changed = {**found.pods[0]["status"], "containerStatuses": [{**status, "state": state, "lastState": last}]}
    return replace(found, pods=({**found.pods[0], "status": changed}, *found.pods[1:]))


LONG_AGO, LATELY = "2026-11-02T08:00:00Z", "2026-11-23T08:30:00Z"


@pytest.mark.parametrize(
    ("state", "end", "offered"),
    [
        ({"running": {"startedAt": LONG_AGO}}, {"finishedAt": LONG_AGO}, False),
        ({"running": {}}, {"finishedAt": LONG_AGO}, False),
        ({"running": {"startedAt": LATELY}}, {"finishedAt": LONG_AGO}, True),
        ({"running": {"startedAt": LATELY}}, {"finishedAt": LATELY}, True),
        ({"running": {"startedAt": LONG_AGO}}, {}, True),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, {"finishedAt": LONG_AGO}, True),
    ],
)
def test_what_was_killed_long_before_the_failure_and_runs_since_gets_no_more(
    state: dict[str, Any], end: dict[str, str], offered: bool
) -> None:
    began = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    found = proposed(ended(killed(failing_since=began), state, **end))
    assert isinstance(found, dict) is offered, found
    if not offered:
        assert "no container of its pods was killed for its memory lately" in str(found)


@pytest.mark.parametrize(
    ("limit", "request_", "cap", "expected"),
    [
        ("512Mi", "256Mi", "2Gi", ("768Mi", "256Mi")),
        ("512Mi", "512Mi", "2Gi", ("768Mi", "768Mi")),
        ("1Gi", "1024Mi", "2Gi", ("1536Mi", "1536Mi")),
        ("100Mi", "50Mi", "2Gi", ("192Mi", "50Mi")),
        ("1536Mi", "1Gi", "2Gi", ("2048Mi", "1Gi")),
        ("512Mi", "", "600Mi", ("600Mi", "")),
        ("32Mi", "16Mi", "2Gi", ("64Mi", "16Mi")),
        ("50Mi", "50Mi", "2Gi", ("100Mi", "100Mi")),
        ("33M", "", "2Gi", ("62Mi", "")),
        ("512Mi", "", "600M", ("572Mi", "")),
    ],
)
def test_one_step_up_shortened_to_the_cap(limit: str, request_: str, cap: str, expected: tuple[str, str]) -> None:
    found = proposed(killed(limit, request_, memory_cap=cap))
    assert isinstance(found, dict)
    assert (found["limit"], found["request"]) == expected
    was, to, most = (amount_of(text) or 0 for text in (found["was"], found["limit"], found["cap"]))
    assert was < to <= min(2 * was, most)


def quota(**hard: str) -> dict[str, Any]:
    hard = {key.replace("_", "."): value for key, value in hard.items()}
    used = dict.fromkeys(hard, "1536Mi")
    return {"metadata": {"name": "team"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}


def limit_range(**item: Any) -> dict[str, Any]:
    return {"metadata": {"name": "bounds"}, "spec": {"limits": [{"type": "Container", **item}]}}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (killed(memory_cap=""), "no max_memory"),
        (killed("2Gi", memory_cap="2Gi"), "cap is 2Gi"),
        (killed("", ""), "states no memory limit of its own"),
        (killed(memory_setters=("api-vpa",)), "vertical autoscaler api-vpa"),
        (context(memory_cap="2Gi"), "no container of its pods was killed"),
        (killed(budgets=Budgets((limit_range(max={"memory": "600Mi"}),))), "LimitRange bounds allows at most 600Mi"),
        (killed(budgets=Budgets((limit_range(maxLimitRequestRatio={"memory": "2"}),))), "2 times the request"),
        # Three pods grow by 256Mi each, and a fourth of 768Mi runs while they are replaced.
        (killed(budgets=Budgets((), (quota(limits_memory="2559Mi"),))), "ResourceQuota team"),
        (killed(budgets=Budgets(unknown="the namespace's limits could not be looked at")), "could not be looked at"),
    ],
)
def test_what_forbids_more_memory_is_named(found: Context, why: str) -> None:
    assert why in str(proposed(found))


def test_a_quota_that_just_suffices_is_enough() -> None:
    # 1536Mi in use; two pods grow by 256Mi each beside a surging one of 768Mi: 2816Mi at the peak.
    assert isinstance(proposed(killed(budgets=Budgets((), (quota(limits_memory="2816Mi"),)))), dict)
    assert "ResourceQuota" in proposed(killed(budgets=Budgets((), (quota(limits_memory="2815Mi"),))))
    # A quota on requests is not touched where the request stays.
    assert isinstance(proposed(killed(budgets=Budgets((), (quota(requests_memory="1Mi"),)))), dict)


def test_pods_that_were_killed_with_less_than_the_limit_of_now_prove_nothing() -> None:
    older = killed()
    raised = killed("768Mi")
    assert "less than its limit is by now" in str(proposed(replace(older, workload=raised.workload)))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"paused": True}, "paused"),
        ({"updateStrategy": {"type": "OnDelete"}}, "OnDelete"),
        ({"updateStrategy": {"rollingUpdate": {"partition": 2}}}, "partition"),
        ({"replicas": 0}, "scaled to zero"),
    ],
)
@pytest.mark.parametrize("name", ["k8s_raise_memory", "k8s_restart_rollout", "k8s_update_image", "k8s_rollback"])
def test_a_rollout_that_would_not_reach_the_pods_is_not_begun(name: str, spec: dict[str, Any], why: str) -> None:
    found = killed()
    assert found.workload is not None
    held = replace(found, workload={**found.workload, "spec": {**found.workload["spec"], **spec}})
    answer = REMEDIATORS[name].propose(held)
    assert isinstance(answer, NotOffered)
    assert why in answer.reason


async def test_the_live_namespaces_limits_are_asked(site: Site) -> None:
    await site.broken("oom-orders")
    bounds = {**limit_range(max={"memory": "600Mi"}), "metadata": {"name": "bounds", "namespace": "shop"}}
    site.store().create("limitranges", bounds)
    found = await site.plan(FailureKind.OOMKILLED, site.incident("orders"))
    assert found.action is None
    assert "LimitRange bounds allows at most 600Mi" in found.no_action_because
    site.world.kubernetes.denied.add(("list", "limitranges", "*"))
    unknown = await site.plan(FailureKind.OOMKILLED, site.incident("orders"))
    assert "resources: [limitranges], verbs: [list]}" in unknown.no_action_because
    forged = {"container": "orders", "was": "512Mi", "limit": "64Gi", "cap": "1Gi"}
    forged |= {"request_was": "256Mi", "request": "256Mi"}
    store = MemoryStore(execution(Action("k8s_raise_memory", replace(TARGET, name="orders", namespace="shop"), forged)))
    outcome = await run(store.rows[7], services(site, store))
    assert "is not between" in outcome.detail
