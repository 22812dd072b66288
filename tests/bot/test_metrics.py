"""What /metrics shows is documented, drawn, watched, and true."""

import itertools
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.metrics import Metrics, exposition
from bot.metrics_page import described, page
from bot.outcomes import COUNTED_OF_APPROVALS, ENDED, Outcomes
from bot.pause_file import PauseFile
from bot.web import WebConfig, make_web_app
from handlers.services import Services
from knowledge import telemetry
from knowledge.model.knowing import OUTCOMES
from knowledge.store import audit, measures, outbox, switches
from remediation.policy_workflows import Workflow
from remediation.remediators import REMEDIATORS, adopt
from tests.handlers.conftest import engine
from tests.handlers.office import made_services
from tests.programs import need_program
from tests.rows import NOOP, S, an_incident, opened

__all__ = ["engine"]

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/rules.yml"
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
OURS = re.compile(r"\bcodehealer_\w+")


def dashboard_queries() -> list[str]:
    board = json.loads((ROOT / "deploy/grafana/codehealer.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return found


def test_the_page_is_made_from_the_metrics() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == page()


def test_what_is_drawn_and_watched_is_there_with_its_labels() -> None:
    known = {}
    for name, kind, labels, _ in described():
        known[name] = set(labels)
        if kind == "histogram":
            known |= {f"{name}_{part}": {*labels, "le"} for part in ("bucket", "sum", "count")}
    queries = [*dashboard_queries(), *(rule["expr"] for rule in rules())]
    assert len(queries) > 30
    for query in queries:
        assert set(OURS.findall(query)) <= known.keys(), query
        allowed = {"job", "instance"}.union(*(known[name] for name in OURS.findall(query)))
        by = {part.strip() for group in re.findall(r"by \(([^)]*)\)", query) for part in group.split(",")}
        matched = set(re.findall(r'(\w+)(?:=~|!=|=)"', query))
        assert by | matched <= allowed, query


def test_every_metric_is_drawn_or_watched() -> None:
    used = {
        name for query in [*dashboard_queries(), *(rule["expr"] for rule in rules())] for name in OURS.findall(query)
    }
    used = {re.sub("_(bucket|sum|count)$", "", name) for name in used}
    not_drawn = {name for name, *_ in described()} - used
    assert not_drawn == {
        "codehealer_figures_known", "codehealer_leader_seen_seconds",
        "codehealer_incident_outcomes_total", "codehealer_jobs_total", "codehealer_model_call_seconds",
        "codehealer_model_tokens_total", "codehealer_remembered_items",
    }  # fmt: skip


def test_prometheus_takes_the_rules() -> None:
    ended = subprocess.run(
        [need_program("promtool"), "check", "rules", RULES], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def watched(folder: Path, alert: str, series: Mapping[str, str], firing: Mapping[str, int]) -> None:
    """Prometheus' own word on how many alerts of this name fire at each time after a start with these series."""
    test = {
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": count}],
            }
            for at, count in firing.items()
        ],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    ended = subprocess.run(
        [need_program("promtool"), "test", "rules", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def samples(shown: bytes) -> dict[str, float]:
    """Each series as Prometheus names it, and its value."""
    found = [one for family in text_string_to_metric_families(shown.decode()) for one in family.samples]
    return {
        one.name + "{" + ", ".join(f'{label}="{of}"' for label, of in sorted(one.labels.items())) + "}": one.value
        for one in found
    }


@pytest.fixture
def new_process() -> None:
    """Nothing has been counted yet."""
    for counter in telemetry.OUTCOMES.values():
        counter.clear()


@pytest.mark.usefixtures("new_process")
async def test_what_may_be_counted_is_shown_before_there_is_any() -> None:
    async with opened(NOWHERE) as gone:
        shown = samples(await exposition(gone, Metrics.make(), str))
    for action in REMEDIATORS:
        assert shown[f'codehealer_wrong_actions_total{{action="{action}"}}'] == 0
        for result in ENDED:
            assert shown[f'codehealer_executions_total{{action="{action}", result="{result}"}}'] == 0
    assert "k8s_scale" in REMEDIATORS
    for verdict in ("auto", "ask", "blocked"):
        assert shown[f'codehealer_decisions_total{{verdict="{verdict}"}}'] == 0
    for verdict, undone in itertools.product(("verified", "not_verified", "worse"), ("yes", "no")):
        assert shown[f'codehealer_verifications_total{{undone="{undone}", verdict="{verdict}"}}'] == 0
    for result in COUNTED_OF_APPROVALS:
        assert shown[f'codehealer_approvals_total{{result="{result}"}}'] == 0
    for outcome in OUTCOMES:
        assert shown[f'codehealer_incident_outcomes_total{{outcome="{outcome}"}}'] == 0
    for surface in ("message", "view"):
        assert shown[f'codehealer_slack_refused_blocks_total{{surface="{surface}"}}'] == 0
    for result in ("sent", "withheld"):
        assert shown[f'codehealer_heartbeats_total{{result="{result}"}}'] == 0
    for result in ("stored", "repeated", "unhandled", "failed"):
        assert shown[f'codehealer_slack_envelopes_total{{result="{result}"}}'] == 0
    for what in ("opened", "replaced", "lost", "refused"):
        assert shown[f'codehealer_slack_links_total{{what="{what}"}}'] == 0


@pytest.mark.usefixtures("new_process")
async def test_a_workflow_of_the_policys_is_shown_from_when_it_is_there() -> None:
    name = "workflow_purge"
    spec = Workflow.model_validate(
        {"name": "purge", "title": "Purge it", "kinds": ["crashloop"], "webhook": {"url": "https://a.example/purge"}}
    )
    async with opened(NOWHERE) as gone:
        metrics = Metrics.make()
        wanted = f'codehealer_wrong_actions_total{{action="{name}"}}'
        assert wanted not in samples(await exposition(gone, metrics, str))
        adopt([spec])
        try:
            assert samples(await exposition(gone, metrics, str))[wanted] == 0
        finally:
            adopt(())


@pytest.mark.usefixtures("new_process")
async def test_the_first_wrong_action_and_the_first_refused_blocks_of_a_process_are_seen(tmp_path: Path) -> None:
    metrics = Metrics.make()
    async with opened(NOWHERE) as gone:
        before = samples(await exposition(gone, metrics, str))
        telemetry.OUTCOMES["wrong"].labels("k8s_scale").inc()
        metrics.refused_blocks.labels("view").inc()
        after = samples(await exposition(gone, metrics, str))
    for alert, series in (
        ("CodeHealerWrongAction", 'codehealer_wrong_actions_total{action="k8s_scale"}'),
        ("CodeHealerBlocksRefused", 'codehealer_slack_refused_blocks_total{surface="view"}'),
    ):
        then, now = before.get(series, "_"), after[series]
        watched(tmp_path, alert, {series: f"{then} {then} {now} {now} {now}"}, {"1m": 0, "4m": 1})


def test_a_pause_is_long_when_it_has_lasted_and_not_because_a_process_is_new(tmp_path: Path) -> None:
    """Replicas are replaced meanwhile, and one that comes while a pause holds has never been anything else."""
    series = {
        'codehealer_paused{instance="a"}': "0x300 1x120 stale",
        'codehealer_paused{instance="b"}': "_x400 1x700 0x200",
    }
    watched(tmp_path, "CodeHealerPausedForLong", series, {"406m": 0, "1000m": 0, "1025m": 1, "1105m": 0})


def test_a_pause_of_one_replica_alone_is_told_too(tmp_path: Path) -> None:
    series = {'codehealer_paused{instance="a"}': "1x800", 'codehealer_paused{instance="b"}': "0x800"}
    watched(tmp_path, "CodeHealerPausedForLong", series, {"5m": 0, "725m": 1})


async def test_a_pause_is_shown_whoever_made_it(engine: AsyncEngine, database_url: str, tmp_path: Path) -> None:
    services = made_services(engine, None, database_url)  # type: ignore[arg-type]  nothing is sent
    file = tmp_path / "paused"
    pause = PauseFile(str(file))
    services.halted = pause.word
    metrics = Metrics.make()

    async def checks() -> dict[str, str | None]:
        return {}

    async def shown(client: TestClient[Any, Any]) -> str:
        metrics.memo.at = float("-inf")  # as after five seconds
        answer = await client.get("/metrics")
        (line,) = [one for one in (await answer.text()).splitlines() if one.startswith("codehealer_paused ")]
        return line.removeprefix("codehealer_paused ")

    async def by_switch(on: bool) -> None:
        async with engine.begin() as db:
            await switches.write(db, switches.PAUSED, on, by="U1")

    web_app = make_web_app(services, WebConfig({}, checks, metrics))
    async with TestClient(TestServer(web_app)) as client:
        await pause.look()
        assert await shown(client) == "0.0"
        file.touch()
        await pause.look()
        assert await shown(client) == "1.0"
        await by_switch(True)
        assert await shown(client) == "1.0"
        file.unlink()
        await pause.look()
        assert await shown(client) == "1.0"
        await by_switch(False)
        assert await shown(client) == "0.0"


async def test_what_waits_is_counted_with_its_age(engine: AsyncEngine, database_url: str) -> None:
    services = made_services(engine, None, database_url)  # type: ignore[arg-type]  nothing is sent
    async with engine.begin() as db:
        await db.execute(
            text(
                "INSERT INTO deliveries (source, delivery_id, event, body, received_at) VALUES "
                "('generic', 'a', 'alerts', '{}', now() - interval '50 s'), ('generic', 'b', 'alerts', '{}', now())"
            )
        )
        await outbox.put(db, kind="post", key="k", channel="C1", payload={"text": "x"})
        await services.jobs.enqueue(db, "learn", lock="a", incident_id=1)
        await services.jobs.enqueue(db, "learn", lock="b", delay_s=500, incident_id=1)
        await switches.write(db, switches.PAUSED, True, by="U1")
        await switches.write(db, switches.BREAKER, "", by="U1")
        await audit.record(db, "something")
        incident = await an_incident(db)
        # Its card was refused, so what was to stand below it waits for ever; an edit of what is gone does as well.
        await outbox.put(db, kind="post", key="below", channel="C1", payload={"in_thread": True, "text": "x"},
                         incident_id=incident.id)  # fmt: skip
        await outbox.show_summary(db, "gone", "C1", in_s=0)
        await db.execute(text("UPDATE outbox SET not_before = now() - interval '1 day' WHERE key <> 'k'"))
    async with engine.begin() as db:
        await db.execute(text("UPDATE procrastinate.procrastinate_events SET at = at - interval '40 s'"))
        found = await measures.measure(db)
    assert (found.inbox, found.jobs_due, found.jobs_later, found.outbox, found.audit_unsealed) == (2, 1, 1, 1, 1)
    assert (found.paused, found.breaker, found.incidents_open) == (True, False, 1)
    assert 50 <= found.inbox_oldest_s < 110
    assert found.outbox_oldest_s < 60
    assert 40 <= found.jobs_oldest_s < 100
    metrics = Metrics.make()
    shown = (await exposition(engine, metrics, str)).decode()
    assert 'codehealer_waiting{queue="inbox"} 2.0' in shown
    assert "codehealer_paused 1.0" in shown
    assert "codehealer_figures_known 1.0" in shown
    assert "codehealer_jobs_total" in shown


async def test_without_the_database_the_scrape_still_answers() -> None:
    async with opened(NOWHERE) as gone:
        shown = (await exposition(gone, Metrics.make(), str)).decode()
    assert "codehealer_figures_known 0.0" in shown
    assert "codehealer_webhook_seconds_count" in shown


def counted(name: str, **labels: str) -> float:
    return telemetry.REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize("seals", [1, 3])
async def test_what_became_of_incidents_is_counted_once(engine: AsyncEngine, database_url: str, seals: int) -> None:
    services: Services = made_services(engine, None, database_url)  # type: ignore[arg-type]  nothing is sent
    outcomes = Outcomes()
    async with engine.begin() as db:
        await audit.record(db, "lesson", outcome="before this process led")
        await audit.seal(db)
    await outcomes.tick(services)
    watched = {
        ("codehealer_decisions_total", ("verdict", "auto")): 1,
        ("codehealer_approvals_total", ("result", "approved")): 1,
        ("codehealer_executions_total", ("action", NOOP.name), ("result", "acted")): 1,
        ("codehealer_verifications_total", ("verdict", "worse"), ("undone", "yes")): 1,
        ("codehealer_wrong_actions_total", ("action", NOOP.name)): 1,
        ("codehealer_incident_outcomes_total", ("outcome", "worse")): 1,
        ("codehealer_incident_outcomes_total", ("outcome", "before this process led")): 0,
        ("codehealer_stage_lag_seconds_count", ("stage", "decision")): 1,
    }
    before = {key: counted(key[0], **dict(key[1:])) for key in watched}  # type: ignore[arg-type]
    async with engine.begin() as db:
        incident = await an_incident(db, state=S.DIAGNOSING)
        about = {"incident_id": incident.id}
        await audit.record(db, "incident.opened", **about)
        await audit.record(db, "decision", verdict="auto", **about)
        await audit.record(db, "approval.vote", approval=1, **about)
        await audit.record(db, "approval.approved", approval=1, **about)
        await audit.record(db, "execution.queued", **about)
        await audit.record(db, "execution.acted", action=NOOP.name, **about)
        await audit.record(db, "verification", action=NOOP.name, verdict="worse", undone=True, **about)
        await audit.record(db, "lesson", outcome="worse", **about)
    for _ in range(seals):
        async with engine.begin() as db:
            await audit.seal(db, batch=3 if seals > 1 else 1000)
        await outcomes.tick(services)
    await outcomes.tick(services)
    after = {key: counted(key[0], **dict(key[1:])) for key in watched}  # type: ignore[arg-type]
    assert {key: after[key] - before[key] for key in watched} == watched
