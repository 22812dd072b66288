"""The web server: webhooks in, health and metrics out."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from bot.gate import SILENT, Limits, spoke
from bot.metrics import METRICS_TYPE, Metrics, exposition
from bot.readiness import INTAKE
from handlers import flow
from handlers.intake import MAX_BYTES, BadSignature, Intake, UnknownSource, parse_object, read_webhook
from handlers.services import Services
from handlers.sources import fields, sns
from knowledge.errors import BadInput, Unavailable
from remediation.sns import Sns

log = structlog.get_logger(__name__)

# A sender that trickles its body, and a database that hangs, are not waited for longer than this.
READ_DEADLINE_S = 10.0
STORE_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Secrets by source (a source without any is off), and the checks behind /readyz: name → None or what is wrong."""

    secrets: Mapping[str, tuple[str, ...]]
    ready: Callable[[], Awaitable[Mapping[str, str | None]]]
    metrics: Metrics
    read_deadline_s: float = READ_DEADLINE_S
    limits: Limits = field(default_factory=Limits)
    # Amazon's own signature in place of a token: the topics that may post, and how their certificates are had.
    sns_topics: frozenset[str] = frozenset()
    sns: Sns | None = None


def make_web_app(services: Services, config: WebConfig) -> web.Application:
    app = web.Application(client_max_size=MAX_BYTES + 1, middlewares=[spoke])
    app[SILENT] = []
    # Finding the counter of a label costs as much as counting.
    counter = cache(config.metrics.deliveries.labels)

    async def webhook(request: web.Request) -> web.Response:
        source = request.match_info["source"]
        mapping = request.match_info.get("mapping")
        with config.metrics.acknowledged.time():
            status, answer = await _receive(services, config, source, request, mapping=mapping)
        result = "accepted" if status < 300 else "refused" if status < 500 else "failed"
        known = source if source in config.secrets else "unknown"
        counter(known, result).inc()
        return web.json_response(answer, status=status, headers=_headers(status, answer))

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def ready(request: web.Request) -> web.Response:
        checks = await config.ready()
        if request.path.endswith("/intake"):
            checks = {name: why for name, why in checks.items() if name in INTAKE}
        down = {name: why for name, why in checks.items() if why}
        return web.json_response({"ok": not down, "checks": dict(checks)}, status=503 if down else 200)

    async def metrics(_request: web.Request) -> web.Response:
        body = await exposition(services.engine, config.metrics, services.halted)
        return web.Response(body=body, headers={"Content-Type": METRICS_TYPE})

    app.add_routes(
        [
            web.post("/webhooks/{source}", webhook),
            web.post("/webhooks/{source}/{mapping}", webhook),
            web.get("/healthz", health),
            web.get("/readyz", ready),
            web.get("/readyz/intake", ready),
            web.get("/metrics", metrics),
        ]
    )
    return app


def _headers(status: int, answer: Mapping[str, object]) -> dict[str, str] | None:
    if status in {429, 503}:
        # Senders try again by themselves after this.
        return {"Retry-After": str(answer.get("retry_after_s", 5))}
    if status == 401:
        # Some senders, such as Amazon SNS, show their password only when they are asked for it.
        return {"WWW-Authenticate": 'Basic realm="codehealer"'}
    # The connection of one that trickles is of no more use.
    return {"Connection": "close"} if status in {408, 413} else None


async def _receive(
    services: Services, config: WebConfig, source: str, request: web.Request, *, mapping: str | None = None
) -> tuple[int, dict[str, object]]:
    """Signature over the raw bytes, shape, redaction, one INSERT, and only then 202."""
    by_amazon = source == "cloudwatch" and config.sns is not None and bool(config.sns_topics)
    secrets = config.secrets.get(source)
    if not secrets and not by_amazon:
        return 404, _no("This source is not known here, or it is off because no secret is set for it.")
    try:
        if request.content.is_eof():  # all of it came with its head, as from most senders
            body = await request.read()
        else:
            async with asyncio.timeout(config.read_deadline_s):
                body = await request.read()
        if by_amazon and config.sns is not None:
            await _from_amazon(config.sns, config.sns_topics, parse_object(body), services.now())
        intake = read_webhook(
            source if mapping is None else f"{source}/{mapping}",
            dict(request.headers),
            body,
            secrets=None if by_amazon else secrets,
            mappings=services.policy.webhooks,
        )
    except TimeoutError:
        return 408, _no(f"The body did not arrive within {config.read_deadline_s:g} s.")
    except (web.RequestPayloadError, ConnectionError):
        return 400, _no("The body is not as its headers say: wrong length, chunks or compression.")
    except web.HTTPRequestEntityTooLarge:
        return 413, _no(f"The body is larger than {MAX_BYTES} bytes.")
    except UnknownSource as error:
        return 404, _no(str(error))
    except BadSignature as error:
        return 401, _no(str(error))
    except BadInput as error:
        return 400, _no(str(error))
    except Unavailable as error:
        return 503, _no(str(error))
    # After the signature: what strangers send is not counted against the sender.
    if wait_s := config.limits.wait_s(source):
        words = f"More than {config.limits.per_minute} deliveries a minute came from this source; wait {wait_s} s."
        return 429, _no(words) | {"retry_after_s": wait_s}
    _tell_of_confirmation(intake, done=by_amazon)
    return await _stored(services, intake)


async def _from_amazon(client: Sns, topics: frozenset[str], message: Mapping[str, Any], now: datetime) -> None:
    """Raises BadSignature unless it is from SNS and of our topics. A subscription to one of them is confirmed."""
    certificate = await client.certificate(sns.certificate_address(message, topics))
    sns.check(message, certificate, now)
    if address := sns.confirm_address(message):
        await client.confirm(address)


def _tell_of_confirmation(intake: Intake, *, done: bool) -> None:
    """A token proves who was told it and not that Amazon asks, so that a person confirms a subscription: with this."""
    message = intake.body
    if done or intake.source != "cloudwatch" or message.get("Type") != sns.CONFIRMATION:
        return
    address = sns.confirm_address(message)
    remedy = "Open the address, if the topic is yours." if address else "Its address is not Amazon's: do not open it."
    log.warning("subscription_to_confirm", topic=fields.text(message.get("TopicArn")), address=address, remedy=remedy)


async def _stored(services: Services, intake: Intake) -> tuple[int, dict[str, object]]:
    # Without the sender's id every delivery counts as new: the same words may tell of a new failure a week later. What
    # is really a repeat is recognised by its alerts.
    delivery_id = intake.delivery_id or uuid.uuid4().hex
    try:
        async with asyncio.timeout(STORE_DEADLINE_S):
            new = await flow.accept_alerts(services, intake.alerts, source=intake.source, delivery_id=delivery_id)
    except (SQLAlchemyError, TimeoutError) as error:
        log.warning("webhook_not_stored", source=intake.source, error=type(error).__name__)
        return 503, _no("The database does not answer; please send it again.")
    return 202, {"accepted": True, "alerts": len(intake.alerts), "repeat": not new, "truncated": intake.truncated}


def _no(why: str) -> dict[str, object]:
    return {"accepted": False, "error": why}
