"""What people type, as it is understood: pure."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import commands, typed
from handlers.blocks.commands import SUBCOMMANDS
from handlers.typed import Command, Filters, Reference, command_in, filters, moment, parse_command, reference

NOW = datetime(2026, 11, 27, 16, 30, tzinfo=UTC)  # a Friday; 17:30 in Berlin
BERLIN = "Europe/Berlin"
CARD = "https://acme.slack.com/archives/C0DEPLOY/p1700000000000100"
REPLY = f"{CARD}?thread_ts=1699999999.000200&cid=C0DEPLOY"


def test_every_subcommand_is_answered_fits_a_mention_or_not_and_has_its_usage() -> None:
    assert {*commands.LOOKS, *commands.ACTS, commands.DIAGNOSE} == set(SUBCOMMANDS) == set(typed.FITS)
    assert set(typed.ALSO.values()) <= set(SUBCOMMANDS)
    assert {name for name, usage in SUBCOMMANDS.items() if usage.changes} == {*commands.ACTS, commands.DIAGNOSE}
    assert not set(typed.ALSO) & set(SUBCOMMANDS)


def test_all_that_can_be_typed_is_in_the_documents() -> None:
    page = (Path(__file__).parents[2] / "docs/commands.md").read_text()
    assert [name for name, usage in SUBCOMMANDS.items() if f"`{usage.typed}`" not in page] == []


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("", Command("help")),
        (" ? ", Command("help")),
        ("--help", Command("help")),
        ("  STATUS  ", Command("status")),
        ("/show #12", Command("show", ("12",))),
        ("12", Command("show", ("12",))),
        ("#12", Command("show", ("12",))),
        ("incident 12", Command("show", ("incident", "12"))),
        ("the last one", Command("show", ("the", "last", "one"))),
        (f"<{CARD}>", Command("show", (f"<{CARD}>",))),
        ("list open", Command("incidents", ("open",))),
        ("open", Command("incidents", ("open",))),
        ("open incidents", Command("incidents")),
        ("approve queue", Command("approve-queue")),
        ("approve 12", Command("approve-queue", ("12",))),
        ("policy why 12", Command("policy", ("12",))),
        ("why 12", Command("policy", ("12",))),
        ("Statistics last week", Command("stats", ("last", "week"))),
        ("frobnicate now", Command("frobnicate", ("now",))),
    ],
)
def test_a_line_is_a_subcommand_and_its_words(text: str, command: Command) -> None:
    assert parse_command(text) == command


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("stauts", "status"), ("incidnets open", "incidents open"), ("serch oom killed", "search oom killed"),
        ("snoze 12", "snooze 12"), ("statistcs", "stats"), ("xyzzy", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_typo_gets_the_nearest_command_with_the_same_words(text: str, meant: str) -> None:
    near = typed.suggestion(Command(*_split(text)))
    assert (near.line if near else "") == meant


def _split(text: str) -> tuple[str, tuple[str, ...]]:
    first, *rest = text.split(" ")
    return first, tuple(rest)


@pytest.mark.parametrize(
    ("text", "found", "rest"),
    [
        ("12 up", Reference(12), ("up",)),
        ("incident #12", Reference(12), ()),
        ("INC-12", Reference(12), ()),
        ("the last one please", Reference(newest=True), ("please",)),
        ("latest", Reference(newest=True), ()),
        (CARD, Reference(channel="C0DEPLOY", ts="1700000000.000100"), ()),
        (f"<{REPLY}> 2h", Reference(0, "C0DEPLOY", "1700000000.000100", "1699999999.000200"), ("2h",)),
        ("checkout", None, ("checkout",)),
        ("0", None, ("0",)),
        ("9" * 40, None, ("9" * 40,)),
        ("", None, ()),
    ],
)
def test_an_incident_is_named_by_its_number_its_message_or_as_the_last(
    text: str, found: Reference | None, rest: tuple[str, ...]
) -> None:
    assert reference(tuple(text.split())) == (found, rest)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2h", "2026-11-27 18:30"), ("for 30 min", "2026-11-27 17:00"), ("1h30m", "2026-11-27 18:00"),
        ("1 hour and 15 minutes", "2026-11-27 17:45"), ("half an hour", "2026-11-27 17:00"),
        ("a day", "2026-11-28 16:30"), ("1.5 h", "2026-11-27 18:00"),
        ("until 9am", "2026-11-28 08:00"), ("till 9", "2026-11-28 08:00"), ("9:30 pm", "2026-11-27 20:30"),
        ("until 21:30", "2026-11-27 20:30"), ("until noon", "2026-11-28 11:00"), ("12 am", "2026-11-27 23:00"),
        ("tomorrow", "2026-11-28 08:00"), ("until tomorrow at 7am", "2026-11-28 06:00"),
        ("until monday 8:00", "2026-11-30 07:00"), ("fri", "2026-12-04 08:00"), ("until midnight", "2026-11-27 23:00"),
        ("until 25:00", ""), ("13 pm", ""), ("9", ""), ("0h", ""), ("2 parsecs", ""), ("2h checkout", ""), ("", ""),
        ("9 a", ""), ("until", ""), ("tomorrow evening", ""),
    ],
)  # fmt: skip
def test_times_are_read_by_the_persons_own_clock(text: str, at: str) -> None:
    found = moment(text, now=NOW, timezone=BERLIN)
    assert (f"{found.astimezone(UTC):%Y-%m-%d %H:%M}" if found else "") == at


def test_a_time_stands_at_the_end() -> None:
    assert typed.with_time(("12", "until", "9am"), now=NOW, timezone="UTC") == (
        ("12",),
        NOW.replace(day=28, hour=9, minute=0),
    )
    assert typed.with_time(("checkout", "for", "2", "h"), now=NOW, timezone="UTC")[0] == ("checkout",)
    assert typed.with_time(("12",), now=NOW, timezone="no such zone") == (("12",), None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", Filters()),
        ("open service checkout", Filters("open", "checkout")),
        ("Healed in prod", Filters("healed", environment="prod")),
        ("service:Reports env=dev page 2", Filters("", "Reports", "dev", page=2)),
        ("CHECKOUT since 2d", Filters("", "checkout", since=NOW - timedelta(days=2), since_words="2d")),
        ("last 2 weeks", Filters(since=NOW - timedelta(days=14), since_words="last 2 weeks")),
        ("since 2026-11-20", Filters(since=datetime(2026, 11, 20, tzinfo=UTC), since_words="2026-11-20")),
        ("today", Filters(since=NOW.replace(hour=0, minute=0), since_words="today")),
        ("open before 90", Filters("open", before=90)),
    ],
)
def test_filters_go_together(text: str, found: Filters) -> None:
    assert _filtered(text) == found
    assert _filtered(found.words()) == Filters(**{**_fields(found), "page": 1, "before": 0}), (
        "what is said is typed again"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("page two", "page: give a number"), ("page 0", "page: give a number"), ("service", "service: give its name"),
        ("since soon", "since: give how long ago"), ("since 2026-13-45", "since: give"),
        ("purple", "the filter `purple`"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_is_named_with_the_remedy(text: str, says: str) -> None:
    assert says in _filtered(text).problem


def _filtered(text: str) -> Filters:
    words = tuple(text.split())
    return filters(words, services=("checkout",), environments=("prod", "dev"), now=NOW, timezone="UTC")


def _fields(found: Filters) -> dict[str, object]:
    return {name: getattr(found, name) for name in Filters.__slots__}


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 30), ("7", 7), ("7d", 7), ("2 weeks", 14), ("last month", 30), ("0", None), ("soon", None)],
)
def test_days_are_read_or_refused(text: str, number: int | None) -> None:
    assert typed.days(tuple(text.split()), 30) == number


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("help", "help"), ("", "help"), ("STATUS please", "status"), ("show 12", "show 12"),
        ("incidents open service checkout", "incidents open service checkout"),
        ("mute checkout for 2h", "mute checkout for 2h"),
        ("pause", "pause"), ("policy why #12", "policy 12"), ("why 12?", "policy 12"), ("pause?", ""),
        ("PAUSE!", "pause"), ("please pause now!", "pause"), ("pause everything!", "pause everything!"),
        ("feedback 12 down it lies", "feedback 12 down it lies"),
        ("pause the rollout of checkout", ""), ("status of the checkout service", ""), ("why did checkout fail?", ""),
        ("show me why it fails", ""), ("mute is what I need for checkout and orders", ""), ("12", ""), ("why?", ""),
        ("search", ""), ("destroy", ""), ("status\nKilled", ""), ("search " + "x" * 300, ""),
    ],
)  # fmt: skip
def test_a_mention_is_a_command_only_where_it_is_plainly_one(said: str, line: str) -> None:
    found = command_in(said, in_thread=False)
    assert (found.line if found else "") == line


def test_an_empty_mention_in_a_thread_is_about_the_thread() -> None:
    assert command_in(" ", in_thread=True) is None


WORDS = st.lists(
    st.sampled_from(
        [
            *SUBCOMMANDS,
            *typed.ALSO,
            *typed.STATES,
            "12",
            "#7",
            "for",
            "until",
            "9am",
            "2h",
            "since",
            "page",
            "service",
            CARD,
        ]
    )
    | st.text(max_size=12),
    max_size=8,
)


@given(WORDS, st.sampled_from(["UTC", BERLIN, "Asia/Kathmandu", "../etc", ""]))
def test_nothing_that_can_be_typed_breaks_the_parser(words: list[str], timezone: str) -> None:
    command = parse_command(" ".join(words))
    typed.suggestion(command)
    reference(command.arguments)
    rest, at = typed.with_time(command.arguments, now=NOW, timezone=timezone)
    assert at is None or at > NOW
    assert command.arguments[: len(rest)] == rest
    filters(command.arguments, services=words, environments=words, now=NOW, timezone=timezone)
    typed.days(command.arguments, 30)
    command_in(" ".join(words), in_thread=True)
