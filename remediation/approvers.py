"""Whose word counts where: the lists of policy.yaml that must all name a person. Pure."""

from remediation.policy_file import Approvers, Environment, Policy


def lists_in_force(policy: Policy, rules: Environment, action: str) -> tuple[Approvers, ...]:
    """The environment's own list, else the policy's, and the action's where it has one: a person must be on all.

    So a list that is added can only take people away; an action that names nobody lets nobody.
    """
    general = rules.approvers if rules.approvers is not None else policy.approvers
    of_action = policy.actions.get(action)
    narrower = of_action.approvers if of_action else None
    return (general,) if narrower is None else (general, narrower)


def asked(lists: tuple[Approvers, ...]) -> tuple[str, ...]:
    """The ids that a request is put to: those of the narrowest list."""
    return ids(lists[-1])


def ids(approvers: Approvers) -> tuple[str, ...]:
    return (*approvers.users, *approvers.groups, *approvers.channels)


def places(policy: Policy) -> tuple[frozenset[str], frozenset[str]]:
    """Every user group, and every channel, that any list of the policy names."""
    lists = [
        policy.approvers,
        policy.operators,
        *(rules.approvers for rules in policy.environments.values() if rules.approvers),
        *(rule.approvers for rule in policy.actions.values() if rule.approvers),
    ]
    return (
        frozenset(group for one in lists for group in one.groups),
        frozenset(channel for one in lists for channel in one.channels),
    )
