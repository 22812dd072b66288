"""The catalogue: one file an entry, found by name in one table."""

from remediation.registry import Remediator
from remediation.remediators import (
    github_rerun,
    k8s_raise_memory,
    k8s_restart_pod,
    k8s_restart_rollout,
    k8s_rollback,
    k8s_scale,
    k8s_update_image,
    k8s_update_secret,
    noop,
)

REMEDIATORS: dict[str, Remediator] = {
    entry.name: entry
    for entry in (
        k8s_restart_pod.REMEDIATOR,
        k8s_scale.REMEDIATOR,
        k8s_rollback.REMEDIATOR,
        k8s_raise_memory.REMEDIATOR,
        k8s_restart_rollout.REMEDIATOR,
        k8s_update_image.REMEDIATOR,
        k8s_update_secret.REMEDIATOR,
        github_rerun.REMEDIATOR,
        noop.REMEDIATOR,
    )
}
