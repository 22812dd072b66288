"""Every client reaches the outside through HTTPS_PROXY and trusts the certificates of SSL_CERT_FILE, no others."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import httpx
import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from slack_sdk.web.async_client import AsyncWebClient

from bot.settings import Settings
from bot.slack_app import make_client
from handlers import responding, uploads
from handlers.attachments import read_files
from handlers.blocks.commands import said
from handlers.services import Services
from knowledge.errors import CodeHealerError, SettingsError
from knowledge.network import certificates, proxy_for
from remediation.argocd import ArgoCdServer
from remediation.aws import AwsClient
from remediation.cluster import ClusterAccess, KubernetesCluster
from remediation.code_host import GitHubHost
from remediation.pager import PagerDuty
from remediation.prometheus import PrometheusServer
from tests.aws import ACCESS

# Resolved by nobody but the proxy.
HOST = "outside.example"
URL = f"https://{HOST}"


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A file with an authority of our own, and a server's context with a certificate of it."""
    now = datetime.now(UTC)

    def made(subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey) -> bytes:
        def name(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        begun = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
        begun = begun.public_key(key.public_key()).serial_number(x509.random_serial_number())
        begun = begun.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        begun = begun.add_extension(x509.BasicConstraints(ca=subject == issuer, path_length=None), critical=True)
        begun = begun.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        begun = begun.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        begun = begun.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        if subject == issuer:
            usage = {name: name in {"key_cert_sign", "crl_sign"} for name in USAGES}
            begun = begun.add_extension(x509.KeyUsage(**usage), critical=True)
        return begun.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    above, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    trusted, served = folder / "authority.pem", folder / "server.pem"
    trusted.write_bytes(made("Our own authority", above, "Our own authority", above))
    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    served.write_bytes(key + made(HOST, own, "Our own authority", above))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(served)
    return trusted, context


USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@dataclass
class Outside:
    """A server behind a proxy: what was asked of either. `folder` has `authority.pem`."""

    folder: Path
    asked: list[str] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)
    carried: set[asyncio.Task[None] | None] = field(default_factory=set)


ANSWERS: dict[str, Any] = {
    "/api/auth.test": {"ok": True, "team_id": "T1", "user_id": "U1"},
    "/api/conversations.replies": {"ok": True, "messages": []},
    "/api/files.getUploadURLExternal": {"ok": True, "file_id": "F1", "upload_url": f"{URL}/upload/v1/F1"},
    "/upload/v1/F1": {},
    "/api/files.completeUploadExternal": {"ok": True},
    "/files-pri/T1-F2/build.json": {"error": "ERESOLVE"},
    "/commands/T1/1/answer": {},
    "/version": {"gitVersion": "v1.34.0", "major": "1", "minor": "34"},
    "/api/v1/applications/shop": {"metadata": {"name": "shop"}},
    "/api/v1/status/buildinfo": {"status": "success", "data": {"version": "3.0.0"}},
    "/api/v3/repos/acme/shop/pulls/7": {"number": 7},
    "/v2/enqueue": {"status": "success", "dedup_key": "1"},
    "/": {"QueueUrl": f"{URL}/1/alerts"},
}


@pytest_asyncio.fixture
async def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Outside]:
    trusted, context = authority(tmp_path)
    world = Outside(tmp_path)

    async def answer(request: web.Request) -> web.Response:
        world.asked.append(request.path)
        return web.json_response(ANSWERS.get(request.path, {}), status=202 if request.path == "/v2/enqueue" else 200)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    port = runner.addresses[0][1]

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        world.carried.add(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        world.tunnels.append(head.split()[1].decode())
        inner, onward = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(carry(reader, onward), carry(inner, writer), return_exceptions=True)
        for one in (onward, writer):
            one.close()
        await asyncio.gather(onward.wait_closed(), writer.wait_closed(), return_exceptions=True)

    proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    yield world
    proxy.close()
    async with asyncio.timeout(10):
        await asyncio.gather(*(task for task in world.carried if task))
    await runner.cleanup()


@contextlib.asynccontextmanager
async def slack() -> AsyncIterator[AsyncWebClient]:
    async with aiohttp.ClientSession() as session:
        settings = Settings(SLACK_BOT_TOKEN="xoxb-1", SLACK_BASE_URL=f"{URL}/api/")  # type: ignore[call-arg]
        yield make_client(settings, session)


async def _slack(_http: httpx.AsyncClient, _folder: Path) -> None:
    async with slack() as client:
        await client.auth_test()


async def _file_to_slack(_http: httpx.AsyncClient, _folder: Path) -> None:
    async with slack() as client:
        services = cast(Services, SimpleNamespace(slack=client, bot_user="U1"))
        text = {"name": "evidence.txt", "title": "Evidence", "text": "a log", "comment": "Here it is."}
        await uploads.share(services, channel="C1", thread_ts="1.1", **text)


async def _file_from_slack(_http: httpx.AsyncClient, _folder: Path) -> None:
    file = {"id": "F2", "name": "build.json", "mimetype": "application/json"}
    async with slack() as client:
        (found,) = await read_files(client, [{**file, "url_private": f"{URL}/files-pri/T1-F2/build.json"}])
    assert "ERESOLVE" in found.text, found.could_not


async def _answer_to_slack(_http: httpx.AsyncClient, _folder: Path) -> None:
    async with slack() as client:
        services = cast(Services, SimpleNamespace(slack=client))
        await responding.send(services, f"{URL}/commands/T1/1/answer", said("status", "All is well."))


async def _kubernetes(_http: httpx.AsyncClient, folder: Path) -> None:
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": URL, "certificate-authority": str(folder / "authority.pem")}}],
        "users": [{"name": "u", "user": {"tokenFile": str(folder / "token")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    (folder / "token").write_text("token of the pod")
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    cluster = KubernetesCluster({"c": ClusterAccess(path)})
    try:
        assert await cluster.version("c") == "v1.34.0"
    finally:
        await cluster.aclose()


async def _github(_http: httpx.AsyncClient, _folder: Path) -> None:
    host = GitHubHost("token", httpx.AsyncClient(), f"{URL}/api/v3")  # as Enterprise Server has it
    try:
        assert (await host.read("acme/shop", "/pulls/7"))["number"] == 7
    finally:
        await host.aclose()


async def _argocd(http: httpx.AsyncClient, _folder: Path) -> None:
    await ArgoCdServer(http, URL, "token").application("shop")


async def _prometheus(http: httpx.AsyncClient, _folder: Path) -> None:
    await PrometheusServer(http, URL).version()


async def _pagerduty(http: httpx.AsyncClient, _folder: Path) -> None:
    await PagerDuty(http, "key", URL).trigger("1", "down", severity="critical", link="https://x.example")


async def _aws(http: httpx.AsyncClient, _folder: Path) -> None:
    await AwsClient.from_environment(http, {**ACCESS, "AWS_ENDPOINT_URL": URL}).call("sqs", "GetQueueUrl", {})


CLIENTS: dict[str, Callable[[httpx.AsyncClient, Path], Awaitable[None]]] = {
    "Slack": _slack, "a file to Slack": _file_to_slack, "a file from Slack": _file_from_slack,
    "an answer to Slack": _answer_to_slack, "Kubernetes": _kubernetes, "GitHub": _github, "Argo CD": _argocd,
    "Prometheus": _prometheus, "PagerDuty": _pagerduty, "AWS": _aws,
}  # fmt: skip


async def test_every_client_goes_through_the_proxy_and_trusts_our_own_authority(outside: Outside) -> None:
    async with httpx.AsyncClient(timeout=10) as http:
        for name, ask in CLIENTS.items():
            before = len(outside.asked)
            await ask(http, outside.folder)
            assert len(outside.asked) > before, name
    assert set(outside.tunnels) == {f"{HOST}:443"}
    assert set(outside.asked) == set(ANSWERS)


async def test_a_server_of_an_unknown_authority_is_refused(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    refused = (CodeHealerError, aiohttp.ClientError, httpx.HTTPError)
    async with httpx.AsyncClient(timeout=10) as http:
        for name in ("Slack", "PagerDuty", "AWS"):  # the others try again, or their kubeconfig names the authority
            with pytest.raises(refused):
                await CLIENTS[name](http, outside.folder)
    assert outside.asked == []


def test_a_file_without_certificates_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for path in ("empty.pem", "missing.pem"):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / path))
        with pytest.raises(SettingsError, match=rf"SSL_CERT_FILE names .*{path}"):
            certificates()


def test_what_no_proxy_lists_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,.svc,slack.internal:8443")
    # As macOS has it, which would be asked about every address.
    monkeypatch.setattr("knowledge.network.proxy_bypass", lambda _host: True, raising=False)
    assert proxy_for("https://slack.com/api/") == "http://proxy.example:3128"
    assert proxy_for("wss://wss-primary.slack.com/link") == "http://proxy.example:3128"
    assert proxy_for("https://kubernetes.default.svc") is None
    assert proxy_for("https://slack.internal:8443/") is None
    assert proxy_for("http://127.0.0.1:8321/") is None
