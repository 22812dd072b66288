"""incidents postmortem, as a person types it, on a database of its own."""

import asyncio
from pathlib import Path

import psycopg
import pytest
import stamina

from knowledge.model import IncidentState
from tests.bot.conftest import Command
from tests.knowledge.model_server import KEY, Says, serving
from tests.rows import an_execution, an_incident, opened

NUMBER = "1"


@pytest.fixture(autouse=True)
def incident(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)

    async def work() -> None:
        async with opened(database_url) as engine, engine.begin() as db:
            await an_execution(db, await an_incident(db, state=IncidentState.HEALED))

    asyncio.run(work())


def test_a_postmortem_needs_no_model_and_overwrites_nothing(command: Command, tmp_path: Path) -> None:
    ended = command("incidents", "postmortem", NUMBER, "--json")
    assert (ended.status, ended.words) == (0, "")
    assert (ended.json["incident"], ended.json["answered_by"]) == (1, "built-in")
    assert "- Crash loop, confidence 97 %" in ended.json["markdown"]
    assert "1 approval needed of `U0ONCALL`, `U0LEAD`" in ended.json["markdown"]
    assert "## Summary" not in ended.json["markdown"]
    assert command("incidents", "postmortem", NUMBER).out == ended.json["markdown"]

    file = tmp_path / "1.md"
    assert command("incidents", "postmortem", NUMBER, "--output", file).out == ""
    assert file.read_text() == ended.json["markdown"]
    file.write_text("What people made of it.")
    for path, said in ((file, "is there already"), (tmp_path / "no" / "1.md", "cannot be written: No such file")):
        again = command("incidents", "postmortem", NUMBER, "--output", path)
        assert again.status == 1
        assert said in again.words
        assert again.words.count("\n") == 1
    assert file.read_text() == "What people made of it."

    unknown = command("incidents", "postmortem", "77", "--output", tmp_path / "77.md")
    assert (unknown.status, unknown.words) == (2, command("incidents", "show", "77").words)
    assert not (tmp_path / "77.md").exists()


async def test_a_models_summary_comes_after_the_draft_and_its_failure_costs_nothing_else(
    command: Command, monkeypatch: pytest.MonkeyPatch, conninfo: str
) -> None:
    draft = (await asyncio.to_thread(command, "incidents", "postmortem", NUMBER)).out
    says = [Says(status=500), Says("It panicked.")]
    stamina.set_testing(True, attempts=1)
    try:
        async with serving(lambda _: says.pop(0)) as server:
            monkeypatch.setenv("NVIDIA_API_KEY", KEY)
            monkeypatch.setenv("NVIDIA_BASE_URL", server.base_url("nvidia"))
            monkeypatch.setenv("CODEHEALER_NVIDIA_MODELS", "model-a")
            failed = await asyncio.to_thread(command, "incidents", "postmortem", NUMBER)
            written = await asyncio.to_thread(command, "incidents", "postmortem", NUMBER, "--json")
    finally:
        stamina.set_testing(False)
    assert (failed.status, failed.out, failed.words) == (0, draft, "Note: NVIDIA: model-a: HTTP 500.\n")
    assert (written.status, written.words, written.json["answered_by"]) == (0, "", "nvidia:model-a")
    assert written.json["markdown"].startswith(f"{draft}\n## Summary (written by nvidia:model-a, machine made)\n\n> It")
    with psycopg.connect(conninfo) as db:
        calls = db.execute("SELECT incident_id, output_tokens, outcome FROM model_calls ORDER BY id").fetchall()
    assert calls == [(1, 0, "HTTP 500"), (1, 80, "answered")]
