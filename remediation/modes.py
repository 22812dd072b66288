"""How far the bot may go where: what the policy file says, and what people set with /codehealer mode. Pure.

A scope is "service:NAME", "environment:NAME", "channel:ID" or "everything". Of all that people set for a place the
narrowest is in force, and it replaces what the file says; so whoever narrows anything is obeyed everywhere in it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from remediation.approvals import Person
from remediation.policy_facts import MODES, mode_of_row, names_of_environment
from remediation.policy_file import Policy

EVERYTHING = "everything"
SCOPES = ("service", "environment", "channel", EVERYTHING)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an incident may be: a service's row, or an environment, by all its names, in which no row is known."""

    service: str
    environments: Collection[str]
    channel: str
    by_file: str


def set_for(
    overrides: Mapping[str, str],
    *,
    service: str,
    environments: Collection[str],
    channel: str,
    meant_channel: str = "",
) -> str:
    """The narrowest mode that people set for a place; "" where they set none.

    `environments` are the names that its environment goes by.
    A card that stands in another channel than it was meant for is bound by the modes of both.
    """
    named = (f"environment:{name}" for name in environments)
    scopes = (f"service:{service}", *named, f"channel:{channel}", f"channel:{meant_channel}", EVERYTHING)
    found = [overrides[scope] for scope in scopes if overrides.get(scope) in MODES]
    return min(found, key=MODES.index, default="")


def widens(policy: Policy, overrides: Mapping[str, str], scope: str, mode: str) -> bool:
    """Whether setting `mode` ("" takes back what was set) lets the bot go further anywhere than it may now."""
    after = {**overrides, scope: mode}
    kind, _, name = scope.partition(":")
    for place in _places(policy, [*overrides, scope]):
        within = {"service": {place.service}, "environment": place.environments, "channel": {place.channel}}
        if kind != EVERYTHING and name not in within[kind]:
            continue
        now = _in_force(overrides, place)
        then = _in_force(after, place)
        if MODES.index(then) > MODES.index(now):
            return True
    return False


def _in_force(overrides: Mapping[str, str], place: Place) -> str:
    found = set_for(overrides, service=place.service, environments=place.environments, channel=place.channel)
    return found or place.by_file


def _places(policy: Policy, scopes: Iterable[str]) -> Iterator[Place]:
    """Every row and environment in every channel with a mode of its own, and in one without ("").

    People may ask about any service in any channel, so a mode of one channel hides nothing from the others.
    """
    channels = {"", *(scope.removeprefix("channel:") for scope in scopes if scope.startswith("channel:"))}
    for channel in channels:
        for row in policy.services:
            names = names_of_environment(policy, row.environment)
            yield Place(row.name, names, channel, mode_of_row(policy, row, row.environment))
        for name in {*policy.environments, "prod"}:
            yield Place("", {name}, channel, mode_of_row(policy, None, name))


def may_narrow(person: Person) -> str:
    """ "" when the person may set a narrower mode and withdraw trust; else the sentence that says why not."""
    if person.is_bot or person.deleted or person.foreign or person.restricted:
        return "Only full members of this workspace may do this."
    return ""


def may_operate(person: Person, policy: Policy) -> str:
    """ "" when the person may widen, resume and grant trust; else the sentence that says why not. Fails closed."""
    refusal = may_narrow(person)
    if refusal:
        return refusal
    roles = policy.operators
    if not (roles.users or roles.groups or roles.channels):
        roles = policy.approvers
    if {person.id, *person.groups, *person.channels} & {*roles.users, *roles.groups, *roles.channels}:
        return ""
    people = ", ".join(f"<@{user}>" for user in roles.users) or "nobody yet: list people under operators in policy.yaml"
    return f"You may narrow and pause, and not widen or resume. That may {people}."
