"""What apps send, for whoever checks it afterwards: a JSON line a call in the file that SANDBOX_TRANSCRIPT names."""

from __future__ import annotations

import os
from typing import Any

import orjson

Json = dict[str, Any]

KEPT = frozenset(
    {
        "chat.postMessage", "chat.update", "chat.postEphemeral",
        "views.open", "views.update", "views.push", "views.publish",
    }
)  # fmt: skip
_SHOWN = ("text", "blocks", "view")


def note(method: str, args: Json, answer: Json, agent: str) -> None:
    """Keep a call that shows people something: who sent it, what, and the error that it got."""
    path = os.environ.get("SANDBOX_TRANSCRIPT")
    if not path or method not in KEPT:
        return
    shown = {name: args[name] for name in _SHOWN if name in args}
    line = orjson.dumps({"method": method, "agent": agent, "error": answer.get("error", ""), **shown})
    with open(path, "ab") as file:  # noqa: PTH123  a line that is appended in one write
        file.write(line + b"\n")
