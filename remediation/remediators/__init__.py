"""The catalogue: one file an entry, found by name in one table, and the policy's own workflows beside them."""

from collections.abc import Sequence

from remediation.policy_workflows import Workflow
from remediation.registry import Remediator
from remediation.remediators import (
    argocd_rollback,
    argocd_sync,
    docker_clear_cache,
    github_cancel_run,
    github_rerun,
    github_revert_pr,
    github_secret_rotate,
    k8s_raise_memory,
    k8s_restart_pod,
    k8s_restart_rollout,
    k8s_rollback,
    k8s_scale,
    k8s_update_image,
    k8s_update_secret,
    noop,
    workflow,
)


class Catalogue(dict[str, Remediator]):
    """The entries by name. A workflow that the policy no longer has is still answered for: it may have been begun."""

    def __missing__(self, name: str) -> Remediator:
        if name.startswith(workflow.PREFIX):
            return workflow.gone(name)
        raise KeyError(name)


REMEDIATORS = Catalogue(
    (entry.name, entry)
    for entry in (
        k8s_restart_pod.REMEDIATOR,
        k8s_scale.REMEDIATOR,
        k8s_rollback.REMEDIATOR,
        k8s_raise_memory.REMEDIATOR,
        k8s_restart_rollout.REMEDIATOR,
        k8s_update_image.REMEDIATOR,
        k8s_update_secret.REMEDIATOR,
        argocd_sync.REMEDIATOR,
        argocd_rollback.REMEDIATOR,
        github_rerun.REMEDIATOR,
        github_revert_pr.REMEDIATOR,
        github_secret_rotate.REMEDIATOR,
        github_cancel_run.REMEDIATOR,
        docker_clear_cache.REMEDIATOR,
        noop.REMEDIATOR,
    )
)


def adopt(workflows: Sequence[Workflow]) -> None:
    """Exchanges the policy's workflows in the catalogue for these."""
    for name in [name for name in REMEDIATORS if name.startswith(workflow.PREFIX)]:
        del REMEDIATORS[name]
    REMEDIATORS.update((spec.action, workflow.entry(spec)) for spec in workflows)
