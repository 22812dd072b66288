"""A pod's log is evidence for its end: where the crash is, however it arrives and however long its lines are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from remediation.cluster import LOG_BYTES, MAX_LOG_BYTES, ClusterAccess, KubernetesCluster
from remediation.evidence import MAX_CHARS, collect
from tests.remediation.site import Site, kubeconfig

CRASH = "panic: the last line of the log"


@contextlib.asynccontextmanager
async def served(app: web.Application, folder: Path) -> AsyncIterator[KubernetesCluster]:
    async with TestServer(app) as running:
        cluster = KubernetesCluster({"c": ClusterAccess(kubeconfig(folder, str(running.make_url("")), "t"))})
        yield cluster
        await cluster.aclose()


async def test_a_log_that_arrives_in_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    left, rest = asyncio.Event(), asyncio.Event()

    async def halves(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"the first half\n")
        left.set()
        await rest.wait()
        await reply.write(f"{CRASH}\n".encode())
        return reply

    async def version(_request: web.Request) -> web.Response:
        return web.json_response({"gitVersion": "v1.34.0"})

    app = web.Application()
    app.router.add_get("/version", version)
    app.router.add_get("/{tail:.*}", halves)
    async with served(app, tmp_path) as cluster, asyncio.timeout(30):
        reading = asyncio.create_task(cluster.logs("c", "shop", "checkout-1", "app"))
        await left.wait()
        # Behind another whole answer the first half is here for certain.
        await cluster.version("c")
        rest.set()
        assert await reading == (f"the first half\n{CRASH}\n", 0)


async def logs_of(lines: list[str], folder: Path, *, tail_lines: int) -> tuple[str, int, list[str]]:
    """What is read of such a log, what of it is left out, and how many lines were asked for each time."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        """As a kubelet does: the limit counts from the first of the last lines."""
        asked.append(request.query["tailLines"])
        text = "".join(f"{line}\n" for line in lines[-int(request.query["tailLines"]) :])
        return web.Response(body=text.encode()[: int(request.query["limitBytes"])])

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    async with served(app, folder) as cluster:
        text, left_out = await cluster.logs("c", "shop", "checkout-1", "app", tail_lines=tail_lines)
    return text, left_out, asked


async def test_a_log_of_long_lines_keeps_its_end_and_counts_the_rest(tmp_path: Path) -> None:
    lines = [*(f"{number} {'x' * 4000}" for number in range(299)), CRASH]
    text, left_out, _ = await logs_of(lines, tmp_path, tail_lines=300)
    kept = text.split("\n")
    assert text.endswith(f"\n{CRASH}\n")
    assert len(text) <= LOG_BYTES
    assert kept[0] in lines, "it begins with a whole line"
    assert left_out == sum(len(line) + 1 for line in lines) - len(text)


async def test_where_so_many_lines_are_too_much_to_read_fewer_are_asked_for(tmp_path: Path) -> None:
    lines = [*(f"{number} {'x' * 50_000}" for number in range(299)), CRASH]
    text, left_out, asked = await logs_of(lines, tmp_path, tail_lines=300)
    assert text.endswith(f"\n{CRASH}\n")
    assert asked == ["300", "30"]
    assert left_out >= MAX_LOG_BYTES - len(text)
    one, *_ = await logs_of(["x" * MAX_LOG_BYTES, f"{'y' * MAX_LOG_BYTES} {CRASH}"], tmp_path, tail_lines=2)
    assert 0 < len(one) <= LOG_BYTES, "a line that is too long for itself ends the asking"


async def test_evidence_says_how_much_of_a_log_was_not_read(site: Site) -> None:
    await site.broken("release-crash-checkout")
    lines = [*((float(number), "x" * 4000) for number in range(299)), (300.0, CRASH)]
    site.world.kubernetes.cluster.log = lambda *_args, **_named: lines
    found = {e.kind: e for e in await collect(site.incident("checkout"), site.clients)}
    assert found["logs"].text.endswith(f"{CRASH}\n")
    assert found["logs"].truncated_chars >= 299 * 4001 - MAX_CHARS
