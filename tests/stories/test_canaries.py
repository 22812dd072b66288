"""A secret planted in each input is found in no sink: database, Slack, models, logs, metrics, traces, command line.

docs/security.md names the inputs and the sinks.
"""

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest_asyncio
import yaml
from aiohttp import web
from psycopg import sql

from tests.aws import moto_server, new_queue
from tests.bot.edge import codehealer
from tests.knowledge.model_server import Asked, Says, nvidia_settings, serving
from tests.stories.stage import ALERTS, BOT, DEPLOYMENTS, ONCALL, Json, Stage, text_of

# Joined here, so that no scanner takes this file for a leak. Each is of a shape of its own.
CANARIES = {
    "webhook body": "gh" + "p_" + "b0dyB0dyB0dy" * 3,
    "webhook header": "xox" + "b-1234567890-1234567890-h3aderH3aderH3ader",
    "refused delivery": "r3fusedR3fusedR3fusedR3fused" + "99",
    "Slack message": "sk-" + "ant-api03-m3ssageM3ssageM3ssage" * 2,
    "Slack file": "AK" + "IAF1LEF1LEF1LEF1LE",
    "Slack thread": "thr3adThr3ad" + "Passw0rd",
    "slash command": "gl" + "pat-c0mmandC0mmandC0mm",
    "event of the cluster": "3ventEventPassw0rd",
    "commit message": "github_" + "pat_11C0MM1TC0MM1TC0MM1T_" + "c0mmit" * 9 + "abcde",
    "model's reply": "hf" + "_r3plyReplyR3plyReplyR3plyReplyR3pl",
    "comment of a rejection": "np" + "m_c0mmentC0mmentC0mmentC0mmentC0mmentC",
    "message of a queue": "AIza" + "Sy" + "qu3ueQueueQu3ueQueueQu3ueQueueQu3",
}
SCENARIO = "release-crash-orders"  # its pods log a password and an access key: the thirteenth input


def shape(name: str) -> str:
    """The canary as people and programs write such a thing."""
    secret = CANARIES[name]
    if name in {"Slack thread", "event of the cluster"}:
        return f"connecting to postgresql://shop:{secret}@db.shared:5432/shop"
    return f"login failed with token={secret} today"


@dataclass
class Watched:
    """A stage with a model that leaks and a queue; what the model was asked and the collector of traces was sent."""

    stage: Stage
    queue: Any
    asked: list[Asked]
    traces: list[str]


@pytest_asyncio.fixture
async def watched(database_url: str, tmp_path: Path) -> AsyncIterator[Watched]:
    said = {
        "kind": "crashloop", "confidence": 0.9, "cause": shape("model's reply"), "summary": shape("model's reply"),
        "fixability": "auto", "quotes": [], "action": None, "ruled_out": [],
    }  # fmt: skip
    async with serving(lambda _asked: Says(json.dumps(said))) as server, collecting() as (address, traces):
        settings = {**nvidia_settings(server), "OTEL_EXPORTER_OTLP_ENDPOINT": address}
        stage = Stage(database_url, tmp_path, settings=settings)
        with moto_server() as aws:
            try:
                await stage.open_sandbox()
                queue = await new_queue(stage.http, aws)
                stage.settings |= {**aws, "SQS_QUEUE_URL": queue.url}
                await stage.start_bot()
                yield Watched(stage, queue, server.asked, traces)
            finally:
                await stage.close()


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[str, list[str]]]:
    """The address of a collector of traces, and what it was sent."""
    sent: list[str] = []

    async def collect(request: web.Request) -> web.Response:
        sent.append((await request.read()).decode("utf-8", "replace"))
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", sent
    finally:
        await runner.cleanup()


async def _hook(stage: Stage, source: str, body: Json, **headers: str) -> int:
    raw = json.dumps(body).encode()
    signature = hmac.new(stage.env["GITHUB_WEBHOOK_SECRET"].encode(), raw, hashlib.sha256).hexdigest()
    signed = {"X-Hub-Signature-256": f"sha256={signature}"} if source == "github" else {}
    bearer = {"Authorization": f"Bearer {stage.env['CODEHEALER_WEBHOOK_TOKEN']}"}
    answer = await stage.http.post(f"{stage.webhooks}/{source}", content=raw, headers={**bearer, **signed, **headers})
    return answer.status_code


def alert(name: str, words: str) -> Json:
    labels = {"alertname": name, "severity": "critical", "namespace": "shop", "deployment": "orders"}
    one = {"status": "firing", "labels": labels, "annotations": {"summary": words}, "startsAt": "2026-11-01T00:00:00Z"}
    return {"version": "4", "status": "firing", "alerts": [{**one, "fingerprint": name}]}


async def plant(stage: Stage, queue: Any) -> str:
    """Every canary into its input. Answers with the pods' log as the cluster has it."""
    config = yaml.safe_load(Path(stage.env["KUBECONFIG"]).read_text())  # noqa: ASYNC240  a small file
    server, token = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    event = {
        "metadata": {"generateName": "orders."}, "type": "Warning", "reason": "Unhealthy", "count": 1,
        "involvedObject": {"kind": "Deployment", "name": "orders", "namespace": "shop"},
        "message": shape("event of the cluster"), "lastTimestamp": "2026-11-28T00:00:00Z",
    }  # fmt: skip
    made = await stage.http.post(f"{server}/api/v1/namespaces/shop/events", json=event, headers=bearer)
    assert made.status_code == 201, made.text
    await stage.break_(SCENARIO)
    card = await stage.card("Waiting for approval", about="orders")

    refused = {"Authorization": f"Bearer {CANARIES['refused delivery']}"}
    assert await _hook(stage, "alertmanager", alert("Refused", "x"), **refused) == 401
    header = {"X-Trace": shape("webhook header"), "User-Agent": shape("webhook header")}
    assert await _hook(stage, "alertmanager", alert("Planted", shape("webhook body")), **header) == 202
    run = {
        "id": 77, "name": "CI", "head_branch": "main", "head_sha": "a" * 40, "run_attempt": 1, "status": "completed",
        "conclusion": "failure", "html_url": "https://github.example/acme/orders/actions/runs/77", "event": "push",
        "head_commit": {"id": "a" * 40, "message": shape("commit message"), "author": {"name": "ann"}},
        "display_title": shape("commit message"), "created_at": "2026-11-01T00:00:00Z",
    }  # fmt: skip
    body = {"action": "completed", "workflow_run": run, "repository": {"full_name": "acme/unlisted"}}
    event_headers = {"X-GitHub-Event": "workflow_run", "X-GitHub-Delivery": "one"}
    assert await _hook(stage, "github", body, **event_headers) == 202
    await queue.send([json.dumps(alert("Queued", shape("message of a queue")))])

    parent = await stage.do(
        "post", user=ONCALL, channel=ALERTS, text=f"deploy broke\n```\n{shape('Slack thread')}\n```"
    )
    words = f"<@{BOT}> any idea?\n```\nerror: {shape('Slack message')}\npanic: exit status 1\n```"
    file = {"name": "build.log", "content": f"error: aws_access_key_id={CANARIES['Slack file']}\nfatal: exit 1\n"}
    await stage.do("post", user=ONCALL, channel=ALERTS, text=words, thread_ts=parent["ts"], file=file)
    await stage.thread(parent, "Answered by", channel=ALERTS)
    command = f"search {shape('slash command')}"
    await stage.do("command", user=ONCALL, channel=DEPLOYMENTS, command="/codehealer", text=command)
    await stage.reject(card, "right_cause_wrong_fix", comment=shape("comment of a rejection"))
    await stage.thread(card, "rejected")
    for name, words in (("evidence", "All that was collected"), ("postmortem", "A draft of the postmortem")):
        await stage.do("command", user=ONCALL, channel=DEPLOYMENTS, command="/codehealer", text=f"{name} 1")
        await stage.thread(card, words)

    async def arrived() -> bool:
        text = await database(stage)
        return all(word in text for word in ("Planted", "Queued", "acme/unlisted"))

    await stage.until(arrived, "what came by webhook and queue is stored")
    pods = f"{server}/api/v1/namespaces/shop/pods"
    listed = (await stage.http.get(pods, headers=bearer)).json()["items"]
    names = [pod["metadata"]["name"] for pod in listed if pod["metadata"]["name"].startswith("orders-")]
    # A container that starts again has said nothing yet; the one before it has.
    addresses = [f"{pods}/{name}/log{query}" for name in names for query in ("", "?previous=true")]
    return "\n".join([(await stage.http.get(address, headers=bearer)).text for address in addresses])


async def database(stage: Stage) -> str:
    """Every row of every table as text; binary values by their bytes."""
    parts = []
    async with await psycopg.AsyncConnection.connect(stage.database_url.replace("+psycopg", "")) as db:
        tables = await (await db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).fetchall()
        for (table,) in tables:
            query = sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))
            rows = await (await db.execute(query)).fetchall()
            parts += [row[0] for row in rows]
    text = "\n".join(parts)
    hidden = [bytes.fromhex(found) for found in re.findall(r"\\x((?:[0-9a-f]{2})+)", text)]
    return text + "\n".join(one.decode("utf-8", "replace") for one in hidden)


async def said_in_slack(stage: Stage) -> str:
    """What the bot posted, edited, answered and uploaded, in every channel and thread that was used, and a Home."""
    posts = []
    for channel in (ALERTS, DEPLOYMENTS):
        for message in await stage.messages(channel):
            replies = await stage.messages(channel, thread_ts=message["ts"])
            for one in (message, *replies):
                if one.get("user") == BOT:
                    posts += [text_of(one), *[await uploaded(stage, file) for file in one.get("files", [])]]
    posts.append(json.dumps(await stage.do("home", user=ONCALL)))
    return "\n".join(posts)


async def uploaded(stage: Stage, file: Json) -> str:
    bearer = {"Authorization": f"Bearer {stage.env['SLACK_BOT_TOKEN']}"}
    answer = await stage.http.get(file["url_private_download"], headers=bearer)
    assert answer.status_code == 200
    return answer.text


async def command_line(stage: Stage) -> str:
    """What the commands tell of an incident, on both outputs. The model that one of them asks is in this process."""
    commands = ("incidents list", "incidents show 1", "incidents postmortem 1", "audit export")
    ended = [
        await asyncio.to_thread(codehealer, *command.split(), "--json", env=stage.environment) for command in commands
    ]
    assert {one.status for one in ended} == {0}, [one.words for one in ended]
    return "\n".join(one.out + one.words for one in ended)


async def test_a_secret_planted_in_any_input_is_found_in_no_sink(watched: Watched) -> None:
    stage = watched.stage
    logs = await plant(stage, watched.queue)
    found = re.search(r"postgresql://orders:([0-9a-f]{16})@", logs)
    key = re.search(r'"access_key_id":"(\w+)"', logs)
    assert found is not None
    assert key is not None
    canaries = {**CANARIES, "log of a pod, a password": found[1], "log of a pod, a key": key[1]}

    metrics = await stage.http.get(stage.webhooks.replace("/webhooks", "/metrics"))

    async def traced() -> bool:
        return len("".join(watched.traces)) > 500

    await stage.until(traced, "traces are sent")
    sinks = {
        "database": await database(stage),
        "Slack": await said_in_slack(stage),
        "models": "\n".join(one.raw for one in watched.asked),
        "logs": stage.bot_log(),
        "metrics": metrics.text,
        "traces": "\n".join(watched.traces),
        "command line": await command_line(stage),
    }

    assert all(word in sinks["command line"] for word in ("orders", "## Timeline", "decision"))
    assert "== " in sinks["Slack"], "the evidence was uploaded"
    assert all(len(text) > 500 for text in sinks.values()), {name: len(text) for name, text in sinks.items()}
    # The inputs were read, not lost on the way: what surrounds the secrets is there.
    assert sinks["database"].count("[redacted:") > len(CANARIES)
    leaks = [(canary, sink) for canary, secret in canaries.items() for sink, text in sinks.items() if secret in text]
    assert leaks == []
