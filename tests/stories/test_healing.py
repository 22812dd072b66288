"""A failure of each kind that a remediator heals, from the break to the verified fix, through Slack alone."""

import re

import pytest

from tests.stories.stage import ALERTS, ONCALL, Json, Stage, text_of


async def service(stage: Stage, name: str) -> Json:
    snapshot = (await stage.get("world"))["snapshot"]
    found: Json = next(one for one in snapshot["services"] if one["name"] == name)
    return found


async def healthy(stage: Stage, name: str) -> bool:
    return bool((await service(stage, name))["status"] == "healthy")


def writes(requests: list[Json]) -> list[tuple[str, str]]:
    """Every request that changed something, as (method, path)."""
    return [
        (one["method"], one["path"])
        for one in requests
        if one["method"] in {"DELETE", "PATCH", "PUT", "POST"}
        and one["status"] < 300
        and "dryRun" not in str(one["query"])
        and "selfsubject" not in one["path"]
    ]


@pytest.mark.parametrize(
    ("scenario", "name", "action"),
    [
        ("release-crash-checkout", "checkout", "Roll"),
        ("stuck-pod-payments", "payments-api", "Delete pod"),
        ("overload-catalog", "catalog", "Scale"),
    ],
)
async def test_an_approved_fix_heals_the_service_and_is_verified(
    stage: Stage, scenario: str, name: str, action: str
) -> None:
    await stage.break_(scenario)
    card = await stage.card("Waiting for approval", about=name)
    assert action.lower() in text_of(card).lower()
    assert (await stage.click(card, "approve"))["acknowledged"]
    healed = await stage.card("Healed", about=name, deadline_s=90)
    assert healed["ts"] == card["ts"], "the card is edited in place"
    assert await healthy(stage, name)
    changes = writes(await stage.requests("k8s"))
    assert len(changes) == 1, changes
    await stage.thread(healed, "Verified")
    await stage.thumb(healed, up=True)
    await stage.card("👍 1", about=name)


async def test_a_transient_ci_failure_is_run_again_after_approval(stage: Stage) -> None:
    await stage.break_("ci-network-checkout")
    card = await stage.card("Waiting for approval", about="checkout")
    await stage.click(card, "approve")
    await stage.card("Healed", about="checkout", deadline_s=90)
    reruns = [path for method, path in writes(await stage.requests("github")) if "rerun" in path]
    assert len(reruns) == 1, reruns


async def pull_request(stage: Stage, name: str) -> str:
    """The address of the one that was opened for a service, as its card gives it."""
    opened = text_of(await stage.card("Opened pull request", about=name))
    address = re.search(rf"http://127\.0\.0\.1:\d+/github/html/acme/{name}/pull/\d+", opened)
    assert address
    return address[0]


async def test_where_argocd_undoes_changes_a_pull_request_is_opened_and_a_person_merges_it(stage: Stage) -> None:
    await stage.break_("gitops-crash-pricing")
    card = await stage.card("Waiting for approval", about="pricing")
    assert "open a pull request on acme/pricing" in text_of(card).lower()
    await stage.click(card, "approve")
    address = await pull_request(stage, "pricing")
    assert not writes(await stage.requests("k8s"))
    assert (await stage.http.post(f"{address}/merge")).status_code == 303
    await stage.card("Healed", about="pricing", deadline_s=90)
    assert await healthy(stage, "pricing")


async def test_a_deterministic_failure_is_never_run_again_and_its_commit_is_reverted_by_a_person(stage: Stage) -> None:
    await stage.break_("ci-test-orders")
    card = await stage.card("Waiting for approval", about="orders")
    assert "reverts" in text_of(card)
    assert "Round halves up" in text_of(card)
    await stage.click(card, "approve")
    address = await pull_request(stage, "orders")
    assert not [one for one in writes(await stage.requests("github")) if "rerun" in one[1]]
    assert (await stage.http.post(f"{address}/merge")).status_code == 303
    await stage.card("Healed", about="orders", deadline_s=90)


async def test_a_false_alarm_is_answered_without_an_action(stage: Stage) -> None:
    await stage.break_("false-alarm-catalog")
    card = await stage.card("resolved, nothing to do", about="catalog")
    assert '"approve"' not in text_of(card)
    assert not writes(await stage.requests("k8s"))


async def test_the_alert_of_another_app_in_slack_leads_to_one_card(stage: Stage) -> None:
    await stage.break_("image-missing-payments")
    card = await stage.card("Waiting for approval", about="payments-api")

    async def posted() -> bool:
        return any("payments" in text_of(post) for post in await stage.messages(ALERTS))

    await stage.until(posted, "Alertmanager posts in its own channel")
    assert len(await stage.cards()) == 1
    await stage.click(card, "approve")
    await stage.card("Healed", about="payments-api", deadline_s=90)


async def test_the_same_cause_in_another_service_brings_the_first_back_as_a_precedent(stage: Stage) -> None:
    await stage.break_("release-crash-checkout")
    first = await stage.card("Waiting for approval", about="checkout")
    await stage.click(first, "approve")
    healed = await stage.card("Healed", about="checkout", deadline_s=90)
    await stage.thumb(healed, up=True)
    await stage.card("👍 1", about="checkout")
    await stage.break_("release-crash-orders")
    second = await stage.card("Waiting for approval", about="orders")
    reply = await stage.thread(second, "Similar incidents")
    assert "checkout" in text_of(reply)
    assert "worked, verified" in text_of(reply)
    assert "Since the last healthy state" in text_of(reply)
    assert "A pod that crash-loops" in text_of(reply), "the runbook of the sandbox"


async def test_a_mention_with_a_pasted_log_gets_a_diagnosis_and_no_action(stage: Stage) -> None:
    log = (
        "```\nFailed to pull image registry.example.com/shop/web:9.9.9: manifest unknown\nError: ImagePullBackOff\n```"
    )
    asked = await stage.do("post", user=ONCALL, channel=ALERTS, text=f"<@U0CODEHEALER> what is this?\n{log}")
    answer = await stage.thread({"ts": asked["ts"]}, "Image cannot be pulled", channel=ALERTS)
    assert '"approve"' not in text_of(answer)
