"""The catalogue: one file an entry, found by name in one table."""

from remediation.registry import Remediator
from remediation.remediators import (
    argocd_rollback,
    argocd_sync,
    github_cancel_run,
    github_rerun,
    github_revert_pr,
    k8s_restart_pod,
    k8s_rollback,
    k8s_scale,
    noop,
)

REMEDIATORS: dict[str, Remediator] = {
    entry.name: entry
    for entry in (
        k8s_restart_pod.REMEDIATOR,
        k8s_scale.REMEDIATOR,
        k8s_rollback.REMEDIATOR,
        argocd_sync.REMEDIATOR,
        argocd_rollback.REMEDIATOR,
        github_rerun.REMEDIATOR,
        github_revert_pr.REMEDIATOR,
        github_cancel_run.REMEDIATOR,
        noop.REMEDIATOR,
    )
}
