"""How far the bot may go where: what the policy file says, and what people set with /codehealer mode. Pure.

A scope is "service:NAME", "environment:NAME", "channel:ID" or "everything". Of all that people set for a place the
narrowest is in force, and it replaces what the file says; so whoever narrows anything is obeyed everywhere in it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from remediation.approvals import Person
from remediation.policy_facts import MODES, mode_of_row
from remediation.policy_file import Policy

EVERYTHING = "everything"
SCOPES = ("service", "environment", "channel", EVERYTHING)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an incident may be: a service's row, or an environment in which no row is known."""

    service: str
    environment: str
    channel: str
    by_file: str


def set_for(
    overrides: Mapping[str, str], *, service: str, environment: str, channel: str, meant_channel: str = ""
) -> str:
    """The narrowest mode that people set for a place; "" where they set none.

    A card that stands in another channel than it was meant for is bound by the modes of both.
    """
    places = (f"service:{service}", f"environment:{environment}", f"channel:{channel}", f"channel:{meant_channel}")
    scopes = (*places, EVERYTHING)
    found = [overrides[scope] for scope in scopes if overrides.get(scope) in MODES]
    return min(found, key=MODES.index, default="")


def widens(policy: Policy, overrides: Mapping[str, str], scope: str, mode: str) -> bool:
    """Whether setting `mode` ("" takes back what was set) lets the bot go further anywhere than it may now."""
    after = {**overrides, scope: mode}
    kind, _, name = scope.partition(":")
    for place in _places(policy, [*overrides, scope]):
        where = {"service": place.service, "environment": place.environment, "channel": place.channel}
        if kind != EVERYTHING and where[kind] != name:
            continue
        now = set_for(overrides, **where) or place.by_file
        then = set_for(after, **where) or place.by_file
        if MODES.index(then) > MODES.index(now):
            return True
    return False


def _places(policy: Policy, scopes: Iterable[str]) -> Iterator[Place]:
    """Every row and environment in every channel with a mode of its own, and in one without ("").

    People may ask about any service in any channel, so a mode of one channel hides nothing from the others.
    """
    channels = {"", *(scope.removeprefix("channel:") for scope in scopes if scope.startswith("channel:"))}
    for channel in channels:
        for row in policy.services:
            yield Place(row.name, row.environment, channel, mode_of_row(policy, row, row.environment))
        for name in {*policy.environments, "prod"}:
            yield Place("", name, channel, mode_of_row(policy, None, name))


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
