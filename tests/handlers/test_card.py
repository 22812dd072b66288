"""The card in every state: its words, its buttons, its limits, and that no text from outside can ping or break it."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers import replies
from handlers.blocks import card, commands, listing, modals, mrkdwn, thread
from handlers.blocks.actions import Thumb, decode_feedback, decode_incident, decode_value
from handlers.blocks.card_buttons import plain_thumbs
from handlers.blocks.card_decision import REJECT_WORDS, reason_words, responsible_people
from handlers.blocks.card_findings import FLAGGED, percent
from handlers.blocks.card_view import Card, CardView
from handlers.blocks.incident_words import SCHEDULED_WANTED, STATE_WORDS, WANTED, title_words, what_fails
from handlers.blocks.limits import validate_blocks, validate_message, validate_view
from knowledge.errors import BadInput, CodeHealerError, Conflict, NotFound, Refused, SettingsError, Unavailable
from knowledge.model import ApprovalState, FailureKind, IncidentState, Plan, Quote, RejectReason, Risk, Unsure
from knowledge.store.analytics import Figures
from knowledge.store.mutes import Mute
from tests.handlers import card_states as states

S = IncidentState
CLOSED = {S.HEALED, S.DISMISSED, S.RESOLVED}


def lines_of(view: CardView) -> list[str]:
    return [mrkdwn.without_markup(line) for line in card.card_lines(card.render_card(view).blocks)]


def buttons_of(blocks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {e["action_id"]: e for block in blocks if block["type"] == "actions" for e in block["elements"]}


# --- words -------------------------------------------------------------------------------------------------------

ABOUT = "critical · since 14:02 UTC · seen 3 times, last 14:07 UTC"
CAUSE = [
    "Cause: Version 1.8.2 reads PAYMENTS_URL, which is not set in this environment, and exits.",
    "86 % sure (its own estimate) · 1 similar incident here · fix: worked 14 of 16 times here",
]
FIX = "Roll back checkout from version 1.8.2 to 1.8.1, which ran for 6 days."
TAKES = "Medium risk · about 40 s · touches 3 pods of checkout in shop · undo: roll forward to 1.8.2"
SOURCES = "Answered by built-in (no NVIDIA key is set) in 42 ms, machine made, can be wrong"
THUMBS = "[👍 Helped] [👎 Did not help]"
TITLE = "KubePodCrashLooping: checkout-7d9f restarts every 30 s · checkout · prod"

WORDS: dict[S, list[str]] = {
    S.DETECTED: [
        f"👀 {TITLE}",
        f"Detected · {ABOUT}",
        "Collecting evidence. The cause will stand here.",
    ],
    S.DIAGNOSING: [
        f"🔍 {TITLE}",
        f"Looking for the cause · {ABOUT}",
        "Collecting evidence. The cause will stand here.",
    ],
    S.PROPOSED: [
        "💡 Configuration error · checkout · prod",
        f"Fix suggested · {ABOUT}",
        *CAUSE,
        f"Suggested fix: {FIX}",
        TAKES,
        "Only a suggestion: in suggest mode nothing runs from here.",
        "[Details] [I'm on it] [⋯]",
        f"{SOURCES} · Source",
        THUMBS,
    ],
    S.WAITING: [
        "✋ Configuration error · checkout · prod",
        f"Waiting for approval · {ABOUT}",
        *CAUSE,
        f"Proposed fix: {FIX}",
        TAKES,
        "Decision: 1 of 2 approvals (<@U0ANNA>), from different people.",
        "<@U0BORIS> or <!subteam^S0ONCALL> may approve until 14:32 UTC.",
        "[Approve] [Reject…] [Details] [⋯]",
        f"{SOURCES} · Source",
        THUMBS,
    ],
    S.BLOCKED: [
        "⛔ Configuration error · checkout · prod",
        f"Fix blocked by policy · {ABOUT}",
        *CAUSE,
        f"Blocked fix: {FIX}",
        TAKES,
        "Blocked by: fixes an hour, limit under 5 for the service, actual 5",
        "To override: wait, or raise limits.fixes_per_hour.",
        "[Details] [I'm on it] [⋯]",
        f"{SOURCES} · Source",
        THUMBS,
    ],
    S.RUNNING: [
        "⚙️ Configuration error · checkout · prod",
        f"Fix is running · {ABOUT}",
        *CAUSE,
        f"Fix: {FIX}",
        "Approved by <@U0ANNA> and <@U0BORIS> · started 14:08 UTC · takes about 40 s.",
        "[Details] [I'm on it] [⋯]",
        f"{SOURCES} · Source",
        THUMBS,
    ],
    S.VERIFYING: [
        "🔎 Configuration error · checkout · prod",
        f"Checking whether the fix helped · {ABOUT}",
        *CAUSE,
        f"Fix: {FIX}",
        "Approved by <@U0ANNA> and <@U0BORIS>. Rolled back to revision 41 (1.8.1).",
        "So far: 2 of 3 pods are ready.",
        "[Details] [I'm on it] [⋯]",
        f"{SOURCES} · 👍 1 helped · Source",
        THUMBS,
    ],
    S.HEALED: [
        "✅ Configuration error · checkout · prod",
        f"Healed · {ABOUT}",
        *CAUSE,
        f"Fix: {FIX}",
        "Verified: 3 of 3 pods are ready and none has restarted for 60 s. That was 8 min after the first alert.",
        "Approved by <@U0ANNA> and <@U0BORIS>.",
        "[⋯]",
        f"{SOURCES} · 👍 2 helped, 👎 1 did not · Source",
        THUMBS,
    ],
    S.NOT_VERIFIED: [
        "❓ Configuration error · checkout · prod",
        f"Fix done, effect not verified · {ABOUT}",
        *CAUSE,
        f"Fix: {FIX}",
        "Not verified: The cluster did not answer until the deadline, so nothing is known.",
        "Approved by <@U0ANNA> and <@U0BORIS>. Please check whether it helped.",
        "[Details] [I'm on it] [⋯]",
        f"{SOURCES} · Source",
        THUMBS,
    ],
    S.UNDONE: [
        "↩️ Configuration error · checkout · prod",
        f"Fix undone · {ABOUT}",
        *CAUSE,
        f"Undone fix: {FIX}",
        "Undone: 0 of 3 pods were ready after the rollback, 1 before it.",
        "Approved by <@U0ANNA> and <@U0BORIS>. The state before the fix is restored; the failure goes on.",
        "[Details] [I'm on it] [⋯]",
        f"{SOURCES} · Source",
        THUMBS,
    ],
    S.ESCALATED: [
        f"🙋 {TITLE}",
        f"Needs a person · {ABOUT}",
        "Cause: not known. Two causes fit equally well and the previous log could not be read.",
        "Would settle it: the log before the restart; the rollout history",
        "Fix: none proposed. A disk that fills up needs a person to decide what may go.",
        "Why: The cause is not known well enough to act on it.",
        "[Details] [I'm on it] [⋯]",
        "Answered by built-in in 38 ms, machine made, can be wrong · Source",
        THUMBS,
    ],
    S.DISMISSED: [
        "➖ Configuration error · checkout · prod",
        f"Dismissed · {ABOUT}",
        *CAUSE,
        f"Not done: {FIX}",
        "Dismissed by <@U0BORIS>. Already fixed: the variable was added by hand.",
        f"{SOURCES} · Source",
        THUMBS,
    ],
    S.RESOLVED: [
        "☑️ Configuration error · checkout · prod",
        f"Resolved · {ABOUT}",
        *CAUSE,
        f"Not done: {FIX}",
        "The alert ended at 14:10 UTC. No fix of this bot was needed.",
        "[⋯]",
        f"{SOURCES} · Source",
        THUMBS,
    ],
}


@pytest.mark.parametrize("state", list(S), ids=str)
def test_each_state_reads_as_written_here(state: S) -> None:
    assert lines_of(states.STATES[state]) == WORDS[state]


@pytest.mark.parametrize("name", list(states.VARIANTS))
def test_every_card_keeps_to_twelve_lines_and_slacks_limits(name: str) -> None:
    drawn = card.render_card(states.VARIANTS[name])
    assert len(card.card_lines(drawn.blocks)) <= 12
    assert validate_message(drawn.text, drawn.blocks) == []


@pytest.mark.parametrize("name", list(states.VARIANTS))
def test_the_first_hundred_characters_say_severity_service_cause_and_wanted_decision(name: str) -> None:
    view = states.VARIANTS[name]
    start = card.render_card(view).text[:100]
    wanted = SCHEDULED_WANTED if view.scheduled else WANTED[view.incident.state]
    for word in ("[CRITICAL]", "checkout:", wanted):
        assert word in start
    cause = {True: "Cause not known", False: what_fails(view)[:22]}[isinstance(view.diagnosis, Unsure)]
    assert cause in start


def test_the_text_repeats_what_the_blocks_say() -> None:
    view = states.STATES[S.WAITING]
    drawn = card.render_card(view)
    said = [line for line in lines_of(view)[1:] if not line.startswith("[")]
    assert drawn.text.split("\n")[1:] == said


def test_no_state_is_told_by_a_sign_alone() -> None:
    words = [words for _, words in STATE_WORDS.values()]
    assert set(STATE_WORDS) == set(S)
    assert len(set(words)) == len(words)
    assert all(re.search("[a-z]{4}", word) for word in words)


def test_an_alert_without_a_severity_says_nothing_about_it() -> None:
    view = states.STATES[S.WAITING]
    drawn = card.render_card(replace(view, incident=replace(view.incident, severity="")))
    assert drawn.text.startswith("checkout: Configuration error - ")
    assert "Waiting for approval · since 14:02 UTC" in drawn.text


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("crashloop-error", "Crash loop"),
        ("oomkilled", "Out of memory"),
        ("on_sync_failed", "On sync failed"),
        ("KubePodCrashLooping", "KubePodCrashLooping"),
        ("checkout-7d9f restarts", "checkout-7d9f restarts"),
        ("", ""),
    ],
)
def test_a_title_that_is_an_identifier_is_told_in_words(title: str, words: str) -> None:
    assert title_words(title) == words


@pytest.mark.parametrize("view", [states.QUIET, states.MERGED, states.LONGEST], ids=["quiet", "merged", "longest"])
def test_the_rarer_cards_and_their_calls_keep_to_slacks_limits_too(view: CardView) -> None:
    drawn, call = card.render_card(view), thread.needs_person_reply(view)
    request = thread.approval_request(view, channel="C0DEPLOYS")
    assert len(card.card_lines(drawn.blocks)) <= 12
    assert [validate_message(one.text, one.blocks) for one in (drawn, call, request)] == [[], [], []]
    assert "<!channel>" not in json.dumps([drawn.blocks, call.blocks, request.blocks])


def test_a_call_in_quiet_hours_or_in_another_channel_names_nobody() -> None:
    waiting = states.STATES[S.WAITING]
    assert "<@U0BORIS>" in thread.needs_person_reply(waiting).text
    quiet, elsewhere = thread.needs_person_reply(states.QUIET), thread.needs_person_reply(waiting, asked_in="C0YES")
    assert "Quiet hours until 07:00 Europe/Paris: nobody is mentioned until then." in quiet.text
    assert "Asked in <#C0YES>." in elsewhere.text
    for call in (quiet, elsewhere):
        assert "<@" not in call.text + json.dumps(call.blocks)


def test_why_others_are_called_than_pagerduty_would_is_said_with_the_call() -> None:
    view = replace(states.STATES[S.ESCALATED], call_note="PagerDuty does not say who is on call (PSHOP01).")
    assert "PagerDuty does not say who is on call (PSHOP01)." in thread.needs_person_reply(view).text


def test_the_details_name_the_route() -> None:
    view = replace(states.STATES[S.WAITING], route="shop → C0SHOP, on call S0SHOP")
    assert "shop → C0SHOP, on call S0SHOP" in str(modals.details_modal(view)["blocks"])


# --- variants ----------------------------------------------------------------------------------------------------


def test_observe_mode_has_no_buttons_and_no_mentions() -> None:
    drawn = card.render_card(states.OBSERVED)
    assert {block["type"] for block in drawn.blocks} == {"section", "context"}
    assert "<@" not in json.dumps(drawn.blocks)
    assert "<!subteam" not in json.dumps(drawn.blocks)
    assert "React with 👍 or 👎" in drawn.text
    escalated = replace(states.OBSERVED, incident=replace(states.INCIDENT, state=S.ESCALATED))
    assert "<" not in thread.needs_person_reply(escalated).text


def test_one_approver_is_asked_in_one_line() -> None:
    assert "Decision: <@U0ANNA> may approve until 14:32 UTC." in lines_of(states.ONE_APPROVER)


def test_an_approval_without_approvers_says_so() -> None:
    asked = replace(states.ONE_APPROVER, approval=replace(states.APPROVAL, needed=1, who=(), approved_by=()))
    assert "Decision: Nobody (the policy names no further approver) may approve until 14:32 UTC." in lines_of(asked)


def test_a_rejection_and_an_expiry_are_told_apart() -> None:
    assert (
        "Why: The fix was rejected by <@U0BORIS>. Right cause, wrong fix: 1.8.1 cannot read the new table."
        in lines_of(states.REJECTED_ESCALATION)
    )
    assert "Why: Nobody decided until 14:32 UTC." in lines_of(states.EXPIRED_ESCALATION)


def test_a_fix_that_failed_says_what_the_target_said() -> None:
    assert "Why: The fix failed. The cluster refused: deployments/rollback is forbidden for codehealer." in lines_of(
        states.FAILED_ESCALATION
    )


@pytest.mark.parametrize("reason", list(RejectReason), ids=str)
def test_no_stored_reason_is_shown_as_an_identifier(reason: RejectReason) -> None:
    label = REJECT_WORDS[reason]
    assert reason_words(reason.value) == f"{label}."
    assert reason_words(f"{reason}: because: it is") == f"{label}: because: it is"
    assert reason_words("free: text") == "free: text"


def test_a_fix_that_ran_by_itself_names_no_approver() -> None:
    text = card.render_card(states.AUTOMATIC).text
    assert "Automatic: policy lets this run by itself" in text
    assert "Approved" not in text


def test_a_dry_run_never_reads_as_a_change() -> None:
    outcome = replace(states.ACTED.outcome, changed=False, detail="Dry run: would roll back to 41.")
    view = replace(states.STATES[S.VERIFYING], execution=replace(states.ACTED, outcome=outcome))
    assert "Nothing was changed. Dry run: would roll back to 41." in card.render_card(view).text


def test_an_irreversible_fix_says_so() -> None:
    view = replace(states.STATES[S.WAITING], plan=replace(states.PLAN, undo=""))
    assert "cannot be undone" in card.render_card(view).text


def test_flagged_evidence_is_said_on_the_card() -> None:
    view = replace(states.STATES[S.WAITING], incident=replace(states.STATES[S.WAITING].incident, flagged=True))
    assert FLAGGED in card.render_card(view).text
    assert len(lines_of(view)) == 12


def test_pasted_text_gets_a_suggestion_and_the_reason_why() -> None:
    view = states.STATES[S.PROPOSED]
    view = replace(view, incident=replace(view.incident, trusted=False))
    assert "Only a suggestion: pasted text and posts of unknown apps never get an action." in lines_of(view)


def test_confidence_never_reads_as_certainty() -> None:
    assert [percent(share) for share in (0.0, 0.004, 0.5, 0.999, 1.0)] == [
        "1 %",
        "1 %",
        "50 %",
        "99 %",
        "99 %",
    ]


# --- buttons -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(S), ids=str)
def test_buttons_that_decide_exist_only_while_a_decision_is_asked_for(state: S) -> None:
    blocks = card.render_card(states.STATES[state]).blocks
    buttons = set(buttons_of(blocks))
    if state is S.WAITING:
        assert buttons == {"approve", "reject", "details", "more"}
    elif state in {S.HEALED, S.RESOLVED}:
        assert buttons == {"more"}, "a postmortem can be drafted"
    elif state in {S.DISMISSED, S.DETECTED, S.DIAGNOSING}:
        assert buttons == set()
    else:
        assert buttons == {"details", "take", "more"}
    has_feedback = any(block["type"] == "context_actions" for block in blocks)
    assert has_feedback is (state not in {S.DETECTED, S.DIAGNOSING})


ENDED = [state for state in ApprovalState if state not in {ApprovalState.OPEN, ApprovalState.SCHEDULED}]


@pytest.mark.parametrize("decided", ENDED, ids=str)
def test_a_decided_approval_has_no_approve_button_left(decided: ApprovalState) -> None:
    view = replace(states.STATES[S.WAITING], approval=replace(states.APPROVAL, state=decided))
    assert set(buttons_of(card.render_card(view).blocks)) == {"details", "take", "more"}


def test_what_waits_for_its_hour_can_be_cancelled_and_says_who_approved_it_for_when() -> None:
    assert set(buttons_of(card.render_card(states.SCHEDULED).blocks)) == {"reject", "details", "take", "more"}
    assert [line for line in lines_of(states.SCHEDULED) if "approved" in line.lower()] == [
        f"Approved for later · {ABOUT}",
        "Decision: approved by <@U0ANNA> and <@U0BORIS> for 2026-03-03 06:00 UTC.",
    ]
    assert card.render_card(states.SCHEDULED).text.split("\n")[0].endswith("nothing to decide")


def test_a_snoozed_request_says_until_when_and_may_still_be_approved() -> None:
    (line,) = [line for line in lines_of(states.SNOOZED) if "Put off" in line]
    assert line.startswith("Put off until 14:53 UTC by <@U0BORIS>; it asks again then. <@U0BORIS> or")
    assert "approve" in buttons_of(card.render_card(states.SNOOZED).blocks)


def test_of_two_approvals_the_first_ones_hour_is_shown() -> None:
    half = replace(states.APPROVAL, run_at=states.NOW + timedelta(hours=2))
    view = replace(states.STATES[S.WAITING], approval=half)
    assert "Decision: 1 of 2 approvals (<@U0ANNA>), from different people, for 16:08 UTC." in lines_of(view)


def test_an_assigned_incident_names_who_is_on_it() -> None:
    assert lines_of(states.ASSIGNED)[1].startswith("Needs a person · assigned to <@U0ANNA> · critical")
    assert "Why: <@U0ANNA> is on it. What was asked is withdrawn." in lines_of(states.ASSIGNED)
    assert "is on it" not in " ".join(lines_of(states.STATES[S.ESCALATED])[:-3])


def test_a_fix_that_is_asked_for_twice_is_approved_in_a_form_that_says_why() -> None:
    buttons = buttons_of(card.render_card(states.TWICE).blocks)
    assert "approve" not in buttons
    assert buttons["approve_twice"]["text"]["text"] == "Approve…"
    modal = modals.twice_modal(states.APPROVAL, states.INCIDENT, states.TWICE.plan or states.PLAN)
    assert "A database migration" in modal["blocks"][0]["text"]["text"]
    assert validate_view(modal) == []


def test_the_menu_offers_editing_only_where_something_can_be_edited() -> None:
    def entries(view: CardView) -> list[str]:
        menu = buttons_of(card.render_card(view).blocks)["more"]
        return [option["text"]["text"] for option in menu["options"]]

    view = states.STATES[S.WAITING]
    always = ["Approve for later…", "Snooze…", "I'm on it", "Split or merge…"]
    assert entries(view) == always
    assert entries(replace(view, editable=True)) == ["Edit…", *always]
    assert entries(states.STATES[S.BLOCKED]) == ["Show all evidence", "Split or merge…", "Draft a postmortem"]


def test_an_answered_call_says_what_came_of_it_and_asks_for_nothing() -> None:
    for state, words in ((S.RUNNING, "Approved by"), (S.HEALED, "Verified:"), (S.RESOLVED, "The alert ended")):
        text = thread.settled_reply(states.STATES[state]).text
        assert words in text
        assert "please" not in text
    anew = thread.settled_reply(states.STATES[S.WAITING]).text
    assert "asked anew" in anew
    assert "approve or reject" not in anew


def test_a_reminder_of_a_closed_channels_card_says_only_where_it_is() -> None:
    view = states.STATES[S.WAITING]
    told = thread.reminder(view, link="https://acme.slack.com/archives/C1/p1", closed=True)
    assert "checkout" not in told.text
    assert "Open the card" in told.text
    assert "checkout" in thread.reminder(view, link="", closed=False).text


@pytest.mark.parametrize(("risk", "style"), [(Risk.LOW, None), (Risk.MEDIUM, "primary"), (Risk.HIGH, "danger")])
def test_the_riskier_the_fix_the_more_the_button_asks(risk: Risk, style: str | None) -> None:
    view = replace(states.STATES[S.WAITING], plan=replace(states.PLAN, risk=risk))
    approve = buttons_of(card.render_card(view).blocks)["approve"]
    assert approve["style"] == "primary"
    assert approve.get("confirm", {}).get("style") == style
    if style:
        assert "sandbox/shop/Deployment/checkout in prod" in approve["confirm"]["text"]["text"]
        assert FIX in approve["confirm"]["text"]["text"]


def test_the_question_before_approving_ends_with_whole_sentences() -> None:
    preview = f"Roll checkout back to 1.8.1. {'It was the last version that ran well. ' * 6}"
    view = replace(states.STATES[S.WAITING], plan=replace(states.PLAN, preview=preview))
    asked = buttons_of(card.render_card(view).blocks)["approve"]["confirm"]["text"]["text"].split("\n")
    assert asked[0].startswith("Roll checkout back to 1.8.1. It was the last")
    assert asked[0].endswith("ran well.")
    assert asked[1:] == ["Target: sandbox/shop/Deployment/checkout in prod", "Touches 3 pods of checkout in shop."]


def test_values_carry_ids_only_and_come_back() -> None:
    blocks = card.render_card(replace(states.STATES[S.WAITING], answer_id=34)).blocks
    buttons = buttons_of(blocks)
    expected = (7, states.ACTION.digest[:16])
    assert decode_value(buttons["approve"]["value"]) == expected
    assert decode_value(buttons["reject"]["value"]) == expected
    assert decode_incident(buttons["details"]["value"]) == 12
    thumbs = blocks[-1]["elements"][0]
    assert decode_feedback(thumbs["positive_button"]["value"]) == Thumb(12, 1, 34)
    assert decode_feedback(thumbs["negative_button"]["value"]) == Thumb(12, -1, 34)


GOOD_DIGEST = "0123456789abcdef"


@pytest.mark.parametrize(
    "value",
    [
        None, 7, "", "{", "[]", "null", "[" * 3000, "x" * 5000, '{"a":7}', f'{{"a":"7","d":"{GOOD_DIGEST}"}}',
        f'{{"a":true,"d":"{GOOD_DIGEST}"}}', f'{{"a":-1,"d":"{GOOD_DIGEST}"}}', f'{{"a":7.5,"d":"{GOOD_DIGEST}"}}',
        '{"a":7,"d":"0123"}', '{"a":7,"d":"ZZZZZZZZZZZZZZZZ"}', f'{{"a":{"9" * 40},"d":"{GOOD_DIGEST}"}}',
        '{"i":12,"v":2}', '{"i":12,"v":1.0}', '{"i":12,"v":true}', '{"i":0,"v":1}',
    ],
)  # fmt: skip
def test_a_value_that_is_not_ours_decodes_to_nothing(value: object) -> None:
    assert decode_value(value) is None
    assert decode_feedback(value) is None


@given(st.text())
def test_no_value_breaks_the_decoders(value: str) -> None:
    assert decode_value(value) is None
    assert decode_feedback(value) is None
    assert decode_incident(value) is None


def test_block_ids_stay_the_same_from_state_to_state() -> None:
    waiting, healed = (card.render_card(states.STATES[state]).blocks for state in (S.WAITING, S.HEALED))
    ids = [block["block_id"] for block in waiting]
    assert ids == [
        "card-12-headline", "card-12-cause", "card-12-fix", "card-12-decision", "card-12-buttons-7",
        "card-12-sources", "card-12-feedback",
    ]  # fmt: skip
    assert [block["block_id"] for block in healed] == ids


# --- text from outside -------------------------------------------------------------------------------------------

KNOWN_IDS = (states.ANNA, states.BORIS, states.ON_CALL, "C0OPS")
HOSTILE = (
    "", " ", "\n\n", "<!channel>", "<!here|now>", "<!everyone>", "<@U0EVIL>", "<!subteam^S0EVIL>", "<#C0EVIL>",
    "@channel @here @everyone", "<!date^1^{time}|x>", "<https://evil.example|click>", "&lt;!channel&gt;", "&" * 400,
    "<" * 4000, "a" * 255, "```", "`*_~", "> quote", "\u202ekcirt", "שלום עולם " * 40,
    "👩\u200d👩\u200d👧\u200d👦" * 80,
    "e" + "\u0301" * 500, "<\u200b!channel>", "@\u200bhere", "\ud800 half", "\x00\x07", "\u2028|\u2029", "x|y>z",
    "https://example.com/|<!here>", "\U0001f1e9\U0001f1ea" * 90,
)  # fmt: skip
foreign = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=400))
ids = st.sampled_from((*KNOWN_IDS, *HOSTILE))
ID_FIELDS = {"channel", "who", "approved_by", "decided_by", "responsible", "override", "assigned_to", "snoozed_by"}


def scrambled(draw: st.DrawFn, value: Any, name: str = "") -> Any:
    """The same value with every free text in it replaced by a hostile one."""
    if isinstance(value, Enum) or name == "digest":
        return value
    if isinstance(value, str):
        return draw(ids if name in ID_FIELDS else foreign)
    if isinstance(value, tuple):
        return tuple(scrambled(draw, item, name) for item in value)
    if isinstance(value, Mapping):
        return {draw(foreign): draw(foreign) for _ in value}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: scrambled(draw, getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
        return replace(value, **fields)
    return value


@st.composite
def hostile_views(draw: st.DrawFn) -> CardView:
    view = states.VARIANTS[draw(st.sampled_from(sorted(states.VARIANTS)))]
    view = replace(view, incident=replace(view.incident, alert_count=draw(st.integers(0, 10**9))))
    view = replace(view, now=view.now + timedelta(days=draw(st.integers(0, 4000))))
    changed: CardView = scrambled(draw, view)
    return changed


OUR_TOKENS = re.compile(
    r"<!date\^\d+\^(?:\{date_short_pretty\} )?\{time\}\|[0-9:\- ]+UTC>"
    r"|<@U0ANNA>|<@U0BORIS>|<!subteam\^S0ONCALL>|<#C0OPS>"
    r"|<https?://[^|<>\s]+\|[^<>|\n]*>"
)


def texts_of(node: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if isinstance(node, dict):
        if node.get("type") in {"mrkdwn", "plain_text"} and isinstance(node.get("text"), str):
            found.append(node)
        for item in node.values():
            found += texts_of(item)
    elif isinstance(node, list):
        for item in node:
            found += texts_of(item)
    return found


def assert_cannot_ping(text: str) -> None:
    rest = OUR_TOKENS.sub("", text)
    assert "<" not in rest
    assert ">" not in rest
    assert not re.search("@(channel|here|everyone)", rest, re.IGNORECASE)
    assert not re.search("[\u202a-\u202e\u2066\u2067\x00]", rest)


def assert_safe(drawn: Card) -> None:
    assert validate_message(drawn.text, drawn.blocks) == []
    json.dumps(drawn.blocks, ensure_ascii=False).encode()
    drawn.text.encode()
    assert len(drawn.text) <= 4000
    assert_cannot_ping(drawn.text)
    assert_texts_safe(drawn.blocks)


def assert_texts_safe(blocks: list[dict[str, Any]]) -> None:
    for text in texts_of(blocks):
        if text["type"] == "mrkdwn":
            assert text["verbatim"] is True
            assert_cannot_ping(text["text"])
            assert text["text"].count("```") % 2 == 0
        else:
            assert not re.search("<[!@#]|@(channel|here|everyone)", text["text"], re.IGNORECASE)


@settings(max_examples=120, deadline=None)
@given(hostile_views())
def test_no_text_from_outside_breaks_a_card_or_pings_anybody(view: CardView) -> None:
    drawn = card.render_card(view)
    assert_safe(drawn)
    assert len(card.card_lines(drawn.blocks)) <= 12
    first = drawn.text.split("\n")[0]
    assert len(first) <= 100
    assert first.endswith(SCHEDULED_WANTED if view.scheduled else WANTED[view.incident.state])


ANSWERS: dict[str, Callable[[CardView, st.DataObject], Card]] = {
    "suggestion": lambda _, data: commands.unknown_answer(data.draw(foreign), data.draw(foreign), offered=True),
    "which": lambda _, data: commands.which_answer("show", data.draw(foreign)),
    "list": lambda view, data: listing.incidents_answer(
        (view.incident,) * 10, view.now, title="Incidents", more=f"incidents {data.draw(foreign)}", empty="None."
    ),
    "queue": lambda view, data: listing.queue_answer(
        ((states.APPROVAL, view.incident, data.draw(foreign)),) * 10, view.now, left_out=2, note="", private=True
    ),
    "precedents": lambda view, data: listing.precedents_answer(
        "search", "Like that", view.precedents, view.now, note=data.draw(foreign)
    ),
    "policy": lambda view, _: listing.policy_answer(
        view.incident, view.plan or states.PLAN, view.decision or states.BLOCKED, view.now
    ),
    "steps": lambda view, data: listing.steps_answer(view.incident, [f"- {data.draw(foreign)}"] * 60),
    "mutes": lambda view, data: listing.mutes_answer(
        [Mute(f"service:{data.draw(foreign)}", view.now, data.draw(ids))], view.now, private=True
    ),
}  # fmt: skip
THREAD_REPLIES: dict[str, Callable[[CardView, st.DataObject], Card | None]] = {
    "evidence": lambda view, data: thread.evidence_reply(view, scrambled(data.draw, states.EVIDENCE * 4)),
    "progress": lambda view, data: thread.progress_reply(view, scrambled(data.draw, states.ACTED)),
    "verification": lambda view, data: thread.verification_reply(view, scrambled(data.draw, states.WORSE)),
    "needs a person": lambda view, _: thread.needs_person_reply(view),
    "answer": lambda view, data: thread.question_answer(
        view.diagnosis or states.UNSURE,
        scrambled(data.draw, states.EVIDENCE),
        view.now,
        precedents=view.precedents,
        incident=view.incident,
        next_step=data.draw(foreign),
    ),
    "status": lambda view, data: commands.status_answer(
        commands.StatusView(
            view.now, (view.incident,) * 12, ((states.APPROVAL, view.incident),) * 11,
            data.draw(foreign), data.draw(ids), (data.draw(foreign),),
        )
    ),
    "show": lambda view, _: commands.show_answer(view),
    "unknown": lambda _, data: commands.unknown_answer(data.draw(foreign)),
    "answer to a command": lambda view, data: ANSWERS[data.draw(st.sampled_from(sorted(ANSWERS)))](view, data),
}  # fmt: skip


@pytest.mark.parametrize("name", list(THREAD_REPLIES))
@settings(max_examples=30, deadline=None)
@given(view=hostile_views(), data=st.data())
def test_no_text_from_outside_breaks_a_reply_or_pings_anybody(name: str, view: CardView, data: st.DataObject) -> None:
    drawn = THREAD_REPLIES[name](view, data)
    if drawn is None:
        assert view.diagnosis is None
        return
    if name == "status":
        drawn = Card(drawn.text[:3999], drawn.blocks)
        assert validate_message(drawn.text, drawn.blocks) == []
        assert_texts_safe(drawn.blocks)
        return
    assert_safe(drawn)


@settings(max_examples=60, deadline=None)
@given(hostile_views(), foreign)
def test_no_text_from_outside_breaks_a_modal(view: CardView, words: str) -> None:
    for modal in (
        modals.details_modal(view),
        modals.reject_modal(states.APPROVAL, view.incident, view.plan),
        modals.feedback_modal(view.incident, 34),
        modals.notice_modal(words),
    ):
        assert validate_view(modal) == []
        assert_texts_safe(modal["blocks"])


@given(foreign, st.integers(8, 300))
def test_inline_text_keeps_its_limit_and_escapes(text: str, limit: int) -> None:
    for make in (mrkdwn.inline, mrkdwn.bold, mrkdwn.code):
        made = make(text, max(limit, 14))
        assert 0 < len(made) <= max(limit, 14)
        assert "\n" not in made
        assert_cannot_ping(made)


@given(foreign, st.integers(100, 3000))
def test_a_fence_keeps_its_limit_and_ends_where_it_should(text: str, limit: int) -> None:
    made = mrkdwn.fence(text * 20, limit)
    assert len(made) <= limit
    assert made.startswith("```\n")
    assert made.endswith("\n```")
    assert made.count("```") == 2


def test_a_long_log_keeps_head_and_tail_and_says_what_is_left_out() -> None:
    made = mrkdwn.fence("\n".join(f"line {number}" for number in range(10_000)), 500)
    assert made.startswith("```\nline 0\n")
    assert made.endswith("line 9999\n```")
    left_out = re.search(r"\[([\d,]+) characters left out\]", made)
    assert left_out is not None
    kept = len(made) - len(left_out[0]) - len("```\n\n\n\n```")
    assert int(left_out[1].replace(",", "")) + kept == len("\n".join(f"line {number}" for number in range(10_000)))


def test_names_of_255_characters_right_to_left_text_and_emoji_survive() -> None:
    assert mrkdwn.inline("x" * 255, 300) == "x" * 255
    assert mrkdwn.inline("x" * 255, 20) == "x" * 19 + "…"
    assert mrkdwn.inline("שגיאה", 60) == "\u2068שגיאה\u2069"
    family = "👩\u200d👩\u200d👧\u200d👦"
    assert mrkdwn.inline(family, 60) == family
    assert mrkdwn.inline(family * 3, 13) in {family + "…"}


def test_only_ids_become_mentions() -> None:
    assert mrkdwn.mention("U0ANNA") == "<@U0ANNA>"
    assert mrkdwn.mention("S0ONCALL") == "<!subteam^S0ONCALL>"
    assert mrkdwn.mention("C0OPS") == "members of <#C0OPS>"
    for text in ("U0ANNA>", "<!channel>", "!channel", "u0anna", "an approver"):
        assert "<" not in mrkdwn.mention(text)


@pytest.mark.parametrize(
    "url",
    ["", "javascript:alert(1)", "https://", "https://e.example/|x", "https://e.example/ x", "http://[", "x" * 2000],
)
def test_an_unsafe_address_leaves_only_its_label(url: str) -> None:
    assert mrkdwn.link(url, "log") == "log"


# --- replies, modals, commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(thread.NEEDS_PERSON), ids=str)
def test_a_state_that_needs_a_person_is_told_in_a_reply_that_mentions_one(state: S) -> None:
    reply = thread.needs_person_reply(states.STATES[state])
    assert reply.text.startswith("[CRITICAL] checkout: ")
    assert WANTED[state] in reply.text[:100]
    assert "<!subteam^S0ONCALL>" in reply.text
    assert "<!subteam^S0ONCALL>" in reply.blocks[0]["text"]["text"]


def test_who_has_approved_is_not_asked_again() -> None:
    assert responsible_people(states.STATES[S.WAITING]) == (states.BORIS, states.ON_CALL)


def test_lines_that_differ_in_generated_names_only_are_quoted_once() -> None:
    said = ["Back-off restarting checkout-g2ck7jfmn5-59w4q", "Back-off restarting checkout-g2ck7jfmn5-v8kj4", "exit 1"]
    quotes = tuple(Quote(0, number, text) for number, text in enumerate(said, start=9))
    view = replace(states.STATES[S.WAITING], diagnosis=replace(states.DIAGNOSIS, quotes=quotes))
    reply = thread.evidence_reply(view, states.EVIDENCE)
    assert reply is not None
    assert " 9  Back-off restarting checkout-g2ck7jfmn5-59w4q\n11  exit 1" in reply.text
    assert "v8kj4" not in reply.text
    assert "(1 similar line left out)" in reply.text


def test_a_cause_that_was_hardly_considered_is_not_named() -> None:
    shares = ((FailureKind.CONFIG_ERROR, 0.9), (FailureKind.CRASHLOOP, 0.06), (FailureKind.OOMKILLED, 0.02))
    view = replace(states.STATES[S.WAITING], diagnosis=replace(states.DIAGNOSIS, candidates=shares))
    reply = thread.evidence_reply(view, states.EVIDENCE)
    assert reply is not None
    assert "Considered: Configuration error 90 %, Crash loop 6 %\n" in reply.text


def test_the_evidence_reply_shows_quotes_with_lines_gaps_and_precedents() -> None:
    reply = thread.evidence_reply(states.STATES[S.WAITING], states.EVIDENCE)
    assert reply is not None
    for words in (
        "2  KeyError: 'PAYMENTS_URL'",
        "(18,204 characters of this were not read)",
        "• Events · namespace/shop: the API server did not answer within 5 s",
        "• Out of memory: the last exit code is 1, not 137",
        "• 2026-02-01 cart prod (29 days ago): CART_DB was missing after a rollout · rolled back · worked, verified",
        "ranked lower since 3 people said it did not help",
        SOURCES,
    ):
        assert words in reply.text
    shown = "".join(block["text"]["text"] for block in reply.blocks)
    assert "<https://acme.slack.com/archives/C0DEPLOYS/p1770000000000100|2026-02-01 cart prod>" in shown


def test_a_pasted_log_gets_a_diagnosis_and_never_a_button_that_acts() -> None:
    answer = thread.question_answer(states.DIAGNOSIS, states.EVIDENCE, states.NOW, incident=states.INCIDENT)
    assert thread.PASTED in answer.text
    assert buttons_of(answer.blocks) == {}
    assert answer.blocks[-1]["type"] == "context_actions"


def submitted(modal: dict[str, Any], reason: str | None, comment: str | None) -> dict[str, Any]:
    option = {"value": reason, "text": {"type": "plain_text", "text": "x"}} if reason else None
    values = {
        "reason": {"reason": {"type": "radio_buttons", "selected_option": option}},
        "comment": {"comment": {"type": "plain_text_input", "value": comment}},
    }
    return {**modal, "state": {"values": values}}


@pytest.mark.parametrize("reason", list(RejectReason), ids=str)
def test_a_rejection_comes_back_with_what_it_was_about(reason: RejectReason) -> None:
    modal = modals.reject_modal(states.APPROVAL, states.INCIDENT, states.PLAN)
    read = modals.read_rejection(submitted(modal, reason.value, "two\nlines"))
    assert read == modals.Rejection(7, states.ACTION.digest[:16], 12, reason, "two\nlines")


def test_a_submitted_modal_of_another_shape_is_nothing() -> None:
    modal = modals.reject_modal(states.APPROVAL, states.INCIDENT)
    assert modals.read_rejection(submitted(modal, None, None)) is None
    assert modals.read_rejection(submitted(modal, "because", "")) is None
    assert modals.read_rejection({**submitted(modal, "not_now", ""), "private_metadata": "{}"}) is None
    assert modals.read_rejection({}) is None
    assert modals.read_feedback({"private_metadata": "[]"}) is None


def test_what_was_wrong_with_an_answer_comes_back_and_may_be_left_out() -> None:
    modal = modals.feedback_modal(states.INCIDENT, 34)
    assert modals.read_feedback(submitted(modal, "wrong_fix", "wrong pod")) == (
        modals.Said(12, 34, "wrong_fix", "wrong pod")
    )  # fmt: skip
    assert modals.read_feedback(submitted(modal, None, None)) == modals.Said(12, 34, "", "")
    assert modals.read_feedback(submitted(modal, "because", "")) == modals.Said(12, 34, "", "")


def test_where_slacks_feedback_buttons_are_refused_two_plain_ones_say_the_same() -> None:
    blocks = plain_thumbs(card.render_card(replace(states.STATES[S.HEALED], answer_id=34)).blocks)
    found = buttons_of(blocks)
    assert [decode_feedback(found[name]["value"]) for name in ("feedback_up", "feedback_down")] == [
        Thumb(12, 1, 34), Thumb(12, -1, 34),
    ]  # fmt: skip
    assert validate_blocks("message", blocks) == []


def test_details_show_the_change_every_rule_and_what_was_left_out() -> None:
    modal = modals.details_modal(states.STATES[S.BLOCKED])
    text = "\n".join(block["text"]["text"] for block in modal["blocks"])
    for words in (
        "+  image: acme/checkout:1.8.1",
        "• ✋ asks: production asks a person, limit staging or dev, actual prod",
        "• ⛔ blocks: fixes an hour, limit under 5 for the service, actual 5; to override: wait, or raise",
        "• `k8s_restart_pod`: the same version would start with the same configuration",
        "`sandbox/shop/Deployment/checkout`",
    ):
        assert words in text
    assert "submit" not in modal


def test_a_history_names_those_who_acted_and_nobody_whom_a_text_names() -> None:
    incident = states.STATES[S.WAITING].incident
    step = "- 2026-11-28 09:00 U0ONCALL approved: ask U0BOSS"
    text = listing.steps_answer(incident, [step], {"U0ONCALL"}).blocks[0]["text"]["text"]
    assert "<@U0ONCALL> approved: ask U0BOSS" in text


def test_help_lists_every_subcommand() -> None:
    text = commands.help_answer().text
    assert len(text.splitlines()) <= 8
    assert all(one.typed in text for one in commands.SUBCOMMANDS.values())
    for name, usage in commands.SUBCOMMANDS.items():
        assert usage.does in commands.help_answer(name).text


def test_status_of_nothing_is_said_in_words() -> None:
    text = commands.status_answer(commands.StatusView(states.NOW, mode="observe")).text
    assert text == "No open incidents\nNo approval waits.\nMode: observe"


def test_stats_say_what_a_rate_is_of_and_when_there_is_none() -> None:
    figures = Figures(
        incidents=9, agent_fixed=3, assisted=2, human=4, fixes=7, verified=5, wrong_actions=1, seen_verified=5,
        false_resolves=1, turned_down=1, detect_known=9, detect_p50_s=42.0, resolve_p50_s=300.0,
        approved_fixes=4, unsafe_approvals=1, usd=1.234,
    )  # fmt: skip
    assert commands.stats_answer(figures, 30).text.split("\n") == [
        "9 incidents in the last 30 days",
        "• 3 fixed by itself · 2 fixed after an approval · 4 ended without a fix of mine",
        "• 5 of 7 fixes worked (71%) · 1 made it worse or were wrong · 1 looked fixed and was not",
        "• 1 of 4 approved fixes should not have been approved",
        "• 1 proposal rejected as wrong",
        "• Half of them took at most 42 s from the first signal to the incident · 5 min from there to its end",
        "• Hosted models cost $1.23",
    ]
    assert commands.stats_answer(figures, 1).text.startswith("9 incidents today (UTC)\n")
    assert commands.stats_answer(Figures(), 7).text == "No incident opened in the last 7 days."
    assert "No fix was carried out" in commands.stats_answer(Figures(incidents=1, open=1), 1).text


def test_stats_say_what_is_deleted_where_their_period_reaches_back_further() -> None:
    deleted = "Not counted: incidents that ended more than 30 days ago are deleted, as is set."
    said = commands.stats_answer(Figures(), 90, 30).text
    assert said.split("\n") == ["No incident that is kept opened in the last 90 days.", deleted]
    assert commands.stats_answer(Figures(incidents=1, open=1), 31, 30).text.endswith(deleted)
    assert commands.stats_answer(Figures(), 30, 30).text == "No incident opened in the last 30 days."


def test_show_answers_one_person_without_buttons_that_decide() -> None:
    answer = commands.show_answer(states.STATES[S.WAITING])
    assert {block["type"] for block in answer.blocks} == {"section", "context"}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (BadInput("Line 3 is not JSON"), "I could not read that. Line 3 is not JSON."),
        (SettingsError("No token"), "A setting needs an operator's attention. No token."),
        (NotFound("Pod checkout-1 is not there"), "Pod checkout-1 is not there. It may be gone already."),
        (Conflict("The Deployment has changed"), "The Deployment has changed. Please look at the card again."),
        (Refused("GitHub says no"), "Refused: GitHub says no."),
        (Unavailable("GitHub did not answer"), "GitHub did not answer. I try again by myself."),
        (
            Unavailable("GitHub did not answer", maybe_done=True),
            "GitHub did not answer. It may have happened all the same, so I look before I try again.",
        ),
        (CodeHealerError("<!channel> all of you"), "&lt;!channel&gt; all of you."),
        (TimeoutError(), replies.TOO_LONG),
        (KeyError("secret internals"), replies.UNEXPECTED),
    ],
)  # fmt: skip
def test_an_error_becomes_a_sentence(error: Exception, sentence: str) -> None:
    assert replies.sentence_for(error) == sentence


def test_a_plan_without_an_action_never_gets_a_button() -> None:
    view = replace(states.STATES[S.WAITING], plan=Plan(None, no_action_because="none is safe"), approval=None)
    assert set(buttons_of(card.render_card(view).blocks)) == {"details", "take", "more"}
