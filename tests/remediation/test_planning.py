"""From cause and live state to at most one action; what people and outcomes teach changes the next proposal."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from knowledge.model import AnswerSource, FailureKind, Quote, Risk, Target, TrackRecord, Unsure
from remediation import kube
from remediation.context import Context, Manager
from remediation.evidence.changes import healthy_of
from remediation.evidence.kubernetes_history import _revisions
from remediation.planning import CANDIDATES, candidate_actions, plan
from remediation.policy import Attempt
from remediation.remediators import REMEDIATORS
from remediation.revisions import alike
from remediation.transience import log_says
from tests.remediation.site import diagnosis

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TARGET = Target("Deployment", "api", "shop", "main", "", "api", "staging")
CRASH = FailureKind.CRASHLOOP


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def owned(kind: str, uid: str) -> list[dict[str, Any]]:
    return [{"kind": kind, "name": uid, "uid": uid, "controller": True}]


def template(image: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [{"name": "api", "image": image}]}}


def revision(number: int, image: str, created: datetime) -> dict[str, Any]:
    return {
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"api-{number}", "uid": f"rs-{number}", "creationTimestamp": stamp(created),
            "annotations": {"deployment.kubernetes.io/revision": str(number)},
            "ownerReferences": owned("Deployment", "d"),
        },
        "spec": {"template": template(image)},
        "status": {},
    }  # fmt: skip


def pod(name: str, replica_set: int, *, ready: bool) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "ownerReferences": owned("ReplicaSet", f"rs-{replica_set}")},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def context(*, rolled_out: timedelta = timedelta(minutes=5), failing: int = 1, **changes: Any) -> Context:
    """A deployment of three pods at revision 2, rolled out that long before the failure began."""
    released = NOW - rolled_out
    workload = {
        "kind": "Deployment",
        "metadata": {"name": "api", "uid": "d", "generation": 2},
        "spec": {"replicas": 3, "template": template("api:2"), "selector": {"matchLabels": {"app": "api"}}},
    }
    base = Context(
        TARGET, NOW, failing_since=NOW, max_replicas=10, workload=workload,
        pods=tuple(pod(f"p{i}", 2, ready=i >= failing) for i in range(3)),
        replica_sets=(revision(1, "api:1", released - timedelta(days=3)), revision(2, "api:2", released)),
    )  # fmt: skip
    return replace(base, **changes)


OLD = timedelta(days=2)


def proposed(kind: FailureKind, found: Context, **more: Any) -> str | None:
    answer = plan(diagnosis(kind, **more.pop("diagnosis", {})), found.target, found, **more)
    assert bool(answer.action) != bool(answer.no_action_because)
    return answer.action.name if answer.action else None


def test_the_table_names_only_entries_of_the_catalogue() -> None:
    assert {name for kind in FailureKind for name in candidate_actions(kind)} <= set(REMEDIATORS)
    assert FailureKind.HEALTHY not in CANDIDATES
    assert FailureKind.UNKNOWN not in CANDIDATES


@pytest.mark.parametrize("kind", [CRASH, FailureKind.PROBE_FAILURE])
def test_after_a_rollout_the_rollback_else_a_new_pod_else_nothing(kind: FailureKind) -> None:
    assert proposed(kind, context()) == "k8s_rollback"
    assert proposed(kind, context(rolled_out=OLD)) == "k8s_restart_pod"
    assert proposed(kind, context(rolled_out=OLD, failing=3)) is None
    assert proposed(kind, context(rolled_out=OLD, failing=0)) is None


@pytest.mark.parametrize("kind", [FailureKind.OOMKILLED, FailureKind.CREDENTIALS, FailureKind.CONFIG_ERROR])
def test_what_the_last_release_brought_is_rolled_back_and_else_a_person_decides(kind: FailureKind) -> None:
    assert proposed(kind, context()) == "k8s_rollback"
    assert proposed(kind, context(rolled_out=OLD)) is None


def test_a_pod_that_is_only_starting_is_not_restarted() -> None:
    new = pod("p0", 2, ready=False)
    new["metadata"]["creationTimestamp"] = stamp(NOW - timedelta(seconds=10))
    starting = context(rolled_out=OLD, pods=(new, pod("p1", 2, ready=True)))
    assert proposed(CRASH, starting) is None
    later = replace(starting, looked_at=NOW + timedelta(minutes=2))
    assert proposed(CRASH, later) == "k8s_restart_pod"


def test_what_still_serves_is_gone_back_to_not_what_was_stuck_for_long() -> None:
    """Two bad releases, ten minutes apart: the pods of the one before them are still all there."""
    serving, stuck, newest = (
        revision(1, "api:1", NOW - timedelta(days=3)),
        revision(2, "api:no-such-tag", NOW - timedelta(minutes=12)),
        revision(3, "api:2", NOW - timedelta(minutes=2)),
    )
    serving["status"] = {"availableReplicas": 3, "readyReplicas": 3}
    found = context()
    workload = found.workload
    assert workload is not None
    rows = (serving, stuck, newest)
    assert kube.last_healthy(workload, rows) is serving
    _, older = _revisions(workload, rows)
    assert healthy_of(older).number == 1
    serving["status"] = {}
    assert kube.last_healthy(workload, rows) is stuck
    _, older = _revisions(workload, rows)
    assert healthy_of(older).number == 2


def test_a_failure_from_before_the_rollout_is_not_blamed_on_it() -> None:
    assert proposed(CRASH, context(rolled_out=timedelta(minutes=-10), failing=3)) is None


@pytest.mark.parametrize("kind", [k for k in FailureKind if k not in CANDIDATES])
def test_every_other_kind_is_a_persons_work(kind: FailureKind) -> None:
    assert proposed(kind, context()) is None


def test_unsure_and_targetless_failures_get_no_action() -> None:
    unsure = Unsure("too little", ("previous log",), AnswerSource("built-in"))
    assert plan(unsure, TARGET, context()).action is None
    assert plan(diagnosis(CRASH), None, None).action is None
    assert "looked at" in plan(diagnosis(CRASH), TARGET, context(could_not=("no answer",))).no_action_because


def test_a_rejected_fix_is_not_proposed_again_but_the_next_one_or_nobody() -> None:
    pods = tuple(pod(f"p{i}", 1 if i == 0 else 2, ready=i != 0) for i in range(3))
    assert proposed(CRASH, context(pods=pods)) == "k8s_rollback"
    answer = plan(diagnosis(CRASH), TARGET, context(pods=pods), rejected=frozenset({"k8s_rollback"}))
    assert answer.action is not None
    assert answer.action.name == "k8s_restart_pod"
    assert "wrong fix" in dict(answer.excluded)["k8s_rollback"]
    assert proposed(CRASH, context(), rejected=frozenset({"k8s_rollback"})) is None


def record(action: str, verified: int, failed: int, rejected: int = 0) -> TrackRecord:
    return TrackRecord(CRASH, action, "staging", verified, failed, rejected)


def test_what_only_failed_here_is_left_out_and_other_environments_do_not_count() -> None:
    hopeless = record("k8s_rollback", 0, 2)
    assert proposed(CRASH, context(), record=[hopeless]) is None
    assert proposed(CRASH, context(), record=[replace(hopeless, environment="prod")]) == "k8s_rollback"
    assert proposed(CRASH, context(), record=[replace(hopeless, verified=9)]) == "k8s_rollback"


def test_what_worked_more_often_here_comes_first() -> None:
    pods = tuple(pod(f"p{i}", 1 if i == 0 else 2, ready=i != 0) for i in range(3))
    both = context(pods=pods)
    assert proposed(CRASH, both) == "k8s_rollback"
    better = [record("k8s_restart_pod", 8, 0), record("k8s_rollback", 1, 3)]
    answer = plan(diagnosis(CRASH), TARGET, both, record=better)
    assert answer.action is not None
    assert answer.action.name == "k8s_restart_pod"
    assert answer.candidates == ("k8s_restart_pod", "k8s_rollback")
    assert answer.basis == "worked 8 of 8 times here"
    assert proposed(CRASH, both, record=[record("k8s_rollback", 0, 0, rejected=3)]) == "k8s_restart_pod"


def test_the_diagnosis_may_only_break_a_tie_among_candidates() -> None:
    pods = tuple(pod(f"p{i}", 1 if i == 0 else 2, ready=i != 0) for i in range(3))
    both = context(pods=pods)
    preferring = {"preferred_action": "k8s_restart_pod"}
    assert proposed(CRASH, both, diagnosis=preferring) == "k8s_restart_pod"
    assert proposed(CRASH, both, diagnosis={"preferred_action": "k8s_scale"}) == "k8s_rollback"
    worked = [record("k8s_rollback", 3, 0)]
    assert proposed(CRASH, both, diagnosis=preferring, record=worked) == "k8s_rollback"


def test_what_did_not_help_on_this_target_is_not_tried_again() -> None:
    tried = (Attempt("k8s_rollback", "not_verified", NOW),)
    assert proposed(CRASH, context(), loop=tried) is None
    assert proposed(CRASH, context(), loop=(Attempt("k8s_rollback", "verified", NOW),)) == "k8s_rollback"


def test_what_would_be_undone_is_not_offered_and_what_is_only_drift_is_said() -> None:
    healing = Manager("Flux", True, "Flux owns the manifest and would put it back")
    assert proposed(CRASH, context(managers=(healing,))) is None
    restart = context(rolled_out=OLD, managers=(healing,))
    assert proposed(CRASH, restart) == "k8s_restart_pod"
    by_hand = Manager("Argo CD", False, "it will show as out of sync")
    answer = plan(diagnosis(CRASH), TARGET, context(managers=(by_hand,)))
    assert "out of sync" in answer.preview


def test_a_rollback_goes_only_to_another_revision_that_ran() -> None:
    soon = NOW - timedelta(minutes=5)
    same = (revision(1, "api:2", soon - timedelta(days=1)), revision(2, "api:2", soon))
    assert proposed(CRASH, context(replica_sets=same)) != "k8s_rollback"
    short_lived = (revision(1, "api:1", soon - timedelta(minutes=1)), revision(2, "api:2", soon))
    assert proposed(CRASH, context(replica_sets=short_lived)) is None
    renumbered = (revision(2, "api:1", soon - timedelta(minutes=1)), revision(3, "api:2", soon))
    older = (revision(1, "api:0", soon - timedelta(days=9)), *renumbered)
    answer = plan(diagnosis(CRASH), TARGET, context(replica_sets=older))
    assert answer.action is not None
    assert (answer.action.parameters["to_revision"], answer.action.parameters["images"]) == (1, ["api:0"])


def test_a_plan_says_what_a_person_must_know() -> None:
    answer = plan(diagnosis(CRASH), TARGET, context())
    assert answer.preview.startswith("Roll Deployment api back from revision 2 to 1 (api:1).")
    assert "-  - image: api:2" in answer.diff
    assert "+  - image: api:1" in answer.diff
    assert (answer.risk, answer.undo != "", answer.expected_seconds > 0) == (Risk.MEDIUM, True, True)


def quoting(*lines: str) -> dict[str, Any]:
    return {"quotes": tuple(Quote(0, number, line) for number, line in enumerate(lines, start=1))}


LOAD = "level=warn pool=web 38 requests queued, load shed, cpu at 98 %"


def test_a_pod_is_not_restarted_where_there_is_too_much_work_or_a_dependency_is_down() -> None:
    stuck = context(rolled_out=OLD)
    for kind in (CRASH, FailureKind.PROBE_FAILURE):
        assert proposed(kind, stuck, diagnosis=quoting("thread 12 blocked, waiting to lock 0x1f")) == "k8s_restart_pod"
        assert proposed(kind, stuck, diagnosis=quoting(LOAD)) is None
        assert (
            proposed(kind, stuck, diagnosis=quoting("GET http://rates.corp/v1 failed: 503 Service Unavailable")) is None
        )
    answer = plan(diagnosis(FailureKind.PROBE_FAILURE, **quoting(LOAD)), TARGET, stuck)
    assert "more work than the pods can do" in answer.no_action_because


def test_a_pod_is_not_restarted_where_most_pods_fail() -> None:
    assert proposed(CRASH, context(rolled_out=OLD, failing=1)) == "k8s_restart_pod"
    assert proposed(CRASH, context(rolled_out=OLD, failing=2)) is None
    half = (pod("p0", 2, ready=False), pod("p1", 2, ready=True))
    assert proposed(CRASH, context(rolled_out=OLD, pods=half)) == "k8s_restart_pod"


def test_what_is_well_by_now_is_not_rolled_back() -> None:
    assert proposed(FailureKind.PROBE_FAILURE, context()) == "k8s_rollback"
    assert proposed(FailureKind.PROBE_FAILURE, context(failing=0)) is None
    restarted = pod("p0", 2, ready=True)
    restarted["status"]["containerStatuses"] = [{"name": "api", "ready": True, "restartCount": 3}]
    assert proposed(CRASH, context(pods=(restarted, pod("p1", 2, ready=True)))) == "k8s_rollback"


def test_pods_are_added_only_where_the_evidence_shows_too_much_work() -> None:
    slow = FailureKind.PERFORMANCE
    assert proposed(slow, context(), diagnosis=quoting(LOAD)) == "k8s_scale"
    assert proposed(slow, context()) is None
    assert proposed(slow, context(), diagnosis=quoting("p99 latency 4.1 s, objective 0.3 s")) is None
    idle = quoting(LOAD, "latency 5 s; cpu 40m of 1000m")
    assert proposed(slow, context(), diagnosis=idle) is None
    waiting = quoting(LOAD, "upstream connect error, no healthy upstream")
    assert proposed(slow, context(), diagnosis=waiting) is None


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("fatal: unable to access: Could not resolve host: git.example.invalid", "transient"),
        (
            "pip._vendor.urllib3: Read timed out.\nERROR: Could not find a version that satisfies the requirement x",
            "deterministic",
        ),
        ("--- FAIL: TestTotals (0.00s)\nread tcp: i/o timeout", "deterministic"),
        ("E   AssertionError: assert 1 == 2\n1 failed, 4 passed", "deterministic"),
        ("2026-02-03T04:05:06.1Z --- FAIL: TestTotals (0.00s)\n2026-02-03T04:05:06.2Z i/o timeout", "deterministic"),
        ("The runner has received a shutdown signal.", "transient"),
        ("Process completed with exit code 1.", "unclear"),
        ("", "unclear"),
    ],
)
def test_a_log_is_transient_only_when_nothing_in_it_would_be_repeated(log: str, says: str) -> None:
    assert log_says(log) == says


STUCK = "thread 12 blocked, waiting to lock 0x1f"


def test_all_pods_are_replaced_only_where_most_are_stuck_and_no_release_explains_it() -> None:
    probe = FailureKind.PROBE_FAILURE
    most = context(rolled_out=OLD, failing=2)
    assert proposed(probe, most, diagnosis=quoting(STUCK)) == "k8s_restart_rollout"
    assert proposed(probe, most) is None
    assert proposed(probe, most, diagnosis=quoting(LOAD)) is None
    assert proposed(probe, context(rolled_out=OLD, failing=1), diagnosis=quoting(STUCK)) == "k8s_restart_pod"
    assert proposed(probe, context(failing=3), diagnosis=quoting(STUCK)) == "k8s_rollback"


def waiting(message: str) -> Context:
    """The newest pod cannot get its image, in the kubelet's words; the others are well."""
    pods = tuple(pod(f"p{i}", 2 if i == 0 else 1, ready=i != 0) for i in range(3))
    state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
    pods[0]["status"]["containerStatuses"] = [{"name": "api", "state": state}]
    return context(pods=pods)


def test_a_registry_that_stumbles_is_tried_again_and_an_absent_image_is_put_back() -> None:
    pull = FailureKind.IMAGEPULLBACKOFF
    absent = waiting('rpc error: code = NotFound desc = failed to resolve reference "api:2": api:2: not found')
    assert proposed(pull, absent) == "k8s_update_image"
    stumbling = waiting('failed to do request: Head "https://registry.example/v2/api/manifests/2": i/o timeout')
    assert proposed(pull, stumbling) == "k8s_restart_pod"
    renamed = revision(1, "api:1", NOW - timedelta(days=3))
    renamed["spec"]["template"]["spec"]["containers"][0]["args"] = ["serve"]
    more = replace(absent, replica_sets=(renamed, absent.replica_sets[1]))
    assert proposed(pull, more) == "k8s_rollback"


def test_what_stateful_and_daemon_sets_keep_reads_like_replica_sets() -> None:
    kept = {
        "kind": "ControllerRevision",
        "metadata": {"name": "api-5d9", "uid": "cr-1", "labels": {"controller-revision-hash": "5d9"}},
        "revision": 4,
        "data": {"spec": {"template": {**template("api:1"), "$patch": "replace"}}},
    }
    one = pod("p0", 1, ready=True)
    one["metadata"]["labels"] = {"controller-revision-hash": "5d9"}
    (read,) = alike([kept], [one])
    assert kube.revision_of(read) == 4
    assert kube.template_of(read) == template("api:1")
    assert kube.ran_healthy(read, [], least_seconds=300)
    assert kube.of_revision(one, read)


def test_a_daemon_set_goes_back_to_the_image_of_its_controller_revision() -> None:
    found = context(failing=1)
    assert found.workload is not None
    workload = {**found.workload, "kind": "DaemonSet", "status": {"desiredNumberScheduled": 3}}
    target = replace(TARGET, kind="DaemonSet")
    answer = plan(diagnosis(FailureKind.IMAGEPULLBACKOFF), target, replace(found, target=target, workload=workload))
    assert answer.action is not None
    assert (answer.action.name, answer.action.parameters["image"]) == ("k8s_update_image", "api:1")
    assert dict(answer.excluded)["k8s_rollback"] == "it does not apply to a DaemonSet"
