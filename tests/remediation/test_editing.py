"""Which parameters people may change, within which bounds, and what the changed fix then is."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from knowledge.model import Action, Plan, Target
from remediation.context import Context
from remediation.editing import editable, edited, refusals, replanned
from remediation.policy import Policy, parse_policy
from remediation.registry import parameters_as
from remediation.remediators import REMEDIATORS

API = Target("Deployment", "api", "shop", "main", service="api", environment="prod")
SCALE = Action("k8s_scale", API, {"replicas": 6, "was": 3, "limit": 10})
MEMORY = Action(
    "k8s_raise_memory", API,
    {"container": "api", "was": "512Mi", "limit": "768Mi", "request_was": "256Mi", "request": "256Mi", "cap": "4Gi"},
)  # fmt: skip
GUARANTEED = replace(MEMORY, parameters={**MEMORY.parameters, "request_was": "512Mi", "request": "768Mi"})


def policy(**row: object) -> Policy:
    words = ", ".join(f"{key}: {value}" for key, value in row.items())
    place = "workload: {kind: Deployment, name: api}, namespace: shop"
    return parse_policy(f"services: [{{name: api, environment: prod, {place}, {words}}}]")


@pytest.mark.parametrize(
    ("action", "allowed", "bounds", "why"),
    [
        (SCALE, {"max_replicas": 10}, (4, 6), "there are 3 now, and at most twice as many may run"),
        (SCALE, {"max_replicas": 5}, (4, 5), "max_replicas of api is 5"),
        (MEMORY, {"max_memory": "8Gi"}, (513, 1024), "it is 512Mi now, and at most twice as much is given"),
        (MEMORY, {"max_memory": "800Mi"}, (513, 800), "the policy's cap is 800Mi"),
    ],
)
def test_bounds_come_from_the_action_and_from_the_policy_of_this_moment(
    action: Action, allowed: dict[str, object], bounds: tuple[int, int], why: str
) -> None:
    (field,) = editable(action, policy(**allowed))
    assert ((field.low, field.high), field.because) == (bounds, why)
    for written in (str(bounds[0] - 1), str(bounds[1] + 1), "", "x", "1e3", "-5"):
        (refusal,) = refusals([field], {field.name: written}).values()
        assert f"from {field.low} to {field.high}" in refusal
    for written in map(str, bounds):
        assert refusals([field], {field.name: written}) == {}
        changed = edited(action, [field], {field.name: written})
        assert changed.digest != action.digest or written in str(action.parameters[field.name])
        parameters_as(REMEDIATORS[action.name].parameters, changed)


def test_what_has_one_possible_value_or_names_nothing_to_edit_is_not_editable() -> None:
    assert editable(SCALE, policy(max_replicas=4)) == ()
    assert editable(MEMORY, policy(max_replicas=4)) == (), "the policy names no cap any more"
    assert editable(Action("noop", API), policy()) == ()
    assert editable(None, policy()) == ()


def test_a_request_that_is_the_limit_stays_so() -> None:
    (field,) = editable(GUARANTEED, policy(max_memory="8Gi"))
    changed = edited(GUARANTEED, [field], {"limit": "640"})
    assert (changed.parameters["limit"], changed.parameters["request"]) == ("640Mi", "640Mi")
    (field,) = editable(MEMORY, policy(max_memory="8Gi"))
    assert edited(MEMORY, [field], {"limit": "640"}).parameters["request"] == "256Mi"


def test_a_changed_fix_says_and_counts_what_it_touches_now() -> None:
    pods = tuple({"metadata": {"name": f"api-{number}"}} for number in range(3))
    context = Context(API, datetime(2026, 11, 23, tzinfo=UTC), workload={"spec": {"replicas": 3}}, pods=pods)
    old = Plan(SCALE, preview="Scale Deployment api from 3 to 6 replicas.", blast_radius="3 more pods", basis="new")
    changed = replace(SCALE, parameters={**SCALE.parameters, "replicas": 4})
    plan = replanned(old, changed, context)
    assert (plan.preview, plan.blast_radius) == ("Scale Deployment api from 3 to 4 replicas.", "1 more pods")
    assert plan.touches is not None
    assert plan.touches != replanned(old, SCALE, context).touches
    assert plan.basis == "new"
