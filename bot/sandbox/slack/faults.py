"""What a person or a test can make the workspace do wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class SlackFaults:
    """Faults in force.

    ``short_pages`` is the most messages that history and replies give at once, and ``history_per_minute`` how often
    they may be called; 0 for no such limit. Apps that are sold outside Slack's Marketplace have 15 and 1.
    ``empty_pages`` puts an empty page, with a cursor, before each page of a list.

    ``*_next`` count calls down. ``methods`` narrows ``*_next`` to those Web API methods; when it is empty they strike
    methods that write. ``token_error`` answers every call with that error. ``refuse_connections`` drops every
    connection without an answer. ``black_hole`` takes what comes and never answers, as a network that swallows packets;
    ``hang_links`` does so to new links alone, ``hang_after_write_next`` to calls that were carried out.
    ``stale_tickets_next`` counts tickets that are refused as too old.
    ``home_charts_refused`` takes no charts on a Home: Slack's pages contradict one another about them.
    ``without_scopes`` takes scopes away from the bot's token. ``refuse_streams`` refuses to start a streamed message.
    ``refusals`` gives what a method answers in place of doing anything: by ``<method>``, or ``<method> <channel>`` for
    calls about that channel alone.
    """

    duplicate_events: bool = False
    reorder: bool = False
    no_pong: bool = False
    refuse_connections: bool = False
    black_hole: bool = False
    hang_links: bool = False
    stale_tickets_next: int = 0
    link_disabled: bool = False
    home_charts_refused: bool = False
    slow_ms: int = 0
    short_pages: int = 0
    history_per_minute: int = 0
    empty_pages: bool = False
    rate_limit_next: int = 0
    error_after_write_next: int = 0
    hang_after_write_next: int = 0
    error_before_write_next: int = 0
    token_error: str = ""
    methods: list[str] = field(default_factory=list)
    without_scopes: list[str] = field(default_factory=list)
    refuse_streams: bool = False
    refusals: dict[str, str] = field(default_factory=dict)

    def update(self, given: dict[str, Any]) -> None:
        """Set the faults named in ``given``; ValueError names one that is unknown or of the wrong type."""
        known = {entry.name: type(getattr(SlackFaults(), entry.name)) for entry in fields(self)}
        for name, value in given.items():
            if name not in known:
                raise ValueError(f"there is no Slack fault {name!r}; known: {', '.join(sorted(known))}")
            if type(value) is not known[name]:
                raise ValueError(f"fault {name} must be {known[name].__name__}")
        for name, value in given.items():
            setattr(self, name, value)

    def strikes(self, name: str, method: str, writes: bool) -> bool:
        """Say whether the counted fault ``name`` hits this call, and count it."""
        left: int = getattr(self, name)
        hit = left > 0 and (method in self.methods if self.methods else writes)
        if hit:
            setattr(self, name, left - 1)
        return hit

    def refusal(self, method: str, channel: str) -> str:
        """Return the error that ``refusals`` has for this call, "" when there is none."""
        return self.refusals.get(f"{method} {channel}") or self.refusals.get(method, "")

    def as_json(self) -> dict[str, Any]:
        """Return the faults as the control API shows them; one-shot ones always read as off."""
        return asdict(self) | {"drop_socket": False, "disconnect_reason": ""}
