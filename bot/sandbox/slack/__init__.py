"""The Slack half of the sandbox: Web API, Socket Mode, and what people do in the workspace."""

from __future__ import annotations

import random

from bot.sandbox.tokens import Tokens

from .clock import Clock
from .core import Slack
from .errors import Refused, SlackError
from .faults import SlackFaults
from .limits import RateLimits
from .manifest import Manifest, full_manifest, load_manifest
from .pages import Pages
from .socket_mode import Sockets, Timing
from .state import fresh_workspace
from .web_api import add_routes

__all__ = [
    "Manifest",
    "Refused",
    "Slack",
    "SlackError",
    "Timing",
    "add_routes",
    "full_manifest",
    "load_manifest",
    "new_slack",
]


def new_slack(
    tokens: Tokens,
    base_url: str,
    *,
    timing: Timing | None = None,
    manifest: Manifest | None = None,
    seed: int = 0,
    optional_scopes: bool = False,
) -> Slack:
    """Make a fresh workspace. ``base_url`` is where it will be reached, without a slash at the end."""
    faults, pages, clock = SlackFaults(), Pages(), Clock()
    slack = Slack(
        workspace=fresh_workspace(),
        sockets=Sockets(timing or Timing(), faults, random.Random(seed), clock),
        pages=pages,
        faults=faults,
        clock=clock,
        manifest=manifest or load_manifest(),
        tokens=tokens,
        limits=RateLimits(clock.now),
        optional_scopes=optional_scopes,
        base_url=base_url,
    )
    slack.workspace.on_change = pages.changed
    slack.sockets.on_link_change = lambda: pages.push({"type": "changed", "channel": None, "thread_ts": None})
    return slack
