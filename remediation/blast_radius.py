"""How much of a workload an action touches, in numbers that the policy can limit. Pure."""

from knowledge.model import Action, Touched
from remediation import kube
from remediation.context import Context


def touched_by(action: Action, context: Context, *, whole_workload: bool) -> Touched:
    """Replicas that the action adds, and pods that it replaces.

    Args:
        whole_workload: whether it changes the pod template or restarts the rollout, so that every pod is replaced.
    """
    if context.workload is None:
        return Touched()
    have = max(kube.replicas_of(context.workload), len(context.pods))
    was, to = action.parameters.get("was"), action.parameters.get("replicas")
    if isinstance(was, int) and isinstance(to, int):
        # What runs is left alone by more replicas, and loses as many pods as are taken away.
        return Touched(replicas=max(0, to - was), pods=max(0, was - to), of=have)
    secret = (action.parameters.get("secret"), action.parameters.get("key"))
    reading = next((s.pods for s in context.secrets if (s.configured.name, s.configured.key) == secret), 0)
    if reading > have:
        # Whatever else reads a rotated Secret is restarted with it.
        return Touched(pods=reading, of=reading)
    return Touched(pods=have if whole_workload else min(1, have), of=have)
