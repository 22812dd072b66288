"""AWS: requests signed as Amazon's own library signs them, and secrets out of Secrets Manager, on moto's server."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from aiohttp import web
from pydantic import ValidationError

from bot.models import Models
from bot.renewal import Renewal
from bot.secret_watch import SecretWatch, webhook_secrets
from bot.settings import Settings, load_settings
from handlers.heartbeat import Heartbeat
from knowledge.errors import Refused, SettingsError, Unavailable
from remediation.aws import AwsClient, CredentialChain, region_of
from remediation.aws.signing import Keys, signed_headers
from remediation.policy import default_policy
from remediation.ports import Clients
from remediation.secret_sources import AwsSecret, SecretSource, new_value
from tests.aws import ACCESS, PACKAGES

VALUE = "correct horse battery"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


async def store(aws: dict[str, str], name: str, value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    async with httpx.AsyncClient() as http:
        client = AwsClient.from_environment(http, aws)
        try:
            await client.call("secretsmanager", "CreateSecret", {"Name": name, "SecretString": text})
        except Refused:
            await client.call("secretsmanager", "PutSecretValue", {"SecretId": name, "SecretString": text})


def test_a_signature_is_that_of_amazons_own_library() -> None:
    if not PACKAGES.is_dir():
        pytest.skip("missing program: moto")
    program = """
import json, sys
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
import botocore.auth, datetime
moment = datetime.datetime(2026, 11, 23, 9, 0, tzinfo=datetime.timezone.utc)
botocore.auth.get_current_datetime = lambda *a, **k: moment.replace(tzinfo=None)
request = AWSRequest("POST", "https://sqs.eu-west-1.amazonaws.com/", data=b'{"a":1}',
    headers={"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.ReceiveMessage"})
SigV4Auth(Credentials("AKIATEST", "secret", "token"), "sqs", "eu-west-1").add_auth(request)
print(json.dumps({k.lower(): v for k, v in request.headers.items()}))
"""
    env = {**os.environ, "PYTHONPATH": str(PACKAGES), "PYTHONDONTWRITEBYTECODE": "1"}
    theirs = json.loads(
        subprocess.run([sys.executable, "-S", "-c", program], env=env, check=True, capture_output=True).stdout
    )
    moment = datetime.strptime(theirs["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.ReceiveMessage"}
    keys = Keys("AKIATEST", "secret", "token")
    url = "https://sqs.eu-west-1.amazonaws.com/"
    ours = signed_headers(url, b'{"a":1}', headers, keys, region="eu-west-1", service="sqs", now=moment)
    assert ours["authorization"] == theirs["authorization"]
    assert "secret" not in repr(keys)


async def test_a_source_of_the_policy_gives_the_secret_of_now_and_nothing_shows_it(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.items():
        monkeypatch.setenv(name, value)
    await store(aws, "shop/checkout", {"password": VALUE, "list": [1]})
    source = SecretSource(aws=AwsSecret(secret="shop/checkout", key="password"))
    found = await new_value(source)
    assert found.get_secret_value() == VALUE
    await store(aws, "shop/checkout", {"password": "the next one"})
    assert (await new_value(source)).get_secret_value() == "the next one"
    assert VALUE not in f"{found!r} {source.words}"
    assert source.words == "the AWS secret shop/checkout"
    for secret, key, why in (
        ("shop/checkout", "nothing", "no text under the key nothing"),
        ("shop/nobody", "", "ResourceNotFound"),
    ):
        with pytest.raises(Refused, match=why) as caught:
            await new_value(SecretSource(aws=AwsSecret(secret=secret, key=key)))
        assert "the next one" not in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="did not answer"):
        await new_value(source)


def test_a_source_is_one_of_three_and_older_ones_keep_their_digest() -> None:
    with pytest.raises(ValidationError, match=r"aws: \{secret"):
        SecretSource(file=Path("/x"), aws=AwsSecret(secret="x"))
    # What an approval that was given before is bound to.
    assert SecretSource(file=Path("/run/secrets/checkout-db")).digest == "ad1a66e59b92dd72"


def test_settings_come_out_of_a_secret_and_out_of_references(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(store(aws, "codehealer", {
        "GITHUB_TOKEN": VALUE, "CODEHEALER_CHANNEL": "C0BAG", "CODEHEALER_WEBHOOK_TOKEN_GRAFANA": "grafana",
        "ARGOCD_TOKEN": "of the bag", "NOT_OURS": "x",
    }))  # fmt: skip
    asyncio.run(store(aws, "pager", "routing"))
    given = {
        **aws, "CODEHEALER_AWS_SECRET": "codehealer", "ARGOCD_TOKEN": "of the environment",
        "PAGERDUTY_ROUTING_KEY": "aws-sm://pager", "CODEHEALER_WEBHOOK_TOKEN_ARGOCD": "aws-sm://codehealer#ARGOCD_TOKEN",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.github_token.get_secret_value() == VALUE
    assert settings.channel == "C0BAG"
    assert settings.argocd_token.get_secret_value() == "of the environment"
    assert settings.pagerduty_routing_key.get_secret_value() == "routing"
    assert webhook_secrets(settings, settings.source_tokens) == {"grafana": ("grafana",), "argocd": ("of the bag",)}
    assert VALUE not in repr(settings)
    monkeypatch.setenv("PAGERDUTY_ROUTING_KEY", "aws-sm://nobody")
    with pytest.raises(SettingsError, match=r"The AWS secret nobody cannot be read: .*ResourceNotFound"):
        load_settings()
    monkeypatch.setenv("PAGERDUTY_ROUTING_KEY", "aws-sm://pager#key")
    with pytest.raises(SettingsError, match="PAGERDUTY_ROUTING_KEY cannot be read: The AWS secret pager is no JSON"):
        load_settings()


def test_an_address_that_is_a_secret_may_be_a_reference_and_is_checked_once_it_is_read(
    aws: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, cache, beat = "postgresql://bot:pw@db/codehealer", "redis://:pw@cache:6379", "https://switch.example/path"
    asyncio.run(store(aws, "addresses", {"database": database, "redis": cache, "beat": beat, "wrong": "none of them"}))
    names = {"DATABASE_URL": "database", "REDIS_URL": "redis", "CODEHEALER_HEARTBEAT_URL": "beat"}
    for name, value in aws.items():
        monkeypatch.setenv(name, value)
    for name, key in names.items():
        monkeypatch.setenv(name, f"aws-sm://addresses#{key}")
    settings = load_settings()
    found = (settings.database_url, settings.redis_url, settings.heartbeat_url.get_secret_value())
    assert found == (database, cache, beat)
    with monkeypatch.context() as file:
        (tmp_path / "url").write_text("aws-sm://addresses#database\n")
        file.delenv("DATABASE_URL")
        file.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
        assert load_settings().database_url == database
    for name in ("DATABASE_URL", "CODEHEALER_HEARTBEAT_URL"):
        with monkeypatch.context() as wrong:
            wrong.setenv(name, "aws-sm://addresses#wrong")
            with pytest.raises(SettingsError, match=name):
                load_settings()
    monkeypatch.setenv("CODEHEALER_AWS_SECRET", "chain")
    monkeypatch.delenv("DATABASE_URL")
    asyncio.run(store(aws, "chain", {"DATABASE_URL": "aws-sm://addresses#database"}))
    with pytest.raises(SettingsError, match="DATABASE_URL is a reference in AWS Secrets Manager itself"):
        load_settings()


async def test_what_is_rotated_is_in_force_without_a_restart_and_a_mistake_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.secret_watch.SETTLES_S", 0)
    file = tmp_path / ".env"
    file.write_text("GITHUB_TOKEN=one\nCODEHEALER_WEBHOOK_TOKEN_GRAFANA=one\nSLACK_BOT_TOKEN=xoxb-1\n")
    settings = load_settings()
    secrets = webhook_secrets(settings, settings.source_tokens)
    renewed: list[str] = []
    watch = SecretWatch(settings, secrets, lambda found: renewed.append(found.github_token.get_secret_value()))
    await watch.look()
    assert renewed == [], "nothing was rotated"
    of_policy = {"ARGOCD_TOKEN_EU": "one"}
    rotated: list[Settings] = []
    of_policys = SecretWatch(settings, dict(secrets), rotated.append, more=of_policy.copy)
    await of_policys.look()
    of_policy["ARGOCD_TOKEN_EU"] = "two"
    await of_policys.look()
    await of_policys.look()
    assert len(rotated) == 1
    file.write_text("GITHUB_TOKEN=two\nCODEHEALER_WEBHOOK_TOKEN_GRAFANA=one,two\nSLACK_BOT_TOKEN=xoxb-1\n")
    watching = asyncio.create_task(watch.run())
    watch.wake.set()  # as SIGHUP does
    async with asyncio.timeout(60):
        while not renewed:  # noqa: ASYNC110  the watch tells nobody
            await asyncio.sleep(0.01)
    watching.cancel()
    assert (renewed, secrets) == (["two"], {"grafana": ("one", "two")})
    file.write_text("GITHUB_TOKEN=three\nCODEHEALER_HTTP_PORT=many\n")
    await watch.look()
    assert (renewed, secrets) == (["two"], {"grafana": ("one", "two")})
    assert "CODEHEALER_HTTP_PORT" in watch.lines()[0]
    file.unlink()
    file.symlink_to("/proc/self/mem")  # which not even root reads from its beginning
    await watch.look()
    assert secrets == {"grafana": ("one", "two")}
    assert "cannot be read" in watch.lines()[0]


async def test_a_file_that_is_read_while_it_is_written_takes_no_secret_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.secret_watch.SETTLES_S", 0)
    file = tmp_path / ".env"
    one, two = ({"grafana": (word,)} for word in ("one", "two"))
    file.write_text("CODEHEALER_WEBHOOK_TOKEN_GRAFANA=one\n")
    settings = load_settings()
    secrets = webhook_secrets(settings, settings.source_tokens)
    seen: list[Any] = []
    watch = SecretWatch(settings, secrets, lambda found: seen.append(webhook_secrets(found, found.source_tokens)))

    def written_while_read() -> Settings:
        found = load_settings()
        file.write_text("CODEHEALER_WEBHOOK_TOKEN_GRAFANA=two\n")
        return found

    monkeypatch.setattr("bot.secret_watch.load_settings", written_while_read)
    file.write_text("")
    assert secrets == one
    await watch.look()
    assert (seen, secrets) == ([two], two)
    monkeypatch.setattr("bot.secret_watch.load_settings", load_settings)
    file.write_text("")
    await watch.look()
    assert secrets == {}, "what is taken away is gone"


async def test_a_file_that_is_empty_while_it_is_written_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.secret_watch.SETTLES_S", 0)
    file = tmp_path / "token"
    file.write_text("one")
    monkeypatch.setenv("CODEHEALER_WEBHOOK_TOKEN_GRAFANA_FILE", str(file))
    settings = load_settings()
    secrets = webhook_secrets(settings, settings.source_tokens)
    watch = SecretWatch(settings, secrets, lambda _: None)

    def written_while_read() -> Settings:
        try:
            return load_settings()
        finally:
            file.write_text("two")

    monkeypatch.setattr("bot.secret_watch.load_settings", written_while_read)
    file.write_text("")
    await watch.look()
    assert (secrets, watch.lines()) == ({"grafana": ("two",)}, [])
    monkeypatch.setattr("bot.secret_watch.load_settings", load_settings)
    file.write_text("")
    await watch.look()
    assert secrets == {"grafana": ("two",)}
    assert "CODEHEALER_WEBHOOK_TOKEN_GRAFANA_FILE" in watch.lines()[0]


async def test_clients_are_made_anew_all_or_none(http: httpx.AsyncClient) -> None:
    old = {"clients": Clients(), "answerers": ("old",), "hosted_embedder": None, "reranker": None}
    services: Any = SimpleNamespace(policy=default_policy(), **old)
    models = Models(cast(Any, None), cast(Any, None), (), None, None)
    rotated: dict[str, Any] = {"GITHUB_TOKEN": "two", "CODEHEALER_EMBEDDING_MODEL": "a-model"}
    with pytest.raises(SettingsError, match="NVIDIA_API_KEY"):
        Renewal(services, load_settings(), http, models, cast(Any, None)).renew(load_settings(**rotated))
    assert (services.clients, services.answerers) == (Clients(), ("old",))


async def test_a_rotated_address_of_the_heartbeat_is_used_from_the_next_one_on(http: httpx.AsyncClient) -> None:
    services: Any = SimpleNamespace(policy=default_policy(), clients=Clients())
    models = Models(cast(Any, None), cast(Any, None), (), None, None)
    beat = Heartbeat(http, http, "https://switch.example/one", lambda _: None)
    rotated: dict[str, Any] = {"CODEHEALER_HEARTBEAT_URL": "https://switch.example/two"}
    Renewal(services, load_settings(), http, models, beat).renew(load_settings(**rotated))
    assert beat.url == "https://switch.example/two"


async def test_credentials_are_looked_for_as_amazons_tools_do(http: httpx.AsyncClient, tmp_path: Path) -> None:
    async def keys(**environment: str) -> Keys:
        off = {"AWS_EC2_METADATA_DISABLED": "true"}
        return await CredentialChain(http, off | environment, "eu-west-1", sts_url=address).keys()

    soon = "2099-01-01T00:00:00Z"
    asked: list[Any] = []
    named_roles = ["role"]

    async def container(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization"))
        return web.json_response({"AccessKeyId": "C", "SecretAccessKey": "s", "Token": "t", "Expiration": soon})

    async def token(_request: web.Request) -> web.Response:
        return web.Response(text="session")

    async def roles(request: web.Request) -> web.Response:
        asked.append(request.headers.get("X-aws-ec2-metadata-token"))
        return web.Response(text="".join(named_roles))

    async def sts(request: web.Request) -> web.Response:
        asked.append((await request.post())["WebIdentityToken"])
        fields = {"AccessKeyId": "W", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": soon}
        return web.Response(text="".join(f"<{name}>{value}</{name}>" for name, value in fields.items()))

    app = web.Application()
    path = "/latest/meta-data/iam/security-credentials/"
    app.add_routes([web.get("/creds", container), web.post("/", sts), web.put("/latest/api/token", token),
                    web.get(path, roles), web.get(f"{path}role", container)])  # fmt: skip
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        with pytest.raises(SettingsError, match="No AWS credentials were found"):
            await keys()
        file = tmp_path / "credentials"
        file.write_text("[default]\naws_access_key_id = D\naws_secret_access_key = s\n[other]\n")
        identity = tmp_path / "token"
        identity.write_text("signed by the cluster\n")
        url = f"{address}/creds"
        named = {"AWS_ROLE_ARN": "arn:aws:iam::1:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": str(identity)}
        container_at = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "bearer"}
        machine = {"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": address}
        assert (await keys(**machine)).access_key == "C"
        assert (await keys(**container_at)).access_key == "C"
        assert (await keys(AWS_SHARED_CREDENTIALS_FILE=str(file), **container_at)).access_key == "D"
        assert (await keys(**named, AWS_SHARED_CREDENTIALS_FILE=str(file))).access_key == "W"
        assert (await keys(**ACCESS, **named)).access_key == ACCESS["AWS_ACCESS_KEY_ID"]
        assert asked == ["session", None, "bearer", "signed by the cluster"]
        named_roles.clear()
        with pytest.raises(SettingsError, match="No AWS credentials were found"):
            await keys(**machine)
        with pytest.raises(SettingsError, match="neither https nor on this machine"):
            await keys(AWS_CONTAINER_CREDENTIALS_FULL_URI="http://192.0.2.1/creds")
    finally:
        await runner.cleanup()


async def test_credentials_lie_in_files_that_variables_name(http: httpx.AsyncClient, tmp_path: Path) -> None:
    given = {"AWS_ACCESS_KEY_ID": "AKIAFILE", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    for name, value in given.items():
        (tmp_path / name).write_text(f"{value}\n")
    named = {f"{name}_FILE": str(tmp_path / name) for name in given} | {"AWS_EC2_METADATA_DISABLED": "true"}
    chain = CredentialChain(http, named, "eu-west-1")
    assert await chain.keys() == Keys("AKIAFILE", "s", "t")
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("AKIANEXT\n")
    chain.forget()  # as when AWS refuses them
    assert (await chain.keys()).access_key == "AKIANEXT"
    (tmp_path / "AWS_ACCESS_KEY_ID").unlink()
    chain.forget()
    with pytest.raises(SettingsError, match=r"AWS_ACCESS_KEY_ID_FILE names .*, which cannot be read"):
        await chain.keys()


def test_the_region_is_that_of_the_queue_or_secret() -> None:
    env = {"AWS_REGION": "us-east-1"}
    assert region_of(env) == "us-east-1"
    assert region_of(env, "https://sqs.eu-west-1.amazonaws.com/1/q") == "eu-west-1"
    assert region_of(env, "https://sqs.us-gov-west-1.amazonaws.com/1/q") == "us-gov-west-1"
    assert region_of(env, "arn:aws:secretsmanager:eu-central-1:1:secret:x") == "eu-central-1"
    assert region_of({}, "https://queue.example/1/q") == ""
