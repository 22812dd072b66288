"""Webhooks as hostile and clumsy senders send them, over a real socket into a real database."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import logging
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from aiohttp import web

from bot.gate import Limits, serving
from bot.settings import load_settings
from bot.web import Metrics, WebConfig, make_web_app
from bot.wiring import open_services, webhook_secrets
from handlers import inbox
from handlers.intake import MAX_BYTES
from handlers.services import Services
from handlers.sources.sns import CONFIRMATION
from knowledge.errors import Unavailable
from knowledge.store import held, incidents
from remediation.alertmanager import AlertmanagerServer
from remediation.policy import parse_policy
from remediation.sns import Sns
from tests.amazon import certificate_of, new_key, sns_message
from tests.bot.edge import count, raw_request, sandbox_process
from tests.programs import need_program

PAYLOADS = Path(__file__).parents[1] / "payloads"
CRASHLOOP = (PAYLOADS / "alertmanager_crashloop.json").read_bytes()
WORKFLOW_RUN = (PAYLOADS / "github_workflow_run_failure.json").read_bytes()
SOON_S = 0.5


@dataclass
class Server:
    """The web server under test."""

    port: int
    env: Mapping[str, str]
    services: Services
    conninfo: str
    http: httpx.AsyncClient
    ready: dict[str, str | None]

    @property
    def token(self) -> str:
        return self.env["CODEHEALER_WEBHOOK_TOKEN"]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def post(self, source: str, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        sent = self.bearer if headers is None else headers
        return await self.http.post(f"/webhooks/{source}", content=body, headers=dict(sent))

    async def stored(self) -> int:
        return await count(self.conninfo, "deliveries")


@pytest.fixture(scope="module")
def sandbox_env() -> Iterator[dict[str, str]]:
    with sandbox_process() as greeting:
        yield greeting["env"]


@pytest_asyncio.fixture
async def server(sandbox_env: dict[str, str], database_url: str, conninfo: str) -> AsyncIterator[Server]:
    settings = load_settings(**sandbox_env)
    ready: dict[str, str | None] = {"Slack": None}

    async def checks() -> dict[str, str | None]:
        return ready

    async with open_services(settings, database_url) as program:
        config = WebConfig(webhook_secrets(settings, {}), checks, Metrics.make(), read_deadline_s=SOON_S)
        runner = web.AppRunner(make_web_app(program.services, config), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
                yield Server(port, sandbox_env, program.services, conninfo, http, ready)
        finally:
            await runner.cleanup()


def signed(server: Server, body: bytes, **more: str) -> dict[str, str]:
    key = server.env["GITHUB_WEBHOOK_SECRET"].encode()
    signature = f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"
    return {"X-Hub-Signature-256": signature, "X-GitHub-Event": "workflow_run", **more}


def deep(levels: int) -> bytes:
    return b'{"alerts":' + b"[" * levels + b"]" * levels + b"}"


async def refused(server: Server, answer: httpx.Response, status: int) -> str:
    """The one sentence of a refusal that stored nothing and broke nothing."""
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert said["accepted"] is False
    assert len(said["error"]) < 300
    assert "\n" not in said["error"]
    assert said["error"][0].isupper()
    assert said["error"].endswith((".", ")"))
    assert await server.stored() == 0
    assert (await server.http.get("/healthz")).status_code == 200
    return str(said["error"])


UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "words": b"the deployment is broken",
    "half": CRASHLOOP[: len(CRASHLOOP) // 2],
    "an array": b"[" + CRASHLOOP + b"]",
    "a number": b"5",
    "null": b"null",
    "a text": b'"firing"',
    "not UTF-8": b'{"alerts": "\xff\xfe"}',
    "NUL bytes": b"\0" * 100,
    "a bare NUL": b'{"alerts": "a\0b"}',
    "5,000 deep": deep(5_000),
    "100,000 deep": deep(100_000),
    "deep and unclosed": b'{"a":' * 50_000,
    "NaN": b'{"alerts": NaN}',
    "alerts is a text": b'{"alerts": "firing"}',
    "alerts of numbers": b'{"alerts": [1, 2]}',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_body_that_cannot_be_read_is_refused_in_one_sentence(server: Server, body: bytes) -> None:
    await refused(server, await server.post("alertmanager", body), 400)


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: Server) -> None:
    answer = await server.post("alertmanager", b'{"a": "' + b"x" * MAX_BYTES + b'"}')
    assert str(MAX_BYTES) in await refused(server, answer, 413)


async def test_a_bomb_of_compressed_bytes_is_refused(server: Server) -> None:
    bomb = gzip.compress(b'{"a": "' + b"x" * 50_000_000 + b'"}')
    assert len(bomb) < MAX_BYTES
    await refused(server, await server.post("alertmanager", bomb, {**server.bearer, "Content-Encoding": "gzip"}), 413)


async def test_bytes_that_are_not_what_their_encoding_says_are_refused(server: Server) -> None:
    headers = {**server.bearer, "Content-Encoding": "gzip"}
    await refused(server, await server.post("alertmanager", CRASHLOOP, headers), 400)


@pytest.mark.parametrize("source", ["nagios", "slack", "%00", "..%2fhealthz", "x" * 5_000])
async def test_a_source_that_is_unknown_or_off_is_not_there(server: Server, source: str) -> None:
    await refused(server, await server.post(source, CRASHLOOP), 404)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer " + "x" * 5_000},
        {"Authorization": "\xff\xfe"},
    ],
    ids=["none", "wrong", "empty", "no base64", "long", "not ASCII"],
)
async def test_an_unsigned_alert_is_refused(server: Server, headers: dict[str, str]) -> None:
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = await server.http.post("/webhooks/alertmanager", content=CRASHLOOP, headers=sent)
    await refused(server, answer, 401)


@pytest.mark.parametrize("spoil", ["missing", "other body", "sha1", "other key"])
async def test_a_wrongly_signed_delivery_is_refused(server: Server, spoil: str) -> None:
    headers = signed(server, WORKFLOW_RUN)
    if spoil == "missing":
        del headers["X-Hub-Signature-256"]
    elif spoil == "other body":
        headers = signed(server, WORKFLOW_RUN + b" ")
    elif spoil == "sha1":
        headers["X-Hub-Signature-256"] = "sha1=" + "0" * 40
    else:
        digest = hmac.new(b"guess", WORKFLOW_RUN, hashlib.sha256).hexdigest()
        headers["X-Hub-Signature-256"] = f"sha256={digest}"
    await refused(server, await server.post("github", WORKFLOW_RUN, headers), 401)


async def test_the_password_of_basic_authentication_is_the_token(server: Server) -> None:
    given = base64.b64encode(f"anybody:{server.env['CODEHEALER_WEBHOOK_TOKEN']}".encode()).decode()
    assert (await server.post("alertmanager", CRASHLOOP, {"Authorization": f"Basic {given}"})).status_code == 202


async def test_a_sender_that_trickles_its_body_is_not_waited_for(server: Server) -> None:
    head = (
        f"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nAuthorization: {server.bearer['Authorization']}\r\n"
        "Content-Length: 1000\r\n\r\n"
    ).encode()
    answer = await raw_request(server.port, head, more=b'{"alerts"')
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b"did not arrive within" in answer
    assert await server.stored() == 0


async def test_a_sender_that_hangs_up_in_the_middle_leaves_nothing(server: Server) -> None:
    head = b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
    _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await server.http.get("/healthz")).status_code == 200
    assert await server.stored() == 0


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /webhooks/x HTTP/1.1\r\nA\0B: c\r\n\r\n",
    ],
    ids=["TLS", "no such HTTP", "NUL in a header"],
)
async def test_what_is_not_http_gets_400_and_the_next_request_an_answer(server: Server, request_bytes: bytes) -> None:
    assert b" 400 " in (await raw_request(server.port, request_bytes)).split(b"\r\n")[0]
    assert (await server.http.get("/healthz")).status_code == 200


async def test_other_methods_and_paths_are_refused(server: Server) -> None:
    assert (await server.http.get("/webhooks/alertmanager")).status_code == 405
    assert (await server.http.get("/")).status_code == 404
    assert (await server.http.delete("/metrics")).status_code == 405


async def test_a_good_delivery_is_accepted_and_stored_without_its_secrets(server: Server) -> None:
    secret = "gh" + "p_" + "Zk3" * 12
    body = CRASHLOOP.replace(b"is in waiting state", f"cannot log in with {secret},".encode())
    answer = await server.post("alertmanager", body)
    assert answer.status_code == 202
    assert answer.json() == {"accepted": True, "alerts": 1, "repeat": False, "truncated": 0}
    async with await psycopg.AsyncConnection.connect(server.conninfo) as db:
        row = await (await db.execute("SELECT source, state, body::text FROM deliveries")).fetchone()
    assert row is not None
    assert (row[0], row[1]) == ("alertmanager", "new")
    assert secret not in row[2]
    assert "[redacted:" in row[2]
    assert "store" in row[2]


async def test_text_with_control_characters_is_stored_without_them(server: Server) -> None:
    body = CRASHLOOP.replace(b"Pod is crash looping.", rb"a\u0000b\ud800c\u001b[31m")
    assert (await server.post("alertmanager", body)).status_code == 202
    assert await server.stored() == 1


async def test_a_redelivery_changes_nothing(server: Server) -> None:
    headers = signed(server, WORKFLOW_RUN, **{"X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"})
    first, again = [await server.post("github", WORKFLOW_RUN, headers) for _ in range(2)]
    assert [first.status_code, again.status_code] == [202, 202]
    assert [first.json()["repeat"], again.json()["repeat"]] == [False, True]
    assert await server.stored() == 1


async def test_an_alert_that_is_sent_again_without_an_id_opens_no_second_incident(server: Server) -> None:
    for _ in range(3):
        assert (await server.post("alertmanager", CRASHLOOP)).status_code == 202
        await inbox.drain(server.services)
    assert await count(server.conninfo, "incidents") == 1
    assert await count(server.conninfo, "alerts") == 1


async def test_a_delivery_id_of_strange_bytes_does_no_harm(server: Server) -> None:
    headers: dict[str, Any] = dict(signed(server, WORKFLOW_RUN))
    headers["X-GitHub-Delivery"] = b"\xff\xfe\x80" + b"i" * 5_000
    answer = await server.http.post("/webhooks/github", content=WORKFLOW_RUN, headers=headers)
    assert answer.status_code in {202, 400}
    assert await server.stored() <= 1
    assert (await server.http.get("/healthz")).status_code == 200


async def test_without_the_database_the_sender_is_asked_to_send_again(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    name = server.services.engine.url.database
    async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True, dbname="postgres") as db:
        await db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        with caplog.at_level(logging.CRITICAL):
            down = await server.post("alertmanager", CRASHLOOP)
        await db.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert down.status_code == 503
    assert down.json() == {"accepted": False, "error": "The database does not answer; please send it again."}
    assert int(down.headers["Retry-After"]) > 0
    assert await server.stored() == 0
    assert (await server.post("alertmanager", CRASHLOOP)).status_code == 202


async def test_health_readiness_and_metrics(server: Server) -> None:
    assert (await server.http.get("/healthz")).json() == {"ok": True}
    good = await server.http.get("/readyz")
    assert (good.status_code, good.json()) == (200, {"ok": True, "checks": {"Slack": None}})
    server.ready["Slack"] = "not connected"
    bad = await server.http.get("/readyz")
    assert (bad.status_code, bad.json()) == (503, {"ok": False, "checks": {"Slack": "not connected"}})
    await server.post("alertmanager", CRASHLOOP)
    await server.post("alertmanager", b"{")
    await server.post("x" * 100, CRASHLOOP)
    metrics = await server.http.get("/metrics")
    assert metrics.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'codehealer_deliveries_total{result="accepted",source="alertmanager"} 1.0' in metrics.text
    assert 'codehealer_deliveries_total{result="refused",source="alertmanager"} 1.0' in metrics.text
    assert 'codehealer_deliveries_total{result="refused",source="unknown"} 1.0' in metrics.text
    assert "x" * 100 not in metrics.text
    assert "codehealer_webhook_seconds_count 3.0" in metrics.text


# --- who comes too fast, too slowly, or by other ways ---------------------------------------------------------------


@asynccontextmanager
async def beside(server: Server, **changes: Any) -> AsyncIterator[Server]:
    """The same services behind other settings of the web server."""
    deadline_s = changes.pop("deadline_s", 60.0)
    secrets = {"alertmanager": (server.token,), "generic": (server.token,), "cloudwatch": ()}

    async def checks() -> dict[str, str | None]:
        return {}

    services = replace(server.services, policy=changes.pop("policy", server.services.policy))
    runner = web.AppRunner(make_web_app(services, WebConfig(secrets, checks, Metrics.make(), **changes)))
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        async with (
            serving(runner, sock, deadline_s=deadline_s),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
        ):
            yield replace(server, port=port, http=http, services=services)
        await runner.cleanup()


async def test_a_source_that_comes_too_fast_is_told_when_to_come_again_and_strangers_do_not_count(
    server: Server,
) -> None:
    now = [100.0]
    async with beside(server, limits=Limits(2, clock=lambda: now[0])) as limited:
        stranger = {"Authorization": "Bearer stranger"}
        answers = [await limited.post("alertmanager", CRASHLOOP, stranger) for _ in range(3)]
        answers += [await limited.post("alertmanager", CRASHLOOP) for _ in range(3)]
        assert [one.status_code for one in answers] == [401, 401, 401, 202, 202, 429]
        assert answers[-1].headers["Retry-After"] == "30"
        assert "2 deliveries a minute" in answers[-1].json()["error"]
        assert answers[0].headers["WWW-Authenticate"].startswith("Basic ")
        assert (await limited.post("generic", b'{"title": "x"}')).status_code == 202
        now[0] += 30
        assert (await limited.post("alertmanager", CRASHLOOP)).status_code == 202


async def test_a_hundred_slow_clients_keep_nobody_waiting(server: Server) -> None:
    head = b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    async with beside(server) as open_to_all:
        slow = [await asyncio.open_connection("127.0.0.1", open_to_all.port) for _ in range(100)]
        for number, (_, writer) in enumerate(slow):
            writer.write([b"", head, head + b'\r\n{"alerts"', b"P"][number % 4])
        assert (await open_to_all.post("alertmanager", CRASHLOOP)).status_code == 202
        for _, writer in slow:
            writer.close()


async def test_a_connection_that_never_sends_the_head_of_a_request_is_closed(server: Server) -> None:
    async with beside(server, deadline_s=0.2) as strict:
        for words in (b"", b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", strict.port)
            writer.write(words)
            async with asyncio.timeout(60):
                assert await reader.read() == b""
            writer.close()


async def test_a_mapping_of_the_policy_has_a_path_of_its_own(server: Server) -> None:
    policy = parse_policy("version: 1\nwebhooks: {nagios: {title: service.name}}\n")
    async with beside(server, policy=policy) as mapped:
        assert (await mapped.post("generic/nagios", b'{"service": {"name": "x"}}')).status_code == 202
        wrong = await mapped.post("generic/nagios", b'{"service": {}}')
        assert (wrong.status_code, "`service.name`" in wrong.json()["error"]) == (400, True)
        assert (await mapped.post("generic/zabbix", b"{}")).status_code == 404
        assert (await mapped.post("alertmanager/nagios", CRASHLOOP)).status_code == 404


async def test_an_alarm_of_amazon_needs_its_signature_and_a_topic_of_ours_is_confirmed(server: Server) -> None:
    key, topic, fetched = new_key(), "arn:aws:sns:eu-west-1:1:alarms", []

    def amazon(request: httpx.Request) -> httpx.Response:
        fetched.append(str(request.url))
        return httpx.Response(200, content=certificate_of(key) if request.url.path.endswith(".pem") else b"<ok/>")

    wanted = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"
    now = datetime.now(UTC).isoformat()
    asked = sns_message(key, Type=CONFIRMATION, SubscribeURL=wanted, Token="t", TopicArn=topic, Timestamp=now)
    alarm = sns_message(key, TopicArn=topic, Timestamp=now, MessageId="m2")
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(amazon)) as http,
        beside(server, sns=Sns(http), sns_topics=frozenset({topic})) as signed,
    ):
        posts = [asked, alarm, alarm, alarm | {"Message": "{}"}, alarm | {"TopicArn": "arn:other"}, {}]
        answers = [await signed.post("cloudwatch", json.dumps(body).encode(), {}) for body in posts]
    assert [one.status_code for one in answers] == [202, 202, 202, 401, 401, 401]
    assert answers[2].json()["repeat"] is True
    assert fetched.count(wanted) == 1
    assert len(fetched) == 2  # the certificate was kept


# --- a real Alertmanager --------------------------------------------------------------------------------------------

CONFIG = """
route: {receiver: codehealer, group_by: [alertname], group_wait: 10ms, group_interval: 500ms, repeat_interval: 1h}
receivers:
  - name: codehealer
    webhook_configs:
      - url: URL
        send_resolved: true
        http_config: {authorization: {type: Bearer, credentials: TOKEN}}
"""


@asynccontextmanager
async def alertmanager(folder: Path, port: int, receiver: Server) -> AsyncIterator[AlertmanagerServer]:
    """Debian's Alertmanager, posting to the receiver; ready to be asked."""
    program = need_program("prometheus-alertmanager", "alertmanager")
    url = f"http://127.0.0.1:{receiver.port}/webhooks/alertmanager"
    config = folder / "alertmanager.yml"
    config.write_text(CONFIG.replace("URL", url).replace("TOKEN", receiver.token))
    arguments = [f"--config.file={config}", f"--storage.path={folder}", "--cluster.listen-address="]
    arguments.append(f"--web.listen-address=127.0.0.1:{port}")
    with subprocess.Popen([program, *arguments], stderr=subprocess.DEVNULL) as process:  # noqa: ASYNC220
        try:
            async with httpx.AsyncClient(timeout=60) as http:
                client = AlertmanagerServer(http, f"http://127.0.0.1:{port}")
                await until(lambda: reachable(client), "Alertmanager answers")
                yield client
        finally:
            process.terminate()


async def reachable(client: AlertmanagerServer) -> bool:
    try:
        return bool(await client.version())
    except Unavailable:
        return False


async def until(what: Callable[[], Awaitable[bool]], why: str) -> None:
    end = time.monotonic() + 50
    while time.monotonic() < end:
        if await what():
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"never came true: {why}")


async def test_a_real_alertmanager_tells_of_an_alert_of_its_end_and_of_its_silence(
    server: Server, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with beside(server) as web_server, alertmanager(tmp_path, unused_tcp_port, web_server) as client:
        services = replace(server.services, clients=replace(server.services.clients, silences=client))

        async def post(what: str, *bodies: dict[str, Any]) -> None:
            sent = list(bodies) if what == "alerts" else bodies[0]
            answer = await client.http.post(f"{client.server}/api/v2/{what}", json=sent)
            assert answer.status_code == 200, answer.text

        async def has(*wanted: tuple[str, bool]) -> bool:
            """(title, open) of all incidents, in order."""
            services.hush.ask_again_at = 0.0
            await inbox.drain(services)
            async with services.engine.connect() as db:
                found = await incidents.listed(db)
            return sorted((one.title, one.open) for one in found) == sorted(wanted)

        def labels(name: str, service: str) -> dict[str, Any]:
            return {"labels": {"alertname": name, "namespace": service, "deployment": service, "severity": "critical"}}

        now = datetime.now(UTC)
        down, quiet = labels("CheckoutDown", "shop"), labels("OrdersDown", "orders")
        silence = {
            "matchers": [{"name": "alertname", "value": "OrdersDown", "isRegex": False}], "comment": "known",
            "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(), "createdBy": "kim",
        }  # fmt: skip
        await post("silences", silence)
        await post("alerts", down, quiet)
        await until(lambda: has(("CheckoutDown", True)), "the alert came")
        # Another sender does not know of the silence.
        (row,) = [one for one in await client.alerts() if one["labels"]["alertname"] == "OrdersDown"]
        body = {"version": "4", "alerts": [{**row, "status": "firing"}]}
        assert (await web_server.post("alertmanager", json.dumps(body).encode())).status_code == 202
        assert await has(("CheckoutDown", True))
        async with services.engine.connect() as db:
            (kept,) = await held.listed(db)
        assert kept.why.endswith("by kim: known")
        await post("alerts", {**down, "endsAt": datetime.now(UTC).isoformat()})
        await until(lambda: has(("CheckoutDown", False)), "its end came")
        for number in row["status"]["silencedBy"]:
            await client.http.delete(f"{client.server}/api/v2/silence/{number}")
        await until(lambda: has(("CheckoutDown", False), ("OrdersDown", True)), "the silence ended")
