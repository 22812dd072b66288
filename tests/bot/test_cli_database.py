"""The commands that look into the database, and what is wrong use of any command."""

import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer.main

from bot.cli import app
from bot.cli.incidents import DELETED
from tests.bot.conftest import Command
from tests.bot.edge import ROOT, codehealer
from tests.database import REVISIONS

OLDER = "0012_grouping"
PAGE = (ROOT / "docs" / "commands.md").read_text()


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DATABASE_URL", database_url)
    return database_url


def commands() -> list[tuple[str, ...]]:
    """Every command by its words, groups resolved."""
    found: list[tuple[str, ...]] = []
    group: Any = typer.main.get_command(app)
    for name in group.list_commands(None):
        inner = getattr(group.get_command(None, name), "commands", None)
        found += [(name, verb) for verb in inner] if inner else [(name,)]
    return found


# --- all commands -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_help_json_and_a_place_on_the_page(command: Command, words: tuple[str, ...]) -> None:
    ended = command(*words, "--help")
    assert ended.status == 0
    assert ended.words == ""
    assert "--json" in ended.out
    assert f"`{' '.join(words)}" in PAGE or all(f"`{word}" in PAGE for word in words)


def test_every_command_of_the_page_exists() -> None:
    of_program = PAGE.partition("\n## In Slack\n")[0].replace("\\|", "¦")
    rows = [line.split("|")[1] for line in of_program.splitlines() if line.startswith("| `")]
    named = {quoted.split()[0] for row in rows for quoted in row.split("`")[1::2]}
    assert named == {words[0] for words in commands()}


def test_help_keeps_what_stands_in_brackets(command: Command) -> None:
    assert "[redacted:KIND]" in command("redact", "--help").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run", "--nonsense"],
        ["search"],
        ["search", "x", "--top", "0"],
        ["search", "x", "--top", "many"],
        ["search", " "],
        ["search", "x", "--kind", "nonsense"],
        ["incidents", "nonsense"],
        ["incidents", "show", "abc"],
        ["incidents", "show", "0"],
        ["incidents", "show", "99999999999999999999"],
        ["incidents", "list", "--limit", "0"],
        ["incidents", "list", "--status", "nonsense"],
        ["incidents", "list", "--from", "the beginning"],
        ["incidents", "list", "--page", "2", "--after", "7"],
        ["incidents", "update", "7"],
        ["incidents", "update", "7", "--outcome", "nonsense"],
        ["knowledge", "import", "/nowhere"],
        ["stats", "--by", "nonsense"],
        ["stats", "--since", "1d", "--until", "2d"],
        ["policy", "check", "/nowhere"],
        ["forget"],
        ["forget", "--user", "U1AAA", "--channel", "C1AAA", "--yes"],
        ["forget", "--user", "<@U1AAA>", "--yes"],
        ["forget", "--channel", "general", "--yes"],
        ["forget", "--user", "U1AAA"],
        ["audit", "export", "--from", "the beginning"],
        ["audit", "verify", "--known", "12"],
        ["dead", "retry", "99999999999999999999"],
        ["sandbox", "--port", "70000"],
        ["index-slack", "--since", "soon"],
        ["normalize", "body.json"],
        ["correlate"],
        ["bench", "nonsense"],
        ["diagnose", "a", "b"],
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_two_and_says_what(command: Command, arguments: list[str]) -> None:
    ended = command(*arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.words.strip()


def test_the_benches_are_named(command: Command) -> None:
    assert "known are diagnosis, redaction, policy, approvals, accept" in command("bench", "nonsense").words


# --- migrate ------------------------------------------------------------------------------------------------------


def test_migrate_goes_up_down_and_up_again(
    command: Command, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    steps: list[tuple[list[str], list[str]]] = [
        ([], REVISIONS),
        ([], []),
        (["--down"], REVISIONS[-1:]),
        (["--down", "--to", "base"], REVISIONS[-2::-1]),
        (["--down"], []),
        (["--to", "head"], REVISIONS),
    ]
    for arguments, applied in steps:
        ended = command("migrate", "--json", *arguments)
        assert (ended.status, ended.words) == (0, "")
        assert ended.json == {"applied": applied}
    assert command("migrate").out == "Nothing to do.\n"
    unknown = command("migrate", "--to", "0009")
    assert unknown.status == 1
    assert "no revision '0009'" in unknown.words


def test_a_look_upgrades_nothing_and_a_pause_works_all_the_same(
    command: Command, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    assert command("migrate", "--to", OLDER).status == 0
    for look in (["stats"], ["incidents", "list"], ["audit", "verify"], ["search", "x"]):
        ended = command(*look)
        assert (ended.status, f"revision {OLDER}" in ended.words, "codehealer migrate" in ended.words) == (
            1,
            True,
            True,
        )
    assert command("pause").status == 0
    assert command("incidents", "list").status == 0


def test_a_pod_of_the_older_version_pauses_while_a_newer_one_takes_over(
    command: Command, database: str, conninfo: str
) -> None:
    with psycopg.connect(conninfo, autocommit=True) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999_later'")
        assert command("stats").status == 1
        assert command("pause").status == 0
        assert db.execute("SELECT value FROM switches WHERE name = 'paused'").fetchall() == [(True,)]
        assert db.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999_later",)]


# --- looking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "empty"), [(["search", "anything"], "[]\n"), (["incidents", "list"], ""), (["dead", "list"], "")]
)
def test_nothing_found_is_no_failure(command: Command, database: str, arguments: list[str], empty: str) -> None:
    ended = command(*arguments, "--json")
    assert (ended.status, ended.out, ended.words) == (0, empty, "")


@pytest.mark.parametrize(
    "arguments",
    [["incidents", "show", "7"], ["incidents", "update", "7", "--cause", "x"], ["dead", "retry", "7"]],
    ids=" ".join,
)
def test_what_is_not_there_is_named_with_the_command_that_lists(
    command: Command, database: str, arguments: list[str]
) -> None:
    ended = command(*arguments, "--json")
    assert (ended.status, ended.out) == (2, "")
    assert "7" in ended.words
    assert f"codehealer {arguments[0]} list" in ended.words


def test_an_incident_is_listed_and_shown(command: Command, database: str, conninfo: str) -> None:
    with psycopg.connect(conninfo) as db:
        db.execute(
            "INSERT INTO incidents (identity, title, state, source, trusted, last_alert_at, opened_at)"
            " VALUES ('i', 'A title with [brackets]', 'detected', 'alertmanager', true, now(), now())"
        )
    (row,) = command("incidents", "list", "--json").lines
    assert (row["title"], row["state"]) == ("A title with [brackets]", "detected")
    shown = command("incidents", "show", str(row["id"]), "--json").json
    assert {name: shown[name] for name in row} == row
    assert (shown["evidence"], shown["diagnosis"], shown["remembered"]) == ([], None, None)
    assert "A title with [brackets]" in command("incidents", "list").out
    assert command("incidents", "list", "--open", "--json").lines == [row]


def test_pausing_and_resuming_are_kept_and_audited(command: Command, database: str, conninfo: str) -> None:
    none = {key: [] for key in ("running", "verifying", "queued", "scheduled")}
    assert command("pause", "--json").json == {"paused": True, **none}
    assert "until `codehealer resume`" in command("pause").out
    assert command("resume", "--json").json == {"paused": False}
    with psycopg.connect(conninfo) as db:
        entries = db.execute("SELECT count(*) FROM audit WHERE what = 'switch.paused'").fetchone()
    assert entries == (3,)


def test_a_pause_says_where_and_that_no_bot_works_on_a_database_that_it_made(
    command: Command, database: str, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    assert command("pause").out.startswith("Paused, in the database test_")
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("CODEHEALER_DATA_DIR", str(data_dir))
    ended = command("pause")
    assert f"no database in {data_dir / 'sandbox'} until now, so no bot works on it" in ended.words
    assert f"Paused, in the sandbox's own database in {data_dir / 'sandbox'}: " in ended.out
    assert command("resume").words == "", "it is there now"


def test_resuming_says_what_pauses_all_the_same(
    command: Command, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CODEHEALER_PAUSE_CONFIGMAP", "codehealer/stop")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    ended = command("resume")
    assert ended.out.startswith("Resumed, but the ConfigMap codehealer/stop (which cannot be read: ")
    assert command("resume", "--json").json == {"paused": True}
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert "the ConfigMap codehealer/stop all of them" in command("pause").words


def test_a_person_is_forgotten_and_the_exported_log_says_so(command: Command, database: str, conninfo: str) -> None:
    with psycopg.connect(conninfo) as db:
        db.execute("INSERT INTO switches (name, value, set_by) VALUES ('mode:everything', '\"observe\"', 'U0GONER')")
    assert command("forget", "--user", "U0GONER", "--dry-run", "--json").json == {
        "dry_run": True,
        "rows": {"switches": 1},
    }
    assert command("forget", "--user", "U0GONER", "--yes").out == "switches: 1 rows have lost their id\n"
    assert command("forget", "--user", "U0GONER", "--yes").out == "Nothing is stored.\n"
    lines = command("audit", "export").lines
    assert [(one["number"], one["what"], one["payload"]["rows"]) for one in lines] == [
        (1, "forgotten", {"switches": 1})
    ]
    found = command("audit", "verify", "--json").json
    assert found["broken_at"] is None
    assert command("audit", "verify", "--known", found["head"]).status == 0
    other = command("audit", "verify", "--known", f"1:{'0' * 64}")
    assert (other.status, "broken at row 1" in other.out) == (1, True)


def test_forgetting_a_channel_says_what_becomes_of_it_from_then_on(command: Command, database: str) -> None:
    from_now_on = "Threads that began there before now are not read again. What begins from now on is"
    assert from_now_on not in command("forget", "--channel", "C0SHOP", "--dry-run").out
    assert from_now_on in command("forget", "--channel", "C0SHOP", "--yes").out
    assert command("forget", "--channel", "C0SHOP", "--yes", "--json").json == {"dry_run": False, "rows": {}}


def test_the_card_of_an_open_incident_that_is_forgotten_asks_for_nothing(
    command: Command, database: str, conninfo: str
) -> None:
    with psycopg.connect(conninfo) as db:
        db.execute(
            "INSERT INTO incidents (id, identity, title, state, source, trusted, last_alert_at, opened_at, resolved_at)"
            " SELECT n, 'i' || n, 't', CASE n WHEN 1 THEN 'waiting' ELSE 'resolved' END, 'alertmanager', true, now(),"
            " now(), CASE n WHEN 1 THEN NULL ELSE now() END FROM generate_series(1, 2) AS n"
        )
        db.execute("INSERT INTO cards (incident_id, channel, ts) SELECT n, 'C1', n FROM generate_series(1, 2) AS n")
    assert command("forget", "--incident", "1", "--dry-run").status == 0
    for number in ("1", "2"):
        assert command("forget", "--incident", number, "--yes").status == 0
    with psycopg.connect(conninfo) as db:
        edits = db.execute("SELECT kind, channel, payload ->> 'ts', payload ->> 'text' FROM outbox").fetchall()
    assert edits == [("edit", "C1", "1", DELETED.format(1))]


def test_the_audit_log_is_verified(command: Command, database: str) -> None:
    command("pause")
    ended = command("audit", "verify", "--json")
    assert ended.status == 0
    assert ended.json == {"sealed": 0, "unsealed": 1, "erased": 0, "broken_at": None, "head": f"0:{'0' * 64}"}
    assert command("audit", "verify").out == "0 sealed rows, 1 waiting: whole\n"


# --- doctor -------------------------------------------------------------------------------------------------------


def test_doctor_has_a_line_a_check(command: Command, database: str) -> None:
    ended = command("doctor", "--button", "--json")
    assert ended.status == 0
    assert all(set(line) == {"check", "ok", "detail", "remedy"} for line in ended.lines)
    checks = [line["check"] for line in ended.lines]
    for name in ("database", "clock", "tables", "work", "slack", "channel", "policy", "kubernetes", "github", "argocd",
                 "models", "embedder", "cache", "calls"):  # fmt: skip
        assert name in checks
    assert checks[-1] == "button", "last, since a person has to press it"
    assert "✓ database: PostgreSQL" in command("doctor").out


@pytest.mark.parametrize(
    ("setting", "check"),
    [
        ("DATABASE_URL=postgresql://nobody@127.0.0.1:9/x", "database"),
        ("KUBECONFIG=/nowhere/kubeconfig", "kubernetes"),
        ("CODEHEALER_POLICY=/nowhere/policy.yaml", "policy"),
        ("SLACK_BOT_TOKEN=wrong", "slack"),
        ("REDIS_URL=redis://127.0.0.1:9/0", "cache"),
    ],
)
def test_doctor_names_what_is_wrong_and_what_to_do(
    command: Command, database: str, monkeypatch: pytest.MonkeyPatch, setting: str, check: str
) -> None:
    monkeypatch.setenv(*setting.split("=", 1))
    monkeypatch.setenv("SLACK_BASE_URL", "http://127.0.0.1:9/api/")
    ended = command("doctor", "--json")
    assert ended.status == 1
    bad = {line["check"]: line for line in ended.lines if not line["ok"]}
    assert check in bad
    assert bad[check]["detail"]
    assert bad[check]["remedy"]


def test_doctor_keeps_its_findings_when_a_check_meets_what_cannot_be_opened(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/x")
    monkeypatch.setenv("CODEHEALER_EMBED_MODEL_PATH", "x" * 5000)
    ended = command("doctor", "--json")
    assert ended.status == 1
    findings = {line["check"]: line for line in ended.lines}
    assert "File name too long" in findings["embedder"]["detail"]
    assert findings["policy"]["ok"]


def test_doctor_survives_systems_that_do_not_answer(
    command: Command, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "x")
    monkeypatch.setenv("GITHUB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ARGOCD_SERVER", "http://127.0.0.1:9")
    monkeypatch.setenv("ARGOCD_TOKEN", "x")
    ended = command("doctor", "--json")
    assert ended.status == 1
    assert {line["check"] for line in ended.lines if not line["ok"]} >= {"github", "argocd"}


def test_the_installed_program_is_the_same() -> None:
    assert shutil.which("codehealer", path=str(ROOT / ".venv" / "bin"))
    assert codehealer("--help").status == 0
