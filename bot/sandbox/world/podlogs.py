"""Pod logs of a realistic length: ordinary lines of a service in its language's style, with the telling ones among them."""

# ruff: noqa: E501  a line of a log is written as one line

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

Line = Callable[[random.Random, datetime], str]

PATHS = (
    "/api/v1/items",
    "/api/v1/cart",
    "/readyz",
    "/api/v1/prices",
    "/healthz",
    "/api/v1/sessions",
    "/metrics",
    "/api/v1/quotes",
)


def _go(rng: random.Random, at: datetime) -> str:
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return rng.choice(
        (
            f'time={stamp} level=info msg="request done" method=GET path={rng.choice(PATHS)} status=200 dur={rng.randint(2, 90)}ms trace={rng.getrandbits(48):012x}',
            f'time={stamp} level=debug msg="cache lookup" key=sku:{rng.randint(1000, 99999)} hit={rng.choice(("true", "false"))}',
            f'time={stamp} level=info msg="flushed metrics" series={rng.randint(180, 420)} took={rng.randint(1, 9)}ms',
        )
    )


def _python(rng: random.Random, at: datetime) -> str:
    stamp = at.strftime("%Y-%m-%d %H:%M:%S,") + f"{at.microsecond // 1000:03d}"
    return rng.choice(
        (
            f'{stamp} INFO uvicorn.access 10.42.{rng.randint(0, 3)}.{rng.randint(2, 250)}:{rng.randint(30000, 60000)} - "GET {rng.choice(PATHS)} HTTP/1.1" 200',
            f"{stamp} INFO app.worker processed batch size={rng.randint(1, 64)} in {rng.randint(3, 80)} ms",
            f"{stamp} DEBUG sqlalchemy.pool checked out connection {rng.getrandbits(32):08x}",
        )
    )


def _node(rng: random.Random, at: datetime) -> str:
    return (
        f'{{"level":30,"time":{int(at.timestamp() * 1000)},"pid":1,"reqId":"req-{rng.getrandbits(24):06x}",'
        f'"url":"{rng.choice(PATHS)}","statusCode":200,"responseTime":{rng.randint(2, 120)}.{rng.randint(0, 9)},"msg":"request completed"}}'
    )


def _java(rng: random.Random, at: datetime) -> str:
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return rng.choice(
        (
            f"{stamp}  INFO 1 --- [nio-8080-exec-{rng.randint(1, 40)}] c.a.p.web.RequestLog                 : GET {rng.choice(PATHS)} 200 {rng.randint(3, 140)}ms",
            f"{stamp} DEBUG 1 --- [   scheduling-1] c.a.p.outbox.Relay                   : nothing to relay",
            f"{stamp}  INFO 1 --- [ntContainer#0-0-C-1] o.a.k.c.c.internals.ConsumerCoordinator : committed offset {rng.randint(10000, 999999)}",
        )
    )


STYLES: dict[str, Line] = {"go": _go, "python": _python, "node": _node, "java": _java}

START = {
    "go": ("starting {service} {version}", "reading settings from environment", "listening on :8080"),
    "python": (
        "INFO:     Started server process [1]",
        "INFO:     Waiting for application startup.",
        "INFO:     {service} {version}",
    ),
    "node": (
        "> {service}@{version} start",
        "> node --enable-source-maps dist/main.js",
        "(node:1) {service} {version} boots",
    ),
    "java": (
        "  .   ____          _            __ _ _",
        " :: Spring Boot ::                (v3.4.1)",
        "Starting {service} v{version} using Java 21.0.5",
    ),
}


def write_log(
    *,
    language: str,
    seed: str,
    fields: dict[str, str],
    decisive: Sequence[str],
    started_at: float,
    ended_at: float,
    at_end: bool,
    length: int,
) -> list[tuple[float, str]]:
    """(Unix seconds, line) pairs in order.

    `decisive` stands at the very end of a log that ended with a crash, else it comes back several times in the last half.
    The same seed gives the same lines, so that two reads of one log agree.
    """
    rng = random.Random(seed)
    lines = [text.format_map(fields) for text in START[language]]
    places: set[int] = set()
    if decisive and not at_end:
        places = set(rng.sample(range(length // 2, length), k=min(4, length // 2)))
    total = len(lines) + length
    step = max(ended_at - started_at, 0.001) / (total + len(decisive) * (len(places) + 1))
    at = started_at
    out: list[tuple[float, str]] = []

    def add(text: str) -> None:
        nonlocal at
        at += step
        out.append((at, text))

    def tell() -> None:
        for text in decisive:
            stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            add(text.format_map({**fields, "now": stamp}))

    for text in lines:
        add(text)
    for index in range(length):
        add(STYLES[language](rng, datetime.fromtimestamp(at, UTC)))
        if index in places:
            tell()
    if at_end:
        tell()
    return out
