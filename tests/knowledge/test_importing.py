"""A line of an import is taken over or refused by field and remedy; saying the same is recognised."""

from datetime import UTC, datetime
from typing import Any

import pytest

from knowledge.errors import BadInput
from knowledge.importing import EXCERPT_CHARS, read_past_incident
from knowledge.model import FailureKind

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LINE: dict[str, Any] = {
    "id": "past-7", "text": "OOMKilled\nexit code 137", "kind": "oomkilled", "cause": "The heap was too large.",
    "fix": "Raised the limit.", "outcome": "verified", "service": "checkout", "environment": "prod",
    "occurred_at": "2026-05-12T09:00:00+02:00", "link": "https://example.test/wiki/7",
}  # fmt: skip


def read(**changes: Any) -> Any:
    return read_past_incident({**LINE, **changes}, now=NOW)


def test_every_field_is_taken_over() -> None:
    item = read().item
    assert (item.id, item.source, item.kind, item.outcome) == ("past-7", "import", FailureKind.OOMKILLED, "verified")
    assert (item.cause, item.fix, item.excerpt) == (LINE["cause"], LINE["fix"], LINE["text"])
    assert (item.service, item.environment, item.link) == ("checkout", "prod", LINE["link"])
    assert item.occurred_at == datetime(2026, 5, 12, 7, 0, tzinfo=UTC)
    assert item.action == "", "an import moves no track record"


def test_id_and_text_are_enough_and_null_is_not_given() -> None:
    past = read_past_incident({"id": 7, "text": "boom", "kind": None, "occurred_at": None}, now=NOW)
    assert (past.item.id, past.item.kind, past.item.occurred_at, past.dated) == ("7", None, NOW, False)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("id", "", "missing or empty"),
        ("id", None, "missing or empty"),
        ("id", True, "true or false"),
        ("id", "x" * 201, "at most 200"),
        ("id", "incident-12", "own incidents"),
        ("id", "a\nb", "one line"),
        ("text", " \n", "missing or empty"),
        ("text", ["a"], "a list; write a string"),
        ("kind", "oomkiled", "did you mean oomkilled"),
        ("outcome", "fixed", "known are verified"),
        ("service", "a\nb", "one line"),
        ("environment", "x" * 201, "at most 200"),
        ("occurred_at", "yesterday", "write it like"),
        ("occurred_at", "2027-01-01", "in the future"),
        ("occurred_at", "1066-10-14", "before 1970"),
        ("occurred_at", 1_700_000_000, "a number"),
        ("link", "javascript:alert(1)", "no web address"),
        ("link", "https://[", "no web address"),
        ("cause", {"a": 1}, "an object"),
    ],
)
def test_a_wrong_field_is_named_with_the_remedy(field: str, value: object, says: str) -> None:
    with pytest.raises(BadInput, match=f"the field {field}.*{says}"):
        read(**{field: value})


def test_secrets_and_what_cannot_be_stored_are_cut_out() -> None:
    hidden = "postgres://app:hunter2hunter2@db/x"
    past = read(text=f"\x1b[31mcannot reach {hidden}\x00\ud800", cause=f"{hidden} was wrong")
    assert "hunter2" not in past.item.excerpt + past.item.cause
    assert past.item.excerpt.startswith("cannot reach postgres://app:[redacted:")
    assert "\x00" not in past.item.excerpt
    past.item.excerpt.encode()


def test_a_long_log_is_reduced_to_its_telling_lines() -> None:
    noise = "\n".join(f"INFO request {n} served in {n} ms" for n in range(3000))
    past = read(text=f"{noise}\nERROR OutOfMemoryError: Java heap space\n{noise}")
    assert "OutOfMemoryError" in past.item.excerpt
    assert len(past.item.excerpt) <= EXCERPT_CHARS


def test_the_digest_is_of_what_is_said_and_fields_nobody_knows_are_named() -> None:
    assert read().digest == read(occurred_at="2026-05-12T07:00:00Z", id="past-7").digest
    assert read().digest != read(fix="Restarted it.").digest
    assert read(sevice="x", id_="y").unknown == ("sevice", "id_")
