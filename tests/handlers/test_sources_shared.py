"""The sample bodies beside the project, as their index describes them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from handlers.intake import Intake, read_webhook
from handlers.sources import SOURCES
from knowledge.errors import BadInput

ALERTS = Path(__file__).parents[2].parent / "shared" / "data" / "alerts"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not ALERTS.is_dir(), reason="the sample alerts (shared/data/alerts) are not here"),
]
GIVEN = ("severity", "title", "namespace", "workload")


def index() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ALERTS / "index.jsonl").read_text().splitlines()]


def read(entry: dict[str, Any]) -> Intake:
    # Hostile bodies imitate Alertmanager's; what has no source of its own goes through the default mapping.
    source = "alertmanager" if entry["source"] == "hostile" else entry["source"]
    body = (ALERTS / entry["file"]).read_bytes()
    return read_webhook(source if source in SOURCES else "generic", entry["headers"], body, secrets=None)


def accepted(entry: dict[str, Any]) -> Intake | None:
    try:
        return read(entry)
    except BadInput:
        return None


def test_bodies_are_accepted_or_refused_as_expected() -> None:
    wanted = {entry["id"]: entry["expect"]["accept"] for entry in index() if entry["expect"]["accept"] != "either"}
    found = {entry["id"]: accepted(entry) is not None for entry in index() if entry["id"] in wanted}
    assert found == wanted


def test_status_and_actionable_are_always_right() -> None:
    wrong = []
    for entry in index():
        intake, expect = accepted(entry), entry["expect"]
        for alert in intake.alerts[:1] if intake else ():
            found = {"status": alert.status.value, "actionable": alert.actionable}
            wrong += [(entry["id"], name) for name in found if expect.get(name, found[name]) != found[name]]
    assert wrong == []


def wrong_fields(entry: dict[str, Any]) -> list[str]:
    intake, expect = accepted(entry), entry["expect"]
    if intake is None:
        return []
    found: dict[str, Any] = {
        "alerts": len(intake.alerts),
        "truncated": intake.truncated,
        "fingerprints": [alert.fingerprint for alert in intake.alerts],
    }
    for alert in intake.alerts[:1]:
        found |= {name: getattr(alert, name) for name in GIVEN}
    # An empty title in the index means that none was recorded.
    names = [name for name in found if name in expect and (name != "title" or expect[name])]
    return [name for name in names if found[name] != expect[name]]


def test_given_fields_are_right_on_98_percent_of_the_bodies() -> None:
    entries = index()
    wrong = {entry["id"]: names for entry in entries if (names := wrong_fields(entry))}
    sys.stdout.write(f"all given fields are right on {len(entries) - len(wrong)} of {len(entries)} bodies\n")
    assert len(wrong) <= 0.02 * len(entries), wrong
