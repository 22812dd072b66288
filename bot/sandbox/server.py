"""Puts the sandbox together on one port of the loopback interface, and takes it down again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from . import control
from .slack import Manifest, Slack, Timing, add_routes, new_slack
from .slack.http_mode import RequestUrl
from .slack.posting import Content, post_as_app
from .slack.state import OTHER_APPS, App
from .tokens import Tokens
from .world import Timings, World

Json = dict[str, Any]

PACKAGE = Path(__file__).resolve().parent
VAULT_IN_POLICY = "/run/codehealer-sandbox/vault"  # what policy.yaml says; each sandbox puts its own folder there
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MAX_BODY = 20_000_000
STOP_SECONDS = 2.0


@dataclass(frozen=True)
class Options:
    """How to start.

    Ports of 0 are chosen. ``time_scale`` multiplies the waits between redeliveries and the world's durations.
    Without a ``manifest`` the app is installed from the repository's. With ``http_mode`` Slack posts to the bot's
    /slack/events instead of waiting for its links.
    """

    host: str = "127.0.0.1"
    port: int = 0
    bot_port: int = 0
    state_dir: Path | None = None
    seed: int = 0
    time_scale: float = 1.0
    ack_seconds: float = 3.0
    optional_scopes: bool = False
    http_mode: bool = False
    manifest: Manifest | None = None


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox. ``env`` is what a bot needs in its environment to connect to it."""

    url: str
    env: dict[str, str]
    slack: Slack
    world: World

    @property
    def greeting(self) -> Json:
        """Return the first line that the process prints."""
        return {"url": self.url, "slack_base_url": self.env["SLACK_BASE_URL"], "env": self.env}


@contextlib.asynccontextmanager
async def running(options: Options | None = None) -> AsyncIterator[Sandbox]:
    """Run a sandbox in this event loop while the context lasts."""
    options = options or Options()
    if options.host not in LOOPBACK:
        raise ValueError(f"the sandbox has no accounts and listens on this machine only, not on {options.host}")
    async with contextlib.AsyncExitStack() as stack:
        listener = _listener(options.host, options.port)
        stack.callback(listener.close)
        port = listener.getsockname()[1]
        root = f"http://{options.host}:{port}"
        state_dir = stack.enter_context(_state_dir(options.state_dir))
        bot_port = options.bot_port or _kept_port(stack, options.host)
        tokens = Tokens()
        timing = Timing(ack=options.ack_seconds).scaled(options.time_scale)
        slack = new_slack(
            tokens,
            root,
            timing=timing,
            manifest=options.manifest,
            seed=options.seed,
            optional_scopes=options.optional_scopes,
        )
        if options.http_mode:
            events = f"http://127.0.0.1:{bot_port}/slack/events"
            slack.sockets.request_url = RequestUrl(events, tokens.slack_signing_secret)
        world = World(
            base_url=root,
            tokens=tokens,
            bot_url=f"http://127.0.0.1:{bot_port}",
            post_app_message=_poster(slack),
            timings=Timings(scale=options.time_scale),
            seed_number=options.seed,
            vault=state_dir / "vault",
        )
        await _serve(stack, listener, slack, world)
        env = environment(root, tokens, bot_port, _kubeconfig(state_dir, root, tokens), _policy(state_dir))
        if options.http_mode:
            del env["SLACK_APP_TOKEN"]
        yield Sandbox(f"{root}/", env, slack, world)


async def _serve(stack: contextlib.AsyncExitStack, listener: socket.socket, slack: Slack, world: World) -> None:
    """Start everything; ``stack`` stops it in the other order."""
    panel = control.Control(slack, world)
    runner = web.AppRunner(build_app(slack, world, panel), access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listener).start()
    stack.push_async_callback(slack.sockets.stop)
    stack.push_async_callback(slack.pages.stop)
    await world.start()
    stack.push_async_callback(world.stop)
    watching = asyncio.create_task(panel.watch_world())
    stack.push_async_callback(_cancelled, watching)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def build_app(slack: Slack, world: World, panel: control.Control) -> web.Application:
    """Compose Slack, the control API, the world and the page."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_same_origin])
    add_routes(app, slack)
    control.add_routes(app, panel)
    world.add_routes(app)
    page = PACKAGE / "page"

    async def index(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(page / "index.html", headers={"Cache-Control": "no-store"})

    app.router.add_get("/", index)
    app.router.add_static("/static", page)
    return app


@web.middleware
async def _same_origin(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse what other websites in the same browser send here: the sandbox trusts whoever reaches its control API."""
    host = request.host.rsplit(":", 1)[0].strip("[]")
    origin = request.headers.get("Origin", "")
    if host not in LOOPBACK or (origin and origin.split("://")[-1] != request.host):
        return web.Response(status=403, text="the sandbox answers its own page only")
    return await handler(request)


def _poster(slack: Slack) -> Callable[..., Awaitable[str]]:
    async def post(
        channel_name: str, app: str, text: str, attachments: list[Any] | None = None, blocks: list[Any] | None = None
    ) -> str:
        channel = slack.workspace.find_channel(channel_name)
        if channel is None:
            raise KeyError(channel_name)
        known = OTHER_APPS.get(app) or App("A0" + app.upper()[:9], "B0" + app.upper()[:9], app)
        return str(post_as_app(slack, channel, known, Content(text, blocks, attachments))["ts"])

    return post


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _kept_port(stack: contextlib.AsyncExitStack, host: str) -> int:
    """A free port for the bot, bound for as long as we run: whoever asks for any free port does not get it."""
    kept = _listener(host, 0)
    stack.callback(kept.close)
    return int(kept.getsockname()[1])


@contextlib.contextmanager
def _state_dir(given: Path | None) -> Any:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    made = Path(tempfile.mkdtemp(prefix="codehealer-sandbox-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _kubeconfig(state_dir: Path, root: str, tokens: Tokens) -> Path:
    path = state_dir / "kubeconfig.yaml"
    path.touch(mode=0o600)
    path.chmod(0o600)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": {"server": f"{root}/k8s"}}],
        "users": [{"name": "codehealer", "user": {"token": tokens.kubernetes}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "codehealer"}}],
        "current-context": "sandbox",
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def _policy(state_dir: Path) -> Path:
    """The shipped policy, its sources of secrets being this sandbox's own folder."""
    path = state_dir / "policy.yaml"
    shipped = (PACKAGE / "policy.yaml").read_text(encoding="utf-8")
    path.write_text(shipped.replace(VAULT_IN_POLICY, str((state_dir / "vault").resolve())), encoding="utf-8")
    return path


def environment(root: str, tokens: Tokens, bot_port: int, kubeconfig: Path, policy: Path) -> dict[str, str]:
    """Return every variable that a bot needs to connect to the sandbox at ``root``."""
    return {
        "SLACK_BOT_TOKEN": tokens.slack_bot,
        "SLACK_APP_TOKEN": tokens.slack_app,
        "SLACK_SIGNING_SECRET": tokens.slack_signing_secret,
        "SLACK_BASE_URL": f"{root}/api/",
        "KUBECONFIG": str(kubeconfig),
        "GITHUB_TOKEN": tokens.github,
        "GITHUB_BASE_URL": f"{root}/github",
        "GITHUB_WEBHOOK_SECRET": tokens.github_webhook_secret,
        "ARGOCD_SERVER": f"{root}/argocd",
        "ARGOCD_TOKEN": tokens.argocd,
        "PAGERDUTY_ROUTING_KEY": tokens.pagerduty_routing_key,
        "PAGERDUTY_BASE_URL": f"{root}/pagerduty",
        "PAGERDUTY_TOKEN": tokens.pagerduty_token,
        "PAGERDUTY_FROM": "codehealer@acme.example",
        "PAGERDUTY_WEBHOOK_SECRET": tokens.pagerduty_webhook_secret,
        "PROMETHEUS_URL": f"{root}/prometheus",
        "ALERTMANAGER_URL": f"{root}/alertmanager",
        "CODEHEALER_STATUS_PAGES": ",".join(
            f"{name}:{symptoms}={root}/status/{page}"
            for name, symptoms, page in (
                ("GitHub", "ci+registry", "github"),
                ("Registry", "ci+registry", "registry"),
                ("Cloud", "network", "cloud"),
            )
        ),
        "CODEHEALER_RUNBOOKS": str(PACKAGE / "runbooks"),
        "CODEHEALER_WEBHOOK_TOKEN": tokens.webhook,
        "CODEHEALER_CHANNEL": "C0DEPLOY",
        "CODEHEALER_HTTP_PORT": str(bot_port),
        "CODEHEALER_POLICY": str(policy),
    }
