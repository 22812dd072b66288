"""What /readyz says of a database, its tables, and what waits there."""

from dataclasses import fields, replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.doctor_standing import _clock, _work
from bot.readiness import INTAKE, behind, readiness, stuck
from bot.wiring import Health
from knowledge.store.measures import Measures
from tests.database import REVISIONS
from tests.handlers.conftest import engine
from tests.rows import opened

__all__ = ["engine"]

QUIET = Measures(**{field.name: 0 for field in fields(Measures)})  # type: ignore[arg-type]


def test_tables_of_an_older_version_are_behind_and_those_of_a_newer_are_not() -> None:
    assert behind(REVISIONS[-1]) is None
    assert behind("9999_of_a_newer_version") is None
    for revision in (None, REVISIONS[0], REVISIONS[-2]):
        said = behind(revision)
        assert said
        assert "codehealer migrate" in said


@pytest.mark.parametrize(
    ("figure", "seconds", "part"),
    [("inbox_oldest_s", 61, "inbox"), ("jobs_oldest_s", 301, "jobs"), ("outbox_oldest_s", 901, "outbox"),
     ("leader_seen_s", 91, "leader")],
)  # fmt: skip
def test_what_waits_for_too_long_is_stuck(figure: str, seconds: int, part: str) -> None:
    assert set(stuck(QUIET).values()) == {None}
    said = stuck(replace(QUIET, **{figure: float(seconds)}))  # type: ignore[arg-type]
    assert [name for name, why in said.items() if why] == [part]
    assert f"{seconds} s" in (said[part] or "")


async def test_each_part_is_told_of_and_the_database_first_of_all(engine: AsyncEngine) -> None:
    ready = readiness(engine, {"Slack": lambda: "not connected"})
    found = await ready()
    assert {name for name, why in found.items() if why} == {"Slack"}
    assert set(INTAKE) < set(found)
    async with engine.begin() as db:
        await db.execute(text("UPDATE alembic_version SET version_num = '0003_model_calls'"))
    assert "0003_model_calls" in ((await ready())["tables"] or "")
    async with opened("postgresql://nobody@127.0.0.1:1/none") as gone:
        found = await readiness(gone, {})()
    assert set(found) == {"database"}
    assert found["database"]


async def test_what_only_the_leader_knows_is_told_while_it_leads(engine: AsyncEngine) -> None:
    health = Health()
    ready = readiness(engine, health.checks)
    with health.also("watch", lambda: "Events of shop: forbidden"):
        assert (await ready())["watch"] == "Events of shop: forbidden"
    assert "watch" not in await ready()


@pytest.mark.parametrize(
    ("changes", "ok", "words"),
    [
        ({}, True, "nothing waits"),
        ({"jobs_oldest_s": 400.0}, False, "jobs: "),
        ({"leader_seen_s": 4000.0}, True, "nothing waits"),
        ({"jobs_dead": 2}, False, "2 jobs were given up"),
        ({"paused": True}, True, "paused by codehealer pause"),
    ],
)
def test_doctor_tells_of_work_that_hangs(changes: dict[str, float], words: str, *, ok: bool) -> None:
    found = _work("", replace(QUIET, **changes))  # type: ignore[arg-type]
    assert (found.ok, words in found.detail) == (ok, True)
    assert found.remedy or ok


def test_doctor_tells_of_a_clock_that_is_off() -> None:
    assert _clock(timedelta(seconds=2)).ok
    off = _clock(timedelta(seconds=-40))
    assert (off.ok, off.detail) == (False, "40.0 s behind the database's")
