"""Who comes to the web server too fast, too slowly, by other ways, and as a real Alertmanager does."""

import asyncio
import gc
import json
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from aiohttp.web_protocol import RequestHandler

from bot.gate import Limits
from handlers import hushing, inbox
from handlers.sources.sns import CONFIRMATION
from knowledge.errors import Unavailable
from knowledge.redaction import redact_value
from knowledge.store import held, incidents
from remediation.alertmanager import AlertmanagerServer
from remediation.policy import parse_policy
from remediation.sns import Sns
from tests.amazon import certificate_of, new_key, sns_message
from tests.bot.web_server import Server, beside
from tests.programs import need_program

CRASHLOOP = (Path(__file__).parents[1] / "payloads" / "alertmanager_crashloop.json").read_bytes()


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


async def test_a_connection_that_spoke_and_hung_up_is_not_kept_until_the_deadline(server: Server) -> None:
    def kept() -> int:
        gc.collect()
        return sum(isinstance(one, RequestHandler) for one in gc.get_objects())

    async with beside(server, deadline_s=3600) as patient:
        before = kept()
        for _ in range(5):
            assert (await patient.post("alertmanager", CRASHLOOP, {"Connection": "close"})).status_code == 401

        async def let_go() -> bool:
            return kept() <= before

        await until(let_go, "the connections are forgotten")


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


async def test_with_a_token_the_address_that_confirms_a_subscription_is_told_in_the_log(server: Server) -> None:
    topic, token = "arn:aws:sns:eu-west-1:1:alarms", "2336412f37fb687f5d51e6e2" * 8
    wanted = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={topic}&Token={token}"
    asked = {"Type": CONFIRMATION, "MessageId": "m1", "TopicArn": topic, "Token": token, "SubscribeURL": wanted}
    elsewhere = asked | {"MessageId": "m2", "SubscribeURL": "https://sns.eu-west-1.amazonaws.com.evil.example/"}
    alarm = {"Type": "Notification", "MessageId": "m3", "TopicArn": topic, "Message": "down"}
    with structlog.testing.capture_logs() as said:
        posts = [await server.post("cloudwatch", json.dumps(one).encode()) for one in (asked, elsewhere, alarm)]
        stranger = await server.post("cloudwatch", json.dumps(asked).encode(), {"Authorization": "Bearer stranger"})
    assert [*(one.status_code for one in posts), stranger.status_code] == [202, 202, 202, 401]
    told = [redact_value(one) for one in said if one["event"] == "subscription_to_confirm"]
    assert [(one["log_level"], one["topic"], one["address"]) for one in told] == [
        ("warning", topic, wanted),
        ("warning", topic, ""),
    ]


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
            # What Alertmanager told before its silence was in force it does not tell again: the clock finds it.
            await hushing.tell_what_lasted(services)
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
            gone = await client.http.delete(f"{client.server}/api/v2/silence/{number}")
            assert gone.status_code == 200, gone.text
        await until(lambda: has(("CheckoutDown", False), ("OrdersDown", True)), "the silence ended")
