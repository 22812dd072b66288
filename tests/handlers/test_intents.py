"""What people's sentences ask for, in many phrasings."""

from datetime import UTC, datetime

import pytest

from handlers.intents import Intent, fix_told, incident_named, intent_of, named_in, of_now, when_in
from handlers.typed import command_in

SAID: dict[Intent, str] = {
    Intent.WHY: """
        why did checkout fail?
        Why is payments crash looping
        what's wrong with checkout?
        What caused the outage of orders?
        what broke checkout
        what went wrong with the deploy?
        root cause of incident 12?
        how come catalog is down?
        whats the reason for the restarts
        what is the root cause?
        why are pods of search pending?
        why?
    """,
    Intent.WHAT: """
        what happened to payments last night?
        What happened?
        what's going on with checkout?
        tell me about incident 4
        catch me up please
        give me a summary
        timeline of #12
        any news on checkout?
        status of checkout?
        what did I miss last night
        can you summarise this thread
        what has happened since yesterday
    """,
    Intent.WHO: """
        who approved it?
        Who approved the rollback of checkout?
        who rejected that
        who is on it?
        whos working on this?
        who clicked approve
        was it approved?
        who decided to roll back?
        whose decision was that?
        who ran the fix
    """,
    Intent.NOT_AUTO: """
        why not auto-fixed?
        why wasn't it fixed automatically?
        why didn't you fix it yourself?
        Why did it not run by itself?
        why is approval needed?
        why do you ask for approval here
        why was the fix blocked?
        what stops you from fixing it?
        which rule blocked it
        why not automatic?
        why didn't you just restart it by yourself
    """,
    Intent.SIMILAR: """
        similar incidents?
        has this happened before?
        have we seen this before
        any precedents?
        did this ever happen before?
        how did we fix it last time?
        what helped last time?
        how often does this happen
        is this the first time?
        anything like this in the past?
        is it a recurring problem
    """,
    Intent.DONE: """
        what did you do?
        did it work?
        did the fix help
        is it fixed?
        what was the fix?
        how was it fixed?
        what was done
        was it undone?
        what have you tried
        what fixed checkout?
    """,
    Intent.OVERVIEW: """
        is anything broken?
        anything failing?
        what's broken?
        is everything ok?
        are we good?
        What incidents are open right now?
        any open incidents?
        Which proposed fixes wait for my approval?
        what is waiting for me?
        how are things?
        all good?
        is anything on fire right now
        status update
    """,
    Intent.FIXED: """
        this was fixed by restarting the proxy
        It was resolved by scaling the pool to 20.
        the fix was: raise the memory limit
        we fixed it by rolling back
        Incident 12: this was fixed by a new certificate
        fyi, the issue is fixed by draining node-3
    """,
    Intent.HELP: """
        what can you do?
        help me
        how does this work?
    """,
    Intent.THANKS: """
        thanks!
        thank you so much
        ok thanks
        great
        nice one
    """,
    Intent.OTHER: """
        is catalog alright?
        any idea?
        npm error code ERESOLVE
        checkout
        the build is red
        OOMKilled
        please have a look at payments
        does search work?
    """,
}


@pytest.mark.parametrize(
    ("said", "intent"), [(line.strip(), intent) for intent, lines in SAID.items() for line in lines.strip().split("\n")]
)
def test_a_sentence_asks_for(said: str, intent: Intent) -> None:
    assert intent_of(said) is intent


@pytest.mark.parametrize(
    ("said", "is_command"),
    [
        ("status", True),
        ("show 12", True),
        ("Show #12", True),
        ("mode service checkout approve", True),
        ("/status", True),
        ("show me what happened", False),
        ("status of checkout?", False),
        ("status?", True),
        ("pause the deployments we want to look", False),
        ("resume the fix", False),
        ("stats 7", True),
        ("wibble", False),
        ("", False),
    ],
)
def test_a_mention_is_a_command_or_a_sentence(said: str, is_command: bool) -> None:
    assert (command_in(said, in_thread=True) is not None) is is_command


def test_the_incident_and_the_services_that_a_sentence_names() -> None:
    assert [incident_named(one) for one in ("root cause of incident 12?", "what about #7", "3 pods of v12 died")] == [
        12, 7, None,
    ]  # fmt: skip
    assert named_in("Why did checkout-api fail?", ["checkout", "checkout-api", ""]) == ["checkout-api"]


def test_the_fix_that_a_person_tells_of_is_their_own_words() -> None:
    assert fix_told("OK, it was fixed by Restarting\nthe proxy") == "Restarting\nthe proxy"
    assert fix_told("was this fixed by a restart?") == ""
    assert fix_told("this was fixed by whom?") == ""
    assert fix_told("the build is fixed by tomorrow, I hope") == ""
    assert fix_told("x" * 5_000) == ""


def test_the_present_is_told_from_the_past() -> None:
    assert of_now("why is checkout failing?")
    assert of_now("What's wrong with checkout")
    assert not of_now("why did checkout fail?")


NOW = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("said", "since", "until"),
    [
        ("what happened last night?", "2026-11-24T18:00", "2026-11-25T09:00"),
        ("and yesterday", "2026-11-24T00:00", "2026-11-25T00:00"),
        ("today", "2026-11-25T00:00", "2026-11-25T10:30"),
        ("in the last 3 hours", "2026-11-25T07:30", "2026-11-25T10:30"),
        ("the past hour", "2026-11-25T09:30", "2026-11-25T10:30"),
        ("last week?", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("this week", "2026-11-23T00:00", "2026-11-25T10:30"),
        ("over the weekend", "2026-11-21T00:00", "2026-11-23T00:00"),
        ("on Monday", "2026-11-23T00:00", "2026-11-24T00:00"),
        ("on 2026-11-03", "2026-11-03T00:00", "2026-11-04T00:00"),
    ],
)
def test_the_time_that_a_sentence_names(said: str, since: str, until: str) -> None:
    when = when_in(said, NOW)
    assert when is not None
    assert (f"{when.since:%Y-%m-%dT%H:%M}", f"{when.until:%Y-%m-%dT%H:%M}") == (since, until)


def test_a_time_is_of_the_askers_time_zone_and_a_zone_that_does_not_exist_is_utc() -> None:
    assert when_in("yesterday", NOW, "Asia/Tokyo") != when_in("yesterday", NOW)
    assert when_in("yesterday", NOW, "No/Where") == when_in("yesterday", NOW)
    assert when_in("why did it fail", NOW) is None
    assert when_in("on 2026-99-99", NOW) is None
