"""A scripted model service on this machine that speaks all three wires, and refuses what the real ones refuse."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from knowledge.language_models.anthropic import ANTHROPIC
from knowledge.language_models.nvidia import NVIDIA
from knowledge.language_models.openai import OPENAI
from knowledge.language_models.wire import Wire

KEY = "test-key"
WIRES: dict[str, Wire] = {"nvidia": NVIDIA, "openai": OPENAI, "anthropic": ANTHROPIC}
FIELDS = {
    "nvidia": {"model", "messages", "temperature", "max_tokens", "response_format", "chat_template_kwargs"},
    "openai": {
        "model", "messages", "temperature", "max_completion_tokens", "response_format", "reasoning_effort",
    },
    "anthropic": {"model", "messages", "system", "temperature", "max_tokens", "output_config"},
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One request as the service understood it, whatever its wire."""

    wire: str
    model: str
    system: str
    turns: list[dict[str, str]]
    body: dict[str, Any]
    number: int
    raw: str


@dataclass(frozen=True)
class Says:
    """What a script answers with: a text, or `raw` bytes with a status."""

    text: str = ""
    cut_off: bool = False
    status: int = 200
    raw: bytes | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    tokens: tuple[int, int] = (900, 80)
    never: bool = False


Script = Callable[[Asked], Says]


@dataclass
class ModelServer:
    script: Script
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    polled: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def base_url(self, wire: str) -> str:
        return self.url if wire == "anthropic" else f"{self.url}/{wire}/v1"

    async def chat(self, request: web.Request) -> web.StreamResponse:
        wire = request.match_info.get("wire", "anthropic")
        headers = request.headers
        key = headers.get("x-api-key") if wire == "anthropic" else headers.get("Authorization", "")[7:]
        if key != KEY or (wire == "anthropic" and headers.get("anthropic-version") != "2023-06-01"):
            return web.json_response({"detail": "Unauthorized"}, status=401)
        raw = await request.text()
        body = json.loads(raw)
        if unknown := set(body) - FIELDS[wire]:
            return web.json_response({"detail": f"extra_forbidden: {sorted(unknown)}"}, status=400)
        asked = _asked(wire, raw, body, len(self.asked) + 1)
        self.asked.append(asked)
        says = self.script(asked)
        if says.never:
            await self.gate.wait()
        return _response(wire, says)

    async def status(self, request: web.Request) -> web.Response:
        self.polled.append(request.match_info["id"])
        return _response(request.match_info["wire"], self.script(self.asked[-1]))


def _asked(wire: str, raw: str, body: dict[str, Any], number: int) -> Asked:
    turns = list(body["messages"])
    system = body.get("system", "")
    if wire != "anthropic":
        assert turns[0]["role"] == "system"
        system = turns.pop(0)["content"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2) + ["user"]
    return Asked(wire, body["model"], system, turns, body, number, raw)


def _response(wire: str, says: Says) -> web.Response:
    if says.raw is not None or says.status != 200:
        return web.Response(
            body=says.raw or b"{}", status=says.status, content_type=says.content_type, headers=dict(says.headers)
        )
    tokens_in, tokens_out = says.tokens
    if wire == "anthropic":
        return web.json_response(
            {
                "id": "msg_1", "type": "message", "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm {", "signature": "s"},
                            {"type": "text", "text": says.text}],
                "stop_reason": "max_tokens" if says.cut_off else "end_turn",
                "usage": {"input_tokens": tokens_in, "output_tokens": tokens_out},
            }
        )  # fmt: skip
    return web.json_response(
        {
            "id": "c-1", "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": says.text},
                         "finish_reason": "length" if says.cut_off else "stop"}],
            "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out},
        }
    )  # fmt: skip


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[ModelServer]:
    server = ModelServer(script)
    app = web.Application()
    app.router.add_post("/{wire}/v1/chat/completions", server.chat)
    app.router.add_get("/{wire}/v1/status/{id}", server.status)
    app.router.add_post("/v1/messages", server.chat)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.gate.set()
        await runner.cleanup()


def nvidia_settings(server: ModelServer) -> dict[str, str]:
    """The environment of a bot that asks `server` for its diagnoses, as NVIDIA's service."""
    return {
        "NVIDIA_API_KEY": KEY,
        "NVIDIA_BASE_URL": server.base_url("nvidia"),
        "CODEHEALER_NVIDIA_MODELS": "nvidia/some-model",
    }


GOOD: dict[str, Any] = {
    "kind": "imagepullbackoff",
    "confidence": 0.93,
    "cause": "The image reg.example/web:9.9 does not exist in the registry.",
    "summary": "The tag is unknown.",
    "fixability": "auto",
    "quotes": [{"evidence": 0, "text": 'Failed to pull image "reg.example/web:9.9": manifest unknown'}],
    "ruled_out": ["credentials: the registry answered"],
    "preferred_action": "k8s_rollback",
    "missing": [],
}


def good(**changes: Any) -> Says:
    return Says(json.dumps({**GOOD, **changes}))
