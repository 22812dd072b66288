"""Changing an action's parameters before it is approved, within the bounds of its remediator and the policy. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from knowledge.model import Action, Plan
from remediation.blast_radius import touched_by
from remediation.context import Context
from remediation.policy_file import Policy
from remediation.registry import Editable
from remediation.remediators import REMEDIATORS

NOTHING_CHANGED = "Nothing is changed yet: approve it as it is, or write another value."
MAX_DIGITS = 9


def editable(action: Action | None, policy: Policy) -> tuple[Editable, ...]:
    """The parameters that a person may change; those with a single possible value are none."""
    entry = REMEDIATORS.get(action.name) if action else None
    if action is None or entry is None or entry.editable is None:
        return ()
    return tuple(one for one in entry.editable(action, policy) if one.low < one.high)


def refusals(fields: Sequence[Editable], values: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with what a person wrote, by field: the field, its bounds and where they come from."""
    return {one.name: why for one in fields if (why := _refusal(one, values.get(one.name, "")))}


def _refusal(field: Editable, written: str) -> str:
    number = whole(written)
    if number is not None and field.low <= number <= field.high:
        return ""
    unit = f" {field.unit}" if field.unit else ""
    return f"{field.label} must be a whole number from {field.low} to {field.high}{unit}: {field.because}."


def whole(written: str) -> int | None:
    """A whole number as people write it; None for anything else."""
    digits = written.strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS else None


def edited(action: Action, fields: Sequence[Editable], values: Mapping[str, str]) -> Action:
    """The action with the values that were written, which `refusals` has let pass."""
    parameters = dict(action.parameters)
    for one in fields:
        value: int | str | None = whole(values[one.name])
        parameters |= dict.fromkeys((one.name, *one.also), f"{value}{one.unit}" if one.unit else value)
    return replace(action, parameters=parameters)


def replanned(plan: Plan, action: Action, context: Context) -> Plan:
    """The plan for the changed action: what it would change and touch now; everything else stays as it was found."""
    entry = REMEDIATORS[action.name]
    preview = entry.preview(action, context)
    return replace(
        plan,
        action=action,
        preview=preview.sentence,
        diff=preview.diff,
        blast_radius=preview.blast_radius,
        touches=touched_by(action, context, whole_workload=entry.replaces_pods),
        twice=preview.twice,
    )
