"""Who may decide, how often, and what a rejection teaches."""

import asyncio
from pathlib import Path

import psycopg
import pytest
import yaml

from tests.stories.stage import DEVELOPER, GUEST, LEAD, ONCALL, Json, Stage, element_of, text_of
from tests.stories.test_healing import healthy, service, writes


async def test_a_rejected_fix_is_not_carried_out_and_another_is_proposed_next_time(stage: Stage) -> None:
    await stage.break_("release-crash-checkout")
    card = await stage.card("Waiting for approval", about="checkout")
    await stage.reject(card, "right_cause_wrong_fix", comment="the schema moved on, rolling back loses orders")
    rejected = await stage.card("Needs a person", about="checkout")
    assert "ight cause, wrong fix" in text_of(rejected)
    assert not writes(await stage.requests("k8s"))
    assert not await healthy(stage, "checkout")
    await stage.break_("release-crash-orders")
    second = await stage.card("Needs a person", about="orders")
    assert '"approve"' not in text_of(second)


async def test_people_who_may_not_approve_are_told_so_and_anybody_of_ours_may_merge_two_cards(stage: Stage) -> None:
    await stage.break_("release-crash-checkout")
    card = await stage.card("Waiting for approval", about="checkout")
    await stage.click(card, "approve", user=DEVELOPER)
    await stage.private(DEVELOPER, "may not")
    await stage.do("member", user=GUEST, channel="C0DEPLOY")
    await stage.click(card, "approve", user=GUEST)
    await stage.private(GUEST, "Guests")
    assert not writes(await stage.requests("k8s"))
    still = await stage.card("Waiting for approval", about="checkout")
    assert still["ts"] == card["ts"]
    await stage.break_("stuck-pod-payments")
    other = await stage.card("Waiting for approval", about="payments-api")
    view = await choose(stage, other, "Split or merge…", user=DEVELOPER)
    element = next(one["element"] for one in view["blocks"] if one.get("block_id") == "into")
    option = next(one for one in element["options"] if "checkout" in one["text"]["text"])
    values = {"into": {"into": {"type": "static_select", "selected_option": option}}}
    await stage.do("submit", user=DEVELOPER, view_id=view["id"], values=values)
    merged = await stage.card("Merged into incident 1", about="payments-api")
    assert merged["ts"] == other["ts"]
    assert "approve" not in text_of(merged)

    async def linked() -> bool:
        shown = "".join([text_of(one) for one in await stage.cards()])
        return "|Merged into incident 1" in shown and "|Took in incident 2" in shown

    await stage.until(linked, "both cards link each other")


async def test_a_double_click_and_a_second_approver_change_nothing_more(stage: Stage) -> None:
    await stage.break_("stuck-pod-payments")
    card = await stage.card("Waiting for approval", about="payments-api")
    form = await at_home(stage, "home_decide", "payments-api")
    await asyncio.gather(
        stage.do("submit", user=ONCALL, view_id=form["id"], values={}),
        *(stage.click(card, "approve", user=user, force=True) for user in (ONCALL, LEAD, LEAD)),
    )
    healed = await stage.card("Healed", about="payments-api", deadline_s=90)
    assert len(writes(await stage.requests("k8s"))) == 1

    async def nothing_waits() -> bool:
        home: Json = (await stage.do("home", user=ONCALL))["view"]
        return "Nothing waits for you" in text_of(home)

    await stage.until(nothing_waits, "Home shows that it is decided")
    option = next(one for one in element_of(healed, "more")["options"] if "postmortem" in one["text"]["text"])
    await stage.click(healed, "more", selected_option=option)
    await stage.thread(healed, "A draft of the postmortem")


async def at_home(stage: Stage, action: str, about: str) -> Json:
    """Press a button on the on-call person's Home, and wait for the form that it opens."""
    home: Json = (await stage.do("home", user=ONCALL))["view"]
    assert about in text_of(home)
    button = element_of(home, action)
    await stage.do(
        "click", user=ONCALL, view_id=home["id"], block_id=button["block_id"], action_id=action, value=button["value"]
    )

    async def opened() -> Json | None:
        found: Json | None = (await stage.get("view", user=ONCALL))["view"]
        return found

    found: Json = await stage.until(opened, f"the form of {action}")
    return found


async def choose(stage: Stage, card: Json, entry: str, *, user: str = ONCALL) -> Json:
    """Choose an entry of the card's menu, and wait for the form that it opens."""
    option = next(one for one in element_of(card, "more")["options"] if one["text"]["text"] == entry)
    await stage.click(card, "more", user=user, selected_option=option)
    return await view_of(stage, user)


async def test_an_edited_fix_runs_as_it_was_edited_and_the_call_says_who_decided(stage: Stage) -> None:
    await stage.break_("overload-catalog")
    card = await stage.card("Waiting for approval", about="catalog")
    asked = await stage.thread(card, "please approve or reject")
    view = await choose(stage, card, "Edit…")
    written = {"replicas": {"replicas": {"type": "number_input", "value": "99"}}}
    answer = await stage.do("submit", user=ONCALL, view_id=view["id"], values=written)
    assert answer["response_action"] == "errors"
    assert "Replicas must be a whole number from 3 to 4" in answer["errors"]["replicas"]
    written["replicas"]["replicas"]["value"] = "3"
    answer = await stage.do("submit", user=ONCALL, view_id=view["id"], values=written)
    assert answer["errors"] == {}
    edited = await stage.card("from 2 to 3 replicas", about="catalog")
    assert edited["ts"] == card["ts"]
    await stage.click(edited, "approve", user=LEAD)
    await stage.card("Scaled from 2 to 3 replicas", about="catalog")
    assert (await service(stage, "catalog"))["replicas"] == 3

    async def settled() -> Json | None:
        """What asked for a decision, once nothing asks for one any more."""
        said = await stage.messages(thread_ts=card["ts"])
        asking = [one for one in said if "please approve" in text_of(one)]
        return None if asking else next(one for one in said if one["ts"] == asked["ts"])

    answered = await stage.until(settled, "both calls are edited")
    assert f"Approved by <@{LEAD}>" in text_of(answered)


async def test_a_fix_is_approved_for_later_or_put_off_or_taken_over_from_the_card(stage: Stage) -> None:
    await stage.break_("stuck-pod-payments")
    card = await stage.card("Waiting for approval", about="payments-api")
    snooze = await choose(stage, card, "Snooze…")
    element = snooze["blocks"][1]["element"]
    assert (element["type"], element["timezone"]) == ("timepicker", "Europe/London")
    time = {"time": {"time": {"type": "timepicker", "selected_time": "05:00"}}}
    await stage.do("submit", user=ONCALL, view_id=snooze["id"], values=time)
    put_off = await stage.card("Put off until", about="payments-api")
    later = await choose(stage, put_off, "Approve for later…", user=LEAD)
    await stage.do("submit", user=LEAD, view_id=later["id"], values=time)
    scheduled = await stage.card("Approved for later", about="payments-api")
    await stage.click(scheduled, "take", user=DEVELOPER)
    taken = await stage.card("is on it", about="payments-api")
    assert f"assigned to <@{DEVELOPER}>" in text_of(taken)
    assert not writes(await stage.requests("k8s"))

    async def acknowledged() -> bool:
        return any("acknowledge" in str(one) for one in await stage.requests("pagerduty"))

    await stage.until(acknowledged, "the page is acknowledged")


async def test_a_thumb_down_ranks_the_precedent_lower(stage: Stage) -> None:
    await stage.break_("release-crash-checkout")
    first = await stage.card("Waiting for approval", about="checkout")
    await stage.click(first, "approve")
    healed = await stage.card("Healed", about="checkout", deadline_s=90)
    await stage.thumb(healed, up=False)
    await stage.card("👎 1", about="checkout")
    why = await view_of(stage, ONCALL)
    option = next(one for one in why["blocks"][1]["element"]["options"] if one["value"] == "wrong_fix")
    chosen = {"reason": {"reason": {"type": "radio_buttons", "selected_option": option}}}
    await stage.do("submit", user=ONCALL, view_id=why["id"], values=chosen)
    said = await stage.do(
        "post", user=LEAD, channel="C0DEPLOY", text="what fixed it was pinning the ledger schema", thread_ts=first["ts"]
    )
    await stage.do("shortcut", user=LEAD, callback_id="remember_fix_message", channel="C0DEPLOY", ts=said["ts"])
    form = await view_of(stage, LEAD)
    which, fix = (block["element"] for block in form["blocks"])
    assert "checkout" in which["initial_option"]["text"]["text"]
    written = {
        "incident": {"incident": {"type": "static_select", "selected_option": which["initial_option"]}},
        "fix": {"fix": {"type": "plain_text_input", "value": fix["initial_value"]}},
    }
    answer = await stage.do("submit", user=LEAD, view_id=form["id"], values=written)
    assert answer["response_action"] == "update"
    await stage.break_("release-crash-orders")
    second = await stage.card("Waiting for approval", about="orders")
    reply = await stage.thread(second, "Similar incidents")
    assert "ranked lower since 1 person said it did not help" in text_of(reply)

    async def found() -> bool:
        text = "search pinning the ledger schema"
        await stage.do("command", user=ONCALL, channel="C0DEPLOY", command="/codehealer", text=text)
        seen = [text_of(one) for one in await stage.messages() if one.get("is_ephemeral")]
        return any("Past incidents" in one and "pinning the ledger schema" in one for one in seen)

    await stage.until(found, "what was told is found")


async def view_of(stage: Stage, user: str) -> Json:
    """Wait for the form that a person has open."""

    async def opened() -> Json | None:
        found: Json | None = (await stage.get("view", user=user))["view"]
        return found

    found: Json = await stage.until(opened, "a form is open")
    return found


@pytest.mark.parametrize("stage", [{"CODEHEALER_PAUSE_CONFIGMAP": "shop/stop"}], indirect=True)
async def test_the_command_answers_privately_and_says_what_pauses(stage: Stage) -> None:
    answer = await stage.do("command", user=ONCALL, channel="C0DEPLOY", command="/codehealer", text="status")
    assert answer["acknowledged"]
    assert answer["response"]["response_type"] == "ephemeral"
    await stage.private(ONCALL, "No open incidents")
    await stage.do("command", user=ONCALL, channel="C0DEPLOY", command="/codehealer", text="stats 7")
    await stage.private(ONCALL, "in the last 7 days")
    await stage.do("command", user=ONCALL, channel="C0DEPLOY", command="/codehealer", text="stauts")
    guess = await stage.private(ONCALL, "Did you mean")
    await stage.click(guess, "run_command")

    async def taken() -> bool:
        return guess["ts"] not in {one["ts"] for one in await stage.messages()}

    await stage.until(taken, "the answer takes its place")
    config = yaml.safe_load(Path(stage.env["KUBECONFIG"]).read_text())  # noqa: ASYNC240  a small file
    server, token = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]
    stop = {"metadata": {"name": "stop"}, "data": {"paused": "true"}}
    place = f"{server}/api/v1/namespaces/shop/configmaps"
    made = await stage.http.post(place, json=stop, headers={"Authorization": f"Bearer {token}"})
    assert made.status_code == 201, made.text

    async def paused() -> bool:
        await stage.do("command", user=ONCALL, channel="C0DEPLOY", command="/codehealer", text="status")
        return any("paused by the ConfigMap shop/stop" in text_of(one) for one in await stage.messages())

    await stage.until(paused, "the ConfigMap pauses")
    Path(stage.env["CODEHEALER_POLICY"]).write_text("version: no\n")  # noqa: ASYNC240  a small file

    async def broken() -> Json | None:
        checks: Json = (await stage.http.get(stage.webhooks.replace("/webhooks", "/readyz"))).json()["checks"]
        return checks if checks["policy"] else None

    checks = await stage.until(broken, "the policy that was not taken is told of")
    assert "version" in checks.pop("policy")
    assert checks.keys() >= {"Slack", "pause", "watch", "database", "tables", "inbox", "jobs", "outbox", "leader"}


async def test_a_fix_that_makes_it_worse_is_undone_said_on_the_card_and_handed_to_people(stage: Stage) -> None:
    await stage.break_("overload-connections-catalog")
    card = await stage.card("Waiting for approval", about="catalog")
    assert "undo: scales back" in text_of(card)
    await stage.click(card, "approve")
    undone = await stage.card("Fix undone", about="catalog", deadline_s=90)
    assert undone["ts"] == card["ts"]
    reply = await stage.thread(undone, "Worse than before the fix")
    assert "Scaled back to 2 replicas" in text_of(reply)
    await stage.thread(undone, "please look, the failure goes on")
    assert (await service(stage, "catalog"))["replicas"] == 2
    written = writes(await stage.requests("k8s"))
    assert len(written) == 2, "the fix and its undo, once each"
    async with await psycopg.AsyncConnection.connect(stage.database_url.replace("+psycopg", "")) as db:
        logged = await db.execute(
            "SELECT jsonb_path_query(payload, '$.outcome.writes[*]') FROM audit WHERE what = 'execution.acted'"
            " UNION ALL SELECT jsonb_path_query(payload, '$.undo.writes[*]') FROM audit WHERE what = 'verification'"
        )
        told = [write for (write,) in await logged.fetchall()]
    assert [write["request"] for write in told] == [f"{method} {path.removeprefix('/k8s')}" for method, path in written]
    assert {write["result"] for write in told} == {"done"}
