"""Commands on what is remembered: import, incidents, knowledge, stats, policy; each as a person types them."""

import asyncio
import csv
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge import casebook
from knowledge.model import FailureKind, IncidentState
from knowledge.store import answers, audit, incidents, memory
from remediation.policy import PolicyFacts, decide, load_policy
from remediation.replay import kept
from tests.bot.conftest import Command
from tests.rows import NOW, TARGET, a_plan, an_incident, diagnosis, item, opened, plan

LINES = [
    {
        "id": "a",
        "text": "OOMKilled, exit code 137",
        "kind": "oomkilled",
        "fix": "Raised the limit.",
        "outcome": "verified",
    },
    {"id": "b", "text": "ImagePullBackOff: manifest unknown", "kind": "imagepullbackoff", "service": "checkout"},
    {"id": "c", "text": "x509: certificate has expired", "cause": "Nobody renewed it."},
]


@pytest.fixture(autouse=True)
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DATABASE_URL", database_url)
    return database_url


@pytest.fixture
def stored(database: str) -> Callable[[Callable[[AsyncConnection], Awaitable[Any]]], Any]:
    """Runs the store's own functions in one transaction; the commands have event loops of their own."""

    async def run(work: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
        async with opened(database) as engine, engine.begin() as db:
            return await work(db)

    return lambda work: asyncio.run(run(work))


@pytest.fixture
def healed(stored: Any) -> int:
    """An incident with a decision and a lesson; its number."""

    async def work(db: AsyncConnection) -> int:
        incident = await an_incident(db, state=IncidentState.HEALED)
        await a_plan(db, incident)
        await memory.remember(db, item("incident-1", incident_id=incident.id), vector=None, vector_model="")
        return incident.id

    return int(stored(work))


@pytest.fixture
def rows(conninfo: str) -> Iterator[Any]:
    """Asks the database."""
    with psycopg.connect(conninfo, autocommit=True) as db:
        yield lambda query: db.execute(query).fetchall()


def lines(path: Path, *values: object) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in values))
    return path


# --- import -------------------------------------------------------------------------------------------------------


def test_an_import_is_found_again_and_the_same_lines_change_nothing(
    command: Command, tmp_path: Path, rows: Any
) -> None:
    # As if the first run had been interrupted after two lines.
    first = command("import", lines(tmp_path / "part", *LINES[:2]), "--json")
    assert (first.status, first.words) == (0, "")
    assert first.json == {"imported": 2, "unchanged": 0, "updated": 0, "rejected": 0}
    whole = lines(tmp_path / "whole", *LINES)
    assert command("import", whole, "--json").json == {"imported": 1, "unchanged": 2, "updated": 0, "rejected": 0}
    before = rows("SELECT * FROM knowledge_items ORDER BY id")
    assert command("import", whole, "--json").json == {"imported": 0, "unchanged": 3, "updated": 0, "rejected": 0}
    assert rows("SELECT * FROM knowledge_items ORDER BY id") == before
    assert rows("SELECT count(*) FROM audit WHERE what = 'knowledge.imported'") == [(2,)]
    found = command("search", "certificate expired", "--json").json
    assert (found[0]["id"], found[0]["source"], found[0]["cause"]) == ("c", "import", "Nobody renewed it.")
    log = tmp_path / "log"
    log.write_text("Last State: Terminated\n  Reason: OOMKilled\n  Exit Code: 137\n")
    assert "Raised the limit." in command("diagnose", log, "--show-prompt", "--precedents").out
    assert "Raised the limit." not in command("diagnose", log, "--show-prompt").out
    changed = lines(tmp_path / "changed", {**LINES[2], "fix": "Renewed it."})
    assert command("import", changed).out == "0 imported, 0 unchanged, 1 updated, 0 rejected\n"


def test_what_cannot_be_imported_is_named_by_line_and_the_rest_is(
    command: Command, tmp_path: Path, healed: int, rows: Any
) -> None:
    rows("UPDATE knowledge_items SET id = 'learnt' WHERE id = 'incident-1' RETURNING 1")
    file = lines(
        tmp_path / "f", {"id": "x"}, "{", "", "[]", {**LINES[0], "kind": "nonsense"}, LINES[1],
        {**LINES[1], "fix": "?"}, {"id": "learnt", "text": "x"}, {**LINES[2], "sevice": "a"},
    )  # fmt: skip
    ended = command("import", file, "--json")
    assert ended.status == 2
    assert ended.json == {"imported": 2, "unchanged": 0, "updated": 0, "rejected": 6}
    said = ended.words.splitlines()
    for start in ("line 1: the field text", "line 2: not JSON", "line 4: not a JSON object", "line 5: the field kind",
                  "line 7: the id b stands in line 6 too", "line 8: the id learnt belongs to what was learnt",
                  "line 9: the field 'sevice' is not known"):  # fmt: skip
        assert any(one.startswith(f"{file}: {start}") for one in said), start
    assert command("import", tmp_path / "nowhere").status == 2


# --- incidents ----------------------------------------------------------------------------------------------------


def test_correcting_an_incident_corrects_what_is_remembered_and_the_track_record(
    command: Command, healed: int, rows: Any
) -> None:
    said = ["--kind", "network", "--cause", "A bad node, password=hunter2hunter2", "--outcome", "not_verified"]
    ended = command("incidents", "update", str(healed), *said, "--json")
    assert (ended.status, ended.json) == (0, {"incident": healed, "changed": ["kind", "cause", "outcome"]})
    assert command("incidents", "update", str(healed), *said, "--json").json["changed"] == []
    ((kind, cause, outcome, current),) = rows(
        "SELECT kind, cause, outcome, made_of = updated_at FROM knowledge_items JOIN item_vectors ON item_id = id"
    )
    assert (kind, outcome, current) == ("network", "not_verified", True)
    assert cause.startswith("A bad node, password=[redacted:")
    ((actor, payload),) = rows("SELECT actor, payload FROM audit WHERE what = 'knowledge.corrected'")
    assert actor
    assert payload["changes"]["outcome"] == ["verified", "not_verified"]
    about = command("incidents", "show", str(healed), "--json").json
    assert (about["kind"], about["outcome"]) == ("network", "not_verified")
    assert about["remembered"]["corrected"] == ["cause", "kind", "outcome"]
    assert (about["diagnosis"]["kind"], about["decision"]["verdict"]) == ("crashloop", "ask")
    assert "corrected: cause; kind; outcome" in command("incidents", "show", str(healed)).out.replace(
        "corrected ", "corrected: "
    )


def test_an_incident_that_has_no_lesson_gets_one_from_the_person(command: Command, stored: Any) -> None:
    number = stored(lambda db: an_incident(db, state=IncidentState.ESCALATED, title="Disk full")).id
    command("incidents", "update", str(number), "--kind", "disk_pressure", "--cause", "Logs filled it.")
    (found,) = command("search", "Disk full", "--json").json
    assert (found["id"], found["kind"], found["cause"]) == (f"incident-{number}", "disk_pressure", "Logs filled it.")


def test_an_incident_is_deleted_with_a_yes_and_never_while_a_fix_runs(
    command: Command, stored: Any, healed: int, rows: Any
) -> None:
    running = stored(lambda db: an_incident(db, state=IncidentState.VERIFYING, title="b")).id
    stored(audit.seal)
    assert command("incidents", "delete", str(healed)).status == 2, "nobody is there to be asked"
    refused = command("incidents", "delete", str(running), "--yes")
    assert refused.status == 1
    assert f"A fix of incident {running} is verifying" in refused.words
    ended = command("incidents", "delete", str(healed), "--yes", "--json")
    assert ended.status == 0
    assert (ended.json["deleted"], ended.json["rows"]["knowledge_items"]) == (healed, 1)
    assert command("incidents", "delete", str(healed), "--yes").status == 2
    assert rows("SELECT id FROM incidents") == [(running,)]
    assert command("audit", "verify").status == 0


def test_the_list_is_filtered_and_says_how_to_go_on(command: Command, stored: Any) -> None:
    async def work(db: AsyncConnection) -> list[int]:
        made = [await an_incident(db, title=str(n), service="ab"[n % 2]) for n in range(5)]
        await incidents.move(db, made[0], IncidentState.DISMISSED, kind=FailureKind.NETWORK)
        return [one.id for one in made]

    numbers = stored(work)

    def shown(*arguments: str) -> list[int]:
        return [line["id"] for line in command("incidents", "list", *arguments, "--json").lines]

    assert shown("--service", "a") == [numbers[4], numbers[2], numbers[0]]
    assert shown("--status", "closed") == shown("--kind", "network") == shown("--status", "dismissed") == [numbers[0]]
    assert shown("--from", "1h", "--to", "2100-01-01", "--limit", "2", "--page", "2") == [numbers[2], numbers[1]]
    assert shown("--to", "1h") == []
    first = command("incidents", "list", "--limit", "2")
    assert f"--after {numbers[3]}" in first.words
    assert shown("--limit", "2", "--after", str(numbers[3])) == [numbers[2], numbers[1]]


# --- knowledge ----------------------------------------------------------------------------------------------------


def test_corrections_in_files_come_back_once(command: Command, tmp_path: Path, healed: int, rows: Any) -> None:
    command("import", lines(tmp_path / "lines", *LINES))
    folder = tmp_path / "cases"
    assert command("knowledge", "export", folder, "--json").json["written"] == 4
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["INDEX.md", "a.md", "b.md", "c.md", "incident-1.md"]
    exported = {path: path.read_bytes() for path in folder.iterdir()}
    assert command("knowledge", "import", folder, "--json").json["unchanged"] == 4
    assert command("knowledge", "export", folder, "--json").json["unchanged"] == 4
    assert {path: path.read_bytes() for path in folder.iterdir()} == exported

    own = folder / "incident-1.md"
    own.write_text(own.read_text().replace("It panics.", "A bad node.").replace("status: ''", "status: wrong"))
    (folder / "mine.md").write_text("---\nid: mine\nkind: network\n---\n## Signs\nconnection reset by peer\n")
    kept = command("knowledge", "export", folder)
    assert kept.status == 2
    assert "holds changes that were not imported" in kept.words
    for counts in ({"corrected": 1, "added": 1, "unchanged": 3}, {"corrected": 0, "added": 0, "unchanged": 5}):
        ended = command("knowledge", "import", folder, "--json")
        assert (ended.status, ended.json) == (0, {"removed": 0, "rejected": 0, **counts})
    assert rows("SELECT cause, status FROM knowledge_items WHERE id = 'incident-1'") == [("A bad node.", "wrong")]
    assert command("search", "connection reset by peer", "--json").json[0]["id"] == "mine"
    assert command("knowledge", "export", folder, "--json").json["kept"] == 0

    (folder / "a.md").unlink()
    rows("UPDATE knowledge_items SET cause = 'Newer.' WHERE id = 'b' RETURNING 1")
    (folder / "b.md").write_text((folder / "b.md").read_text().replace("manifest", "Manifest"))
    ended = command("knowledge", "import", folder, "--prune", "--json")
    assert ended.json == {"added": 0, "corrected": 0, "unchanged": 3, "removed": 1, "rejected": 1}
    assert "b.md: it was changed here and in the database" in ended.words
    assert rows("SELECT id FROM knowledge_items ORDER BY id") == [("b",), ("c",), ("incident-1",), ("mine",)]
    audited = rows("SELECT what FROM audit WHERE what LIKE 'knowledge.%' AND what <> 'knowledge.imported' ORDER BY id")
    assert audited == [("knowledge.corrected",), ("knowledge.corrected",), ("knowledge.forgotten",)]


def test_an_empty_database_removes_no_cases(command: Command, tmp_path: Path) -> None:
    """As one that was looked for in the wrong place, and made by that."""
    (tmp_path / "INDEX.md").write_text(casebook.render_index({"item-1.md": "Checkout panics"}))
    (tmp_path / "item-1.md").write_text("what people keep")
    ended = command("knowledge", "export", tmp_path)
    assert (ended.status, "lists 1 cases" in ended.words) == (1, True)
    assert (tmp_path / "item-1.md").is_file()


def test_a_file_that_cannot_be_read_is_named_by_its_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("What this folder is.")
    (tmp_path / "bad.md").write_text("---\nid: x\nkind: nonsense\n---\n## Signs\nboom\n")
    (tmp_path / "incident-9.md").write_text("---\nid: incident-9\n---\n## Signs\nboom\n")
    ended = command("knowledge", "import", tmp_path)
    assert ended.status == 2
    assert f"{tmp_path / 'bad.md'}:3: the field kind: 'nonsense'" in ended.words
    assert "incident-9 is not remembered any more" in ended.words
    assert command("knowledge", "import", tmp_path, "--prune").status == 2, "nothing says what was exported"


# --- stats, policy ------------------------------------------------------------------------------------------------


def test_stats_name_what_is_deleted_by_now(command: Command, healed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted = "incidents that ended more than 30 days ago are deleted"
    assert deleted not in command("stats", "--since", "90d").words
    monkeypatch.setenv("CODEHEALER_INCIDENT_RETENTION_DAYS", "30")
    before = command("stats", "--until", "2020-01-31", "--since", "2020-01-01").words
    assert "No incident that is kept opened between" in before
    assert deleted in before
    assert [deleted in command("stats", "--since", since).words for since in ("90d", "7d")] == [True, False]
    found = command("stats", "--since", "90d", "--json")
    assert (found.json["total"]["incidents"], deleted in found.words) == (1, True)


def test_stats_say_how_it_went_and_when_there_was_nothing(command: Command, stored: Any, healed: int) -> None:
    empty = command("stats", "--until", "2020-01-31", "--since", "2020-01-01", "--json").json
    assert (empty["empty"], empty["total"]["success_rate"]) == (True, None)
    assert "No incident opened" in command("stats", "--until", "2020-01-31", "--since", "2020-01-01").words
    found = command("stats", "--since", "7d", "--by", "kind", "--json").json
    assert (found["empty"], found["total"]["incidents"]) == (False, 1)
    assert [row["kind"] for row in found["groups"]] == ["crashloop"]
    assert "no fix" in command("stats", "--by", "kind").out
    header, *rows = csv.reader(command("stats", "--since", "7d", "--by", "kind", "--csv").out.splitlines())
    assert [dict(zip(header, row, strict=True))["incidents"] for row in rows][-1] == str(found["total"]["incidents"])
    nobody = command("stats", "--since", "7d", "--service", "nobody's", "--csv").out.splitlines()
    assert nobody[1].startswith(",0,0")
    stored(lambda db: memory.put_feedback(db, healed, "U1", -1, "it was token=abcdefgh12345678 that expired"))
    thumbs = command("stats", "--feedback", "--by", "answerer", "--json").json
    assert thumbs["groups"] == [{"answerer": "built-in", "up": 0, "down": 1}]
    assert "abcdefgh12345678" not in command("stats", "--feedback").out


def test_a_policy_is_checked_by_line_and_a_decision_explained_by_rule(
    command: Command, tmp_path: Path, healed: int
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\nmode: approve\nenvironments:\n  prod:\n    actions: [k8s_restat_pod]\n")
    ended = command("policy", "check", path, "--json")
    assert (ended.status, ended.json["valid"]) == (0, True)
    assert [(one["severity"], one["line"]) for one in ended.json["findings"]] == [
        ("warning", 1),
        ("warning", 2),
        ("warning", 5),
    ]
    assert "Did you mean 'k8s_restart_pod'?" in command("policy", "check", path).out
    path.write_text("version: 1\nmoode: approve\n")
    wrong = command("policy", "check", path, "--json")
    assert wrong.status == 2
    ((severity, line),) = [(one["severity"], one["line"]) for one in wrong.json["findings"]]
    assert (severity, line) == ("error", 2)
    assert command("policy", "check").status == 0
    assert command("policy", "check", tmp_path).status == 2

    decided = command("policy", "explain", str(healed), "--json").json
    assert (decided["verdict"], decided["mode"], decided["action"], decided["how_many"]) == (
        "ask",
        "approve",
        "noop",
        1,
    )
    assert decided["route"].startswith("no route fits")
    assert command("policy", "explain", "77").status == 2


def test_a_new_policy_is_tried_on_past_decisions_and_says_which_rule_would_flip_them(
    command: Command, tmp_path: Path, healed: int, stored: Any
) -> None:
    old = tmp_path / "old.yaml"
    old.write_text("mode: automatic\nenvironments: {prod: {actions: [noop], strategy: slack_first}}\n")
    new = tmp_path / "new.yaml"
    new.write_text(old.read_text() + "freezes: [{from: 2026-11-01, to: 2026-12-01, hard: true}]\n")
    assert "0 of 0 decisions would flip; 1 were made before" in command("policy", "replay", new).out

    async def decided(db: AsyncConnection) -> None:
        incident = await incidents.get(db, healed)
        assert incident is not None
        proposal = plan()
        answer = await answers.add_diagnosis(db, healed, diagnosis(), [])
        facts = PolicyFacts(now=NOW)
        decision = decide(proposal, diagnosis(), TARGET, load_policy(old), facts)
        await answers.add_plan(db, healed, answer, proposal, decision, facts=kept(facts, TARGET, "noop"))

    stored(decided)
    assert command("policy", "replay", old, "--json").json == {"decisions": 1, "not_kept": 1, "flips": []}
    (flip,) = command("policy", "replay", new, "--since", "1h", "--json").json["flips"]
    assert (flip["incident"], flip["before"], flip["after"]) == (healed, "ask", "blocked")
    assert flip["because"] == ["freeze fails (block): until 2026-12-01 00:00 UTC (limit: no freeze)"]
    assert command("policy", "replay", tmp_path / "absent.yaml").status == 2
    new.write_text("version: 1\nmoode: approve\n")
    wrong = command("policy", "replay", new, "--json")
    assert (wrong.status, wrong.out) == (2, "")
    assert f"{new}:2: moode: unknown key. Did you mean 'mode'?" in wrong.words
