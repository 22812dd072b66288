"""What surrounds a failure is one line each in the card's thread, and moves no built-in diagnosis."""

import json

from handlers.blocks import thread
from knowledge.case import make_case
from knowledge.language_models.verdict import text_to_classify
from knowledge.model import Evidence, IncidentState
from knowledge.runbooks import Runbook
from tests.handlers import card_states as states

CONTEXT = [
    Evidence("changes", "shop/checkout", "image 1.4 → 1.5; revision 2 → 3, 4 min before the failure\n  details"),
    Evidence("changes", "Argo CD checkout", 'Argo CD revision ab → cd "Fix <!channel> OOMKilled" (3 commits; a.py)'),
    Evidence("silence", "alertmanager", "KubePodCrashLooping is silenced until 2026-03-02 by kim: known"),
    Evidence("metrics", "checkout", "p99 latency 6.2, was 0.2 (15 min before the failure)"),
    Evidence("status_page", "providers", "GitHub: Partial System Outage\n  GitHub: registry is down"),
]


def test_each_is_one_line_and_the_runbook_is_linked() -> None:
    runbook = Runbook("oom.md", "Out of memory", url="https://wiki.example/oom")
    view = states.STATES[IncidentState.WAITING]
    reply = thread.evidence_reply(view, [*states.EVIDENCE, *CONTEXT], runbook=runbook)
    assert reply is not None
    lines = reply.text.splitlines()
    start = next(line for line in lines if line.startswith("Since the last healthy state: "))
    assert start.startswith(
        "Since the last healthy state: image 1.4 → 1.5; revision 2 → 3, 4 min before the failure; Argo"
    )
    assert "details" not in reply.text
    assert any(line.startswith("Silenced: KubePodCrashLooping is silenced") for line in lines)
    assert any(line.startswith("Metrics: p99 latency 6.2") for line in lines)
    assert any(line == "Providers: GitHub: Partial System Outage" for line in lines)
    blocks = json.dumps(reply.blocks)
    assert "<https://wiki.example/oom|Out of memory>" in blocks
    assert "<!channel>" not in blocks


def test_a_runbook_without_an_address_is_named_by_its_path() -> None:
    reply = thread.evidence_reply(states.STATES[IncidentState.WAITING], [], runbook=Runbook("oom.md", "Out of memory"))
    assert reply is not None
    assert "Runbook: Out of memory (oom.md)" in reply.text


def test_words_of_what_surrounds_a_failure_are_no_signs_of_its_cause() -> None:
    log = Evidence("logs", "pod", "INFO started\nERROR cannot open /data/index: corrupt segment\n")
    alone, surrounded = make_case("t", [log]), make_case("t", [log, *CONTEXT])
    assert surrounded.state.facts == alone.state.facts
    assert text_to_classify(surrounded) == text_to_classify(alone)
    # A model may still quote it.
    assert surrounded.find("image 1.4 → 1.5") is not None
