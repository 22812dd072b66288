"""What a person who mentions us wants, and where an alert's card goes: pure."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.answering import wants_answer
from handlers.mentions import Question, alert_of, service_named
from handlers.routing import about_service, channel_for, service_row, trusts_app
from remediation.policy import Policy, parse_policy
from tests.rows import alert

SERVICES = ("checkout", "catalog", "payments-api")


def asked(text: str, thread_ts: str = "") -> Question:
    return Question("U1", "C1", "2.1", thread_ts, f"<@U0CODEHEALER> {text}")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("is checkout alright?", "checkout"),
        ("look at catalog.", "catalog"),
        ("Checkout!", "checkout"),
        ("what about `payments-api`?", "payments-api"),
        ("payments", ""),
        ("checkout or catalog?", ""),
        ("why?", ""),
        ("checkout\nis red", ""),
        ("```checkout```", ""),
        ("checkout " + "x" * 300, ""),
    ],
)
def test_a_sentence_names_one_known_service_or_none(text: str, name: str) -> None:
    assert service_named(asked(text), SERVICES) == name


@pytest.mark.parametrize(
    ("question", "stored"),
    [
        (asked(""), False),
        (asked("", "1.1"), False),
        (asked("status of the checkout service"), True),
        (asked("why?"), True),
        (asked("destroy"), False),
        (asked("is checkout alright?"), False),
        (asked("why did it fail?\nError: exit code 1"), False),
    ],
)
def test_what_is_stored_answers_questions_and_an_empty_mention_in_a_thread_is_about_the_thread(
    question: Question, stored: bool
) -> None:
    assert wants_answer(question) is stored


def test_only_a_question_that_names_a_service_is_trusted() -> None:
    pasted = alert_of(asked("service: checkout\nOOMKilled"), "")
    assert (pasted.trusted, pasted.service, pasted.log) == (False, "", "service: checkout\nOOMKilled")
    named = alert_of(asked("is checkout alright?"), "checkout")
    assert (named.trusted, named.service, named.log, named.summary) == (True, "checkout", "", "is checkout alright?")


def test_an_answer_belongs_into_the_thread_of_its_question() -> None:
    assert alert_of(asked("why?"), "").thread_ts == "2.1"
    assert alert_of(asked("why?", "1.1"), "").thread_ts == "1.1"
    assert alert_of(asked("why?"), "").identity != alert_of(replace(asked("why?"), ts="2.2"), "").identity


@pytest.mark.parametrize("text", ["``` ```", "```\t```", "`\x0b`", "\x1c", "```\n\n```", "", "`", "\u2028"])
def test_a_question_without_words_has_a_title_all_the_same(text: str) -> None:
    assert alert_of(asked(text), "").title


@given(st.text(max_size=300))
def test_any_mention_can_be_read(text: str) -> None:
    question = asked(text)
    wants_answer(question)
    made = alert_of(question, service_named(question, SERVICES))
    assert made.title.strip()
    assert "\n" not in made.title


# --- routing ---------------------------------------------------------------------------------------------------------


def policy() -> Policy:
    return parse_policy("""
services:
  - {name: checkout, environment: prod, cluster: east, namespace: shop, workload: {kind: Deployment, name: checkout},
     repository: acme/shop, channel: C0SHOP}
  - {name: catalog, environment: prod, cluster: east, namespace: shop, workload: {kind: Deployment, name: catalog},
     repository: acme/shop}
  - {name: checkout, environment: dev, cluster: west, namespace: dev, workload: {kind: Deployment, name: checkout}}
slack: {alert_apps: [B0ALERT, A0GITHUB]}
""")


PLAIN = alert(service="", namespace="", workload="", owner="", cluster="")


@pytest.mark.parametrize(
    ("changes", "environment"),
    [
        ({"namespace": "shop", "owner": "checkout"}, "prod"),
        ({"namespace": "shop", "workload": "checkout"}, "prod"),
        ({"namespace": "dev", "owner": "checkout"}, "dev"),
        ({"service": "catalog"}, "prod"),
        ({"namespace": "elsewhere", "owner": "checkout"}, None),
        ({"service": "checkout"}, None),
        ({"repository": "acme/shop"}, None),
        ({}, None),
    ],
    ids=["owner", "workload", "namespace tells", "name", "elsewhere", "two of a name", "two of a repo", "nothing"],
)  # fmt: skip
def test_names_point_to_the_one_row_or_to_none(changes: dict[str, str], environment: str | None) -> None:
    row = service_row(policy(), replace(PLAIN, **changes))  # type: ignore[arg-type]
    assert (row.environment if row else None) == environment


def test_a_card_goes_to_its_services_channel_else_to_the_default_else_where_the_alert_stands() -> None:
    ours, other = (
        replace(PLAIN, namespace="shop", owner="checkout"),
        replace(PLAIN, service="catalog", channel="C0POST"),
    )
    assert channel_for(policy(), ours, "C0DEFAULT") == "C0SHOP"
    assert channel_for(policy(), other, "C0DEFAULT") == "C0DEFAULT"
    assert channel_for(policy(), other, "") == "C0POST"


def test_an_app_is_listed_by_its_bot_or_by_its_app_id() -> None:
    assert trusts_app(policy(), "B0ALERT", None)
    assert trusts_app(policy(), None, "A0GITHUB")
    assert not trusts_app(policy(), "B0OTHER", "A0OTHER")
    assert not trusts_app(policy(), None, "")
    assert not trusts_app(parse_policy(""), "B0ALERT", "")


def test_a_question_about_a_service_gets_that_rows_place() -> None:
    question = alert_of(asked("is catalog alright?"), "catalog")
    placed = about_service(policy(), question, "catalog")
    assert (placed.namespace, placed.owner, placed.environment, placed.cluster) == ("shop", "catalog", "prod", "east")
    assert about_service(policy(), question, "gone") == question
