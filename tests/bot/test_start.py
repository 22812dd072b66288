"""What a newcomer gets wrong at the start: one sentence that names it, and exit status 1."""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import last_world
from bot.migrating import migrate, standing
from bot.postgres import EmbeddedPostgres, hold_bot_lock, libpq_conninfo
from bot.slack_app import NEEDED_SCOPES
from knowledge.errors import SettingsError
from knowledge.model import IncidentState
from tests.bot.edge import COMMAND_S, ROOT, Ended, codehealer, sandbox_process
from tests.handlers.conftest import engine
from tests.rows import an_approval, an_incident

__all__ = ["engine"]

WRONG_BOT, WRONG_APP = "xo" + "xb-1-wrong", "xa" + "pp-1-wrong"
NOBODY = "http://127.0.0.1:9/api/"  # the discard port: nothing listens there


@pytest.fixture(scope="module")
def sandbox_env() -> Iterator[dict[str, str]]:
    with sandbox_process() as greeting:
        yield greeting["env"]


@pytest.fixture
def live(sandbox_env: dict[str, str], database_url: str) -> dict[str, str]:
    """Settings of a bot that could start."""
    return {**sandbox_env, "DATABASE_URL": database_url, "CODEHEALER_HTTP_PORT": "0"}


def refused(ended: Ended, *words: str) -> None:
    assert ended.status == 1
    assert ended.out == ""
    said = [line for line in ended.words.splitlines() if not line.startswith("{")]
    assert len(said) == 1, ended.words
    for word in words:
        assert word in said[0]


async def start(env: Mapping[str, str]) -> Ended:
    return await asyncio.to_thread(codehealer, "run", env=env)


# --- what works ---------------------------------------------------------------------------------------------------


def test_check_says_what_it_verified(live: dict[str, str]) -> None:
    ended = codehealer("run", "--check", env=live)
    assert ended.status == 0
    for name in ("database", "slack", "policy", "clusters", "webhooks"):
        assert f"✓ {name}: " in ended.out
    assert codehealer("run", "--check", "--json", env=live).json["clusters"] == "sandbox"


def test_check_needs_neither_tokens_nor_a_database(data_dir: Path) -> None:
    ended = codehealer("run", "--check", "--json", env={"CODEHEALER_DATA_DIR": str(data_dir)})
    assert ended.status == 0
    assert ended.json["database"] == f"reached, no tables yet: a start makes them, embedded in {data_dir / 'sandbox'}"


async def test_check_works_beside_a_running_bot_and_says_that_its_port_is_in_use(
    sandbox_env: dict[str, str], data_dir: Path
) -> None:
    async with EmbeddedPostgres(data_dir):
        with hold_bot_lock(data_dir), socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            env = {**sandbox_env, "CODEHEALER_DATA_DIR": str(data_dir), "CODEHEALER_HTTP_PORT": port}
            ended = await asyncio.to_thread(codehealer, "run", "--check", "--json", env=env)
    assert ended.status == 0, ended.words
    assert ended.json["webhooks"].startswith(f"http://127.0.0.1:{port}/webhooks/ for ")
    assert ended.json["webhooks"].endswith("; the port is in use, as it is beside a running bot")


def test_check_leaves_the_tables_as_they_are_and_says_what_a_start_makes_of_them(
    live: dict[str, str], empty_database_url: str
) -> None:
    # With traces, whose installation has an id that is kept in the database: by a start, not by a look.
    env = {**live, "DATABASE_URL": empty_database_url, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    for at, said in ((None, "no tables yet: a start makes them"), ("0012_grouping", "tables are at 0012_grouping: ")):
        if at:
            migrate(empty_database_url, to=at)
        ended = codehealer("run", "--check", "--json", env=env)
        assert (ended.status, ended.json["database"].startswith(f"reached, {said}")) == (0, True), ended.words
        assert standing(empty_database_url) == at
    with psycopg.connect(libpq_conninfo(empty_database_url)) as db:
        assert db.execute("SELECT name FROM switches").fetchall() == []


def test_the_sandbox_says_first_how_to_connect() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "bot", "sandbox", "--headless"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(COMMAND_S) == 0
        assert process.stderr.read() == b""
    assert set(first) == {"url", "slack_base_url", "env"}
    assert first["slack_base_url"].endswith("/")
    assert first["env"]["SLACK_BASE_URL"] == first["slack_base_url"]
    assert {"SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "KUBECONFIG", "GITHUB_TOKEN", "ARGOCD_SERVER"} <= set(first["env"])


async def test_what_the_last_sandbox_asked_for_is_withdrawn_and_audited(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        await an_approval(db, await an_incident(db, state=IncidentState.WAITING))
        await an_incident(db, title="healed before", state=IncidentState.HEALED)
    await last_world.forget(engine)
    async with engine.connect() as db:
        asked = (await db.execute(text("SELECT state, decided_by FROM approvals"))).all()
        noted = (await db.execute(text("SELECT what, incident_id FROM audit WHERE what LIKE 'incident.%'"))).all()
    assert asked == [("withdrawn", "codehealer")]
    assert noted == [("incident.dismissed", 1)], "what is over stays as it ended"


async def test_without_tokens_a_database_with_others_incidents_is_left_alone(
    engine: AsyncEngine, database_url: str
) -> None:
    """As where a Secret lacks Slack's tokens: the sandbox would dismiss what is open there, and work beside the bot."""
    async with engine.begin() as db:
        await an_approval(db, await an_incident(db, state=IncidentState.WAITING))
    for command in (["run"], ["run", "--check"]):
        ended = await asyncio.to_thread(codehealer, *command, env={"DATABASE_URL": database_url})
        refused(ended, "SLACK_BOT_TOKEN and SLACK_APP_TOKEN are not set", "unset DATABASE_URL")
    async with engine.connect() as db:
        found = (await db.execute(text("SELECT i.state, a.state FROM incidents i JOIN approvals a ON true"))).all()
    assert found == [("waiting", "open")]


async def test_a_database_is_the_sandboxs_own_until_a_real_bot_has_worked_there(
    engine: AsyncEngine, database_url: str
) -> None:
    await last_world.require_own(database_url)  # nothing has happened there
    await last_world.forget(engine)
    async with engine.begin() as db:
        await an_incident(db)
    await last_world.require_own(database_url)
    await last_world.take_over(engine)
    with pytest.raises(SettingsError, match="not the sandbox's"):
        await last_world.require_own(database_url)


def test_a_running_bot_says_where_and_stops_at_a_signal(live: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "bot", "run", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env={**os.environ, **live},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(process.stdout.readline())
        process.terminate()
        logged = process.stderr.read().decode()
        assert process.wait(COMMAND_S) == 0
    assert set(first) == {"url", "webhooks", "ready_s"}
    assert not first["webhooks"].endswith(":0/webhooks/")
    # Bolt says so of the token in the environment at each start, unless it is kept from it.
    assert "will be ignored" not in logged


async def test_a_rotated_signing_secret_holds_without_a_restart(live: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "signing-secret"
    file.write_text("one")
    env = {**os.environ, **live, "SLACK_SIGNING_SECRET": "", "SLACK_SIGNING_SECRET_FILE": str(file)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "run", "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=ROOT, env=env,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(COMMAND_S), httpx.AsyncClient() as http:
            address = json.loads(await process.stdout.readline())["webhooks"].replace("/webhooks/", "/slack/events")

            async def answer(secret: str) -> int:
                body, at = b'{"type": "url_verification", "challenge": "x"}', str(int(time.time()))
                digest = hmac.new(secret.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
                signed = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": f"v0={digest}"}
                sent = {**signed, "Content-Type": "application/json"}
                return (await http.post(address, content=body, headers=sent)).status_code

            assert (await answer("one"), await answer("two")) == (200, 401)
            file.write_text("two")
            process.send_signal(signal.SIGHUP)
            while await answer("two") != 200:  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.05)
            assert await answer("one") == 401
            process.terminate()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# --- Slack --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"SLACK_BOT_TOKEN": ""}, ["SLACK_BOT_TOKEN is missing", "xoxb-", "OAuth & Permissions"]),
        (
            {"SLACK_APP_TOKEN": "", "SLACK_SIGNING_SECRET": ""},
            ["SLACK_APP_TOKEN is missing", "xapp-", "Basic Information"],
        ),
        ({"SLACK_BOT_TOKEN": WRONG_BOT}, ["SLACK_BOT_TOKEN was refused", "invalid_auth", "OAuth & Permissions"]),
        ({"SLACK_APP_TOKEN": WRONG_APP}, ["SLACK_APP_TOKEN was refused", "invalid_auth", "Basic Information"]),
        ({"SLACK_BASE_URL": NOBODY}, [f"Slack at {NOBODY} cannot be reached"]),
    ],
    ids=["no bot token", "no app token", "wrong bot token", "wrong app token", "nobody there"],
)
async def test_the_token_is_named_and_where_to_get_it(
    live: dict[str, str], wrong: dict[str, str], words: list[str]
) -> None:
    refused(await start(live | wrong), *words)


async def _slack_that_says(
    scopes: str, *, silent: bool = False, open_socket: bool = False
) -> tuple[web.AppRunner, str]:
    async def answer(request: web.Request) -> web.Response:
        if silent:
            await asyncio.Event().wait()
        body: dict[str, Any] = {"ok": True, "user_id": "U1", "team_id": "T1", "team": "T", "bot_id": "B1"}
        body["url"] = "ws://127.0.0.1:9/"
        if request.path.endswith("apps.connections.open") and not open_socket:
            body = {"ok": False, "error": "missing_scope", "needed": "connections:write", "provided": "other:read"}
        return web.json_response(body, headers={"x-oauth-scopes": scopes})

    app = web.Application()
    app.router.add_route("*", "/api/{method}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/api/"


async def test_a_token_without_the_scope_of_the_socket_is_told(live: dict[str, str]) -> None:
    runner, address = await _slack_that_says(",".join(NEEDED_SCOPES))
    try:
        refused(await start(live | {"SLACK_BASE_URL": address}), "SLACK_APP_TOKEN", "connections:write")
    finally:
        await runner.cleanup()


async def test_a_missing_scope_is_told_by_name(live: dict[str, str]) -> None:
    runner, address = await _slack_that_says(",".join(NEEDED_SCOPES - {"reactions:write"}), open_socket=True)
    try:
        ended = await start(live | {"SLACK_BASE_URL": address})
    finally:
        await runner.cleanup()
    refused(ended, "SLACK_BOT_TOKEN lacks reactions:write", "app_manifest.yml")


async def test_a_slack_that_never_answers_is_not_waited_for(live: dict[str, str]) -> None:
    runner, address = await _slack_that_says("", silent=True)
    try:
        refused(await start(live | {"SLACK_BASE_URL": address}), address, "did not answer within")
    finally:
        await runner.cleanup()


# --- the machine --------------------------------------------------------------------------------------------------


async def test_a_port_in_use_is_told(live: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = await start(live | {"CODEHEALER_HTTP_PORT": port})
    refused(ended, f"127.0.0.1:{port}", "Address already in use", "CODEHEALER_HTTP_PORT")


@pytest.mark.parametrize("directory", ["/proc/codehealer", "/dev/null/codehealer"])
def test_an_unwritable_data_directory_is_told(directory: str) -> None:
    refused(codehealer("run", env={"CODEHEALER_DATA_DIR": directory}), directory, "CODEHEALER_DATA_DIR")


@pytest.mark.parametrize("command", [["run"], ["migrate"], ["search", "x"], ["audit", "verify"], ["dead", "list"]])
def test_an_unreachable_database_is_told(command: list[str]) -> None:
    password = "swordfish"
    ended = codehealer(*command, env={"DATABASE_URL": f"postgresql://someone:{password}@127.0.0.1:9/nothing"})
    refused(ended, "The database cannot be reached", "Check DATABASE_URL")
    assert password not in ended.words


async def test_the_second_bot_on_one_embedded_database_says_so(sandbox_env: dict[str, str], data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir):
        with hold_bot_lock(data_dir):
            ended = await start({**sandbox_env, "CODEHEALER_DATA_DIR": str(data_dir), "CODEHEALER_HTTP_PORT": "0"})
    refused(ended, "Another CodeHealer", str(os.getpid()), str(data_dir))


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("mode: approve\nservices:\n  - name: a\n    envronment: prod\n", [":4: ", "envronment", "'environment'"]),
        ("mode: approve\nservices: [\n", ["not valid YAML"]),
        ("mode: everything\n", [":1: ", "mode", "'automatic'"]),
        (None, ["does not exist", "CODEHEALER_POLICY"]),
    ],
    ids=["field", "YAML", "value", "missing"],
)
@pytest.mark.parametrize("tokens", [False, True], ids=["sandbox", "tokens"])
def test_a_broken_policy_is_told_by_line_field_and_remedy(
    live: dict[str, str], tmp_path: Path, content: str | None, words: list[str], tokens: bool
) -> None:
    policy = tmp_path / "policy.yaml"
    if content is not None:
        policy.write_text(content)
    env = live if tokens else {"DATABASE_URL": live["DATABASE_URL"]}
    refused(codehealer("run", "--check", env={**env, "CODEHEALER_POLICY": str(policy)}), str(policy), *words)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"a: [", b"just words", b"kind: Config\n"])
def test_a_kubeconfig_that_is_none_is_told_before_the_bot_runs(
    live: dict[str, str], tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_bytes(content)
    refused(codehealer("run", env={**live, "KUBECONFIG": str(path)}), str(path), "Set KUBECONFIG")
