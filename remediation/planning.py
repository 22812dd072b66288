"""From a cause and a target to at most one proposed action. Pure.

The table below is the whole knowledge of which fix fits which kind; what is not in it is a person's work.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from knowledge.model import Action, Diagnosis, FailureKind, Plan, Target, TrackRecord, Unsure
from knowledge.signs import Sign, signs_of
from remediation import kube
from remediation.argocd_state import failing_text
from remediation.blast_radius import touched_by
from remediation.context import Context
from remediation.policy import Attempt, loop_broken
from remediation.ports import Json
from remediation.registry import NotOffered, Remediator
from remediation.remediators import REMEDIATORS
from remediation.transience import log_says

# A failure is laid to a rollout when it began after it, and not longer after than this.
ROLLOUT_WINDOW = timedelta(hours=2)
# Clocks and the pod's own start differ a little: an alert may be stamped just before the new pods were made.
SKEW = timedelta(seconds=90)
# With so many failures and no success an action is no longer proposed for a kind in an environment.
HOPELESS_FAILURES = 2

Condition = Callable[[Context], str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One fix for a kind: the catalogue's name, and a condition that answers "" or why it does not fit here."""

    action: str
    condition: Condition


def _always(_context: Context) -> str:
    return ""


def _more_work_than_capacity(signs: frozenset[Sign]) -> bool:
    return Sign.CAPACITY in signs and Sign.LOCK not in signs


def _steady(pod: Json) -> bool:
    return kube.is_ready(pod) and kube.restarts(pod) == 0


# What changes the cluster behind Git's back: Git still has what was taken out of service.
_PUT_BACK = frozenset({"k8s_rollback", "k8s_update_image"})
_ROLLBACKS = frozenset({"k8s_rollback", "argocd_rollback", "github_revert_pr"})


def _held_back(action: str, signs: frozenset[Sign], context: Context) -> str:
    """Why a fix that the table has would do harm here, "" when nothing says so. Asked whatever the diagnosis is.

    `signs` are those of the diagnosis' quotes: an overload and a dependency that is down look like failing pods.
    """
    if action == "k8s_restart_pod":
        if _more_work_than_capacity(signs):
            return "there is more work than the pods can do: one less, and then a cold one, makes it worse"
        if Sign.DEPENDENCY in signs and Sign.LOCK not in signs:
            return "what it calls does not answer, and a new pod would not get an answer either"
        if sum(kube.is_failing(p) for p in context.pods) * 2 > len(context.pods):
            return "more than half of the pods fail, so a new one would likely meet the same cause"
    if action == "k8s_restart_rollout":
        if Sign.LOCK not in signs and _configuration_unchanged(context):
            return "nothing shows that its pods are stuck or have read an old configuration"
        if _more_work_than_capacity(signs):
            return "there is more work than the pods can do, and pods that start are cold"
    if action == "github_revert_pr" and context.run is not None and isinstance(context.culprit, str):
        return context.culprit or "the commit that broke it is not known"
    if action in _ROLLBACKS and context.pods and all(map(_steady, context.pods)):
        return "every pod is ready and none was restarted, so there is nothing to roll back from"
    if action == "k8s_scale":
        if not _more_work_than_capacity(signs):
            return "no line of the evidence shows that the pods have more work than they can do"
        if signs & {Sign.IDLE, Sign.DEPENDENCY}:
            return "its CPU is idle or what it calls is slow, so more pods would wait as well"
    return ""


def _after_rollout(context: Context) -> str:
    """The failure began after the present revision was rolled out, and soon after."""
    if context.workload is None:
        return "the workload could not be looked at"
    current = kube.current_replica_set(context.workload, context.replica_sets)
    rolled_out = kube.created_at(current) if current else None
    if rolled_out is None or context.failing_since is None:
        return "it is not known when the present revision was rolled out"
    if context.failing_since < rolled_out - SKEW:
        return "it failed before the present revision was rolled out"
    if context.failing_since - rolled_out > ROLLOUT_WINDOW:
        return "the present revision ran well for more than two hours before it failed"
    return ""


def _not_after_rollout(context: Context) -> str:
    """A restart only where no release explains the failure: it would hide a bad revision for a while."""
    if kube.older_revisions(context.workload or {}, context.replica_sets) and not _after_rollout(context):
        failing = [p for p in context.pods if kube.is_failing(p)]
        current = kube.current_replica_set(context.workload or {}, context.replica_sets)
        if current and all(kube.of_revision(p, current) for p in failing):
            return "the failure began with the last rollout"
    return ""


def _one_pod_is_not_enough(context: Context) -> str:
    """All pods are replaced only where most of them fail; else deleting the failing one is the smaller step."""
    if sum(map(kube.is_failing, context.pods)) * 2 <= len(context.pods):
        return "no more than half of its pods fail"
    return _not_after_rollout(context)


def _configuration_unchanged(context: Context) -> str:
    """ "" when the failing pods started before something that they read was last written: they have its old value."""
    failing = [since for since in (kube.running_since(p) for p in context.pods if kube.is_failing(p)) if since]
    if any(since < one.at for one in context.configuration for since in failing):
        return ""
    return "what its pods read has not changed since they started"


def _registry_fault_passing(context: Context) -> str:
    """A pull that met a passing fault of the registry or the network; the cluster itself waits longer and longer."""
    said = [log_says(text) for text in kube.waiting_messages(context.pods)]
    return "" if said and all(one == "transient" for one in said) else "no pull met a passing fault of the registry"


def _image_is_wrong(context: Context) -> str:
    """After a rollout, unless the registry itself is what fails."""
    return _after_rollout(context) or (
        "" if _registry_fault_passing(context) else "the registry shows a passing fault, so the image may well exist"
    )


def _not_deterministic(context: Context) -> str:
    if context.log_says == "deterministic":
        return "the job's log shows a failure that a rerun would repeat"
    return ""


def _log_shows_transient(context: Context) -> str:
    return "" if context.log_says == "transient" else "the job's log shows no passing fault"


def _sync_failed_in_passing(context: Context) -> str:
    """What a sync met would not be met again: a registry, a repository or a hook that could not be reached."""
    if context.gitops is None or context.gitops.application is None:
        return context.gitops.problem if context.gitops else "its row of the services table names no argocd_app"
    said = log_says(failing_text(context.gitops.application))
    if said == "transient":
        return ""
    if said == "deterministic":
        return "what the sync complains of would be the same again"
    return "the application shows no passing fault: a sync would meet the same again"


def _fails_again(context: Context) -> str:
    """A commit is only reverted for what the commit did: a passing fault would blame whoever pushed last."""
    return "the job's log shows a passing fault" if context.log_says == "transient" else ""


_REVERT_THE_COMMIT = (Candidate("github_revert_pr", _fails_again),)
# Taking a release back where it came from; the pull request is for where Argo CD would undo everything else.
_THROUGH_GIT = (Candidate("argocd_rollback", _always), Candidate("github_revert_pr", _always))

CANDIDATES: Mapping[FailureKind, tuple[Candidate, ...]] = {
    FailureKind.CRASHLOOP: (
        Candidate("k8s_rollback", _after_rollout),
        Candidate("k8s_restart_pod", _not_after_rollout),
        *_THROUGH_GIT,
    ),
    FailureKind.PROBE_FAILURE: (
        Candidate("k8s_rollback", _after_rollout),
        Candidate("k8s_restart_pod", _not_after_rollout),
        Candidate("k8s_restart_rollout", _one_pod_is_not_enough),
        *_THROUGH_GIT,
    ),
    FailureKind.PERFORMANCE: (Candidate("k8s_scale", _always),),
    FailureKind.OOMKILLED: (
        Candidate("k8s_rollback", _after_rollout),
        Candidate("k8s_raise_memory", _not_after_rollout),
        Candidate("k8s_scale", _always),
        *_THROUGH_GIT,
    ),
    FailureKind.IMAGEPULLBACKOFF: (
        Candidate("k8s_update_image", _image_is_wrong),
        Candidate("k8s_rollback", _image_is_wrong),
        Candidate("k8s_restart_pod", _registry_fault_passing),
        *_THROUGH_GIT,
    ),
    FailureKind.CONFIG_ERROR: (
        Candidate("k8s_rollback", _after_rollout),
        Candidate("k8s_restart_rollout", _configuration_unchanged),
        *_THROUGH_GIT,
    ),
    FailureKind.CREDENTIALS: (
        Candidate("k8s_rollback", _after_rollout),
        Candidate("k8s_restart_rollout", _configuration_unchanged),
        Candidate("k8s_update_secret", _not_after_rollout),
        Candidate("github_secret_rotate", _always),
    ),
    FailureKind.GITHUBACTION_TRANSIENT: (
        Candidate("github_rerun", _not_deterministic),
        Candidate("github_cancel_run", _always),
    ),
    FailureKind.NETWORK: (Candidate("github_rerun", _log_shows_transient),),
    FailureKind.UPSTREAM_UNAVAILABLE: (
        Candidate("github_rerun", _log_shows_transient),
        Candidate("k8s_restart_rollout", _configuration_unchanged),
    ),
    FailureKind.TEST_FAILURE: _REVERT_THE_COMMIT,
    FailureKind.COMPILE_LINT: _REVERT_THE_COMMIT,
    FailureKind.BUILDFAILURE: _REVERT_THE_COMMIT,
    FailureKind.BUILDCACHEERROR: (Candidate("docker_clear_cache", _always),),
    FailureKind.ARGOCD_SYNC: (Candidate("argocd_sync", _sync_failed_in_passing),),
    FailureKind.ARGOCD_DEGRADED: (
        *_THROUGH_GIT,
        Candidate("argocd_sync", _sync_failed_in_passing),
    ),
}


def candidates_for(kind: FailureKind) -> tuple[Candidate, ...]:
    """The table's, then the team's own workflows of the policy."""
    own = tuple(Candidate(one.name, _always) for one in REMEDIATORS.values() if kind in one.kinds)
    return (*CANDIDATES.get(kind, ()), *own)


def candidate_actions(kind: FailureKind) -> tuple[str, ...]:
    """The names that the table has for a kind, best first, whatever the target."""
    return tuple(c.action for c in CANDIDATES.get(kind, ()))


ESCALATE = "escalate"
# Without a look at the live system these may be named: their conditions are about when it began, not about what it is.
_NAMED_WITHOUT_LOOKING = frozenset(
    {
        FailureKind.CRASHLOOP,
        FailureKind.PROBE_FAILURE,
        FailureKind.PERFORMANCE,
        FailureKind.IMAGEPULLBACKOFF,
        FailureKind.GITHUBACTION_TRANSIENT,
    }
)


def action_without_target(kind: FailureKind, preferred: str = "") -> str | None:
    """What would be proposed for a text alone: a catalogue name, "escalate", or None where nothing is wrong.

    It is information: without a target nothing can be carried out.
    """
    if kind is FailureKind.HEALTHY:
        return None
    if kind not in _NAMED_WITHOUT_LOOKING:
        return ESCALATE
    names = candidate_actions(kind)
    return preferred if preferred in names else names[0]


def nothing(reason: str, excluded: Sequence[tuple[str, str]] = (), candidates: Sequence[str] = ()) -> Plan:
    """A plan that proposes nothing and says why."""
    return Plan(None, tuple(candidates), tuple(excluded), no_action_because=reason)


def plan(
    diagnosis: Diagnosis | Unsure,
    target: Target | None,
    context: Context | None,
    *,
    record: Sequence[TrackRecord] = (),
    rejected: frozenset[str] = frozenset(),
    loop: Sequence[Attempt] = (),
) -> Plan:
    """At most one action for the diagnosis.

    Args:
        context: the target's live state, from `context.gather`; None without a target.
        record: how actions did for this kind in this environment (rows of other kinds and environments are ignored).
        rejected: actions that people rejected for this kind and service as "right cause, wrong fix".
        loop: earlier executions on this target since a person resumed it, newest first.
    """
    refusal = _no_fix_wanted(diagnosis, target, context)
    if refusal or isinstance(diagnosis, Unsure) or target is None or context is None:
        return nothing(refusal)
    table = candidates_for(diagnosis.kind)
    if not table:
        return nothing("no automatic fix exists for this kind of failure; a person decides")
    records = {r.action: r for r in record if r.kind is diagnosis.kind and r.environment == target.environment}
    signs = frozenset(sign for quote in diagnosis.quotes for sign in signs_of(quote.text))
    offered: list[tuple[Remediator, Action]] = []
    excluded: list[tuple[str, str]] = []
    for candidate in table:
        entry = REMEDIATORS[candidate.action]
        held = _held_back(candidate.action, signs, context)
        fit = held or _fits(candidate, entry, context, records=records, rejected=rejected, loop=loop)
        if isinstance(fit, Action):
            offered.append((entry, fit))
        else:
            excluded.append((candidate.action, fit))
    if not offered:
        reasons = "; ".join(f"{name}: {why}" for name, why in excluded)
        return nothing(f"no fix fits; a person decides ({reasons})", excluded, [c.action for c in table])
    ranked = _ranked(offered, records, diagnosis.preferred_action)
    names = [e.name for e, _ in ranked]
    return _proposed(*ranked[0], context, excluded=excluded, names=names, records=records)


def _no_fix_wanted(diagnosis: Diagnosis | Unsure, target: Target | None, context: Context | None) -> str:
    if isinstance(diagnosis, Unsure):
        return f"the cause is not known well enough: {diagnosis.reason}"
    if diagnosis.healthy:
        return "nothing is wrong, so nothing is done"
    if diagnosis.kind is FailureKind.UNKNOWN:
        return "the cause is not known; a person decides"
    if target is None or context is None:
        return "no single row of the services table matches, so this is only diagnosed"
    # A lookup that failed leaves the target unknown: proposing on half a picture would be guessing.
    return f"the target could not be looked at: {'; '.join(context.could_not)}" if context.could_not else ""


def _fits(
    candidate: Candidate,
    entry: Remediator,
    context: Context,
    *,
    records: Mapping[str, TrackRecord],
    rejected: frozenset[str],
    loop: Sequence[Attempt],
) -> Action | str:
    """The action, or why the candidate is left out. It is for the first of the targets that the entry is for."""
    aimed = next((one for one in context.targets if one.kind in entry.target_kinds), None)
    if aimed is None:
        return f"it does not apply to a {context.target.kind}"
    context = replace(context, target=aimed)
    if entry.name in rejected:
        return "people rejected it for this cause here as the wrong fix"
    held = loop_broken(loop, entry.name)
    if held:
        return held
    if entry.name == "argocd_sync" and any(a.action in _PUT_BACK and a.verdict == "verified" for a in loop):
        return "an earlier version was put back here today, and a sync would deploy again what Git still has"
    if any(a.action == entry.name and a.verdict in {"not_verified", "worse", "undone"} for a in loop):
        return "it was tried on this target and did not help"
    record = records.get(entry.name)
    if record and record.failed >= HOPELESS_FAILURES and record.verified == 0:
        return f"it failed {record.failed} of {record.attempts} times for this cause here"
    undoing = next((m for m in context.managers if m.undoes), None)
    if entry.changes_spec and undoing:
        return undoing.why
    reason = candidate.condition(context)
    if reason:
        return reason
    action = entry.propose(context)
    return action.reason if isinstance(action, NotOffered) else action


def _ranked(
    offered: Sequence[tuple[Remediator, Action]], records: Mapping[str, TrackRecord], preferred: str
) -> list[tuple[Remediator, Action]]:
    """Best first: by how often it worked here; the table's order, then the diagnosis' preference, break ties.

    The preference can only exchange equals: candidates without any record of success or failure count as equal.
    """

    def key(pair: tuple[int, tuple[Remediator, Action]]) -> tuple[float, bool, int]:
        place, (entry, _) = pair
        return -_standing(records.get(entry.name)), entry.name != preferred, place

    return [pair for _, pair in sorted(enumerate(offered), key=key)]


def _standing(record: TrackRecord | None) -> float:
    """The share of successes with one imaginary success and failure; a person's rejection counts as a failure."""
    if record is None:
        return 0.5
    return (record.verified + 1) / (record.verified + record.failed + record.rejected + 2)


def _proposed(
    entry: Remediator,
    action: Action,
    context: Context,
    *,
    excluded: Sequence[tuple[str, str]],
    names: Sequence[str],
    records: Mapping[str, TrackRecord],
) -> Plan:
    preview = entry.preview(action, context)
    record = records.get(entry.name)
    notes = [m.why for m in context.managers if not m.undoes] if entry.changes_spec else []
    basis = f"worked {record.verified} of {record.attempts} times here" if record and record.attempts else ""
    return Plan(
        replace(action, undo=entry.undo_text),
        candidates=tuple(names),
        excluded=tuple(excluded),
        preview=" ".join([preview.sentence, *(f"{note}." for note in notes)]),
        diff=preview.diff,
        risk=entry.risk,
        expected_seconds=entry.expected_seconds,
        blast_radius=preview.blast_radius,
        touches=touched_by(action, context, whole_workload=entry.replaces_pods),
        undo=entry.undo_text,
        twice=preview.twice,
        basis=basis or "never tried here for this cause",
    )
