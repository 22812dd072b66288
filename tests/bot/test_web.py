"""Webhooks as hostile and clumsy senders send them, over a real socket into a real database."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import logging
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from handlers import inbox
from handlers.intake import MAX_BYTES
from tests.bot.edge import count, raw_request
from tests.bot.web_server import Server

PAYLOADS = Path(__file__).parents[1] / "payloads"
CRASHLOOP = (PAYLOADS / "alertmanager_crashloop.json").read_bytes()
WORKFLOW_RUN = (PAYLOADS / "github_workflow_run_failure.json").read_bytes()
SOON_S = 0.5


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
    server.ready["database"] = None
    intake = await server.http.get("/readyz/intake")
    assert (intake.status_code, intake.json()) == (200, {"ok": True, "checks": {"database": None}})
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
