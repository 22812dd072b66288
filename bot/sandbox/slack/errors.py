"""How a Web API method says no."""

from __future__ import annotations

from typing import Any


class SlackError(Exception):
    """An answer ``{"ok": false, "error": code, **more}``: with HTTP 200, as Slack does, unless ``status`` differs."""

    def __init__(self, code: str, status: int = 200, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.headers = headers or {}
        self.more = more


class Refused(Exception):
    """A person in the sandbox asked for something that Slack's own client would not let them do."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def invalid_arguments(message: str, pointer: str = "") -> SlackError:
    """Build Slack's answer to a missing or malformed argument."""
    where = f" [json-pointer:{pointer}]" if pointer else ""
    return SlackError("invalid_arguments", response_metadata={"messages": [f"[ERROR] {message}{where}"]})
