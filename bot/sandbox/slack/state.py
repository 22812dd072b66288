"""The workspace itself: people, channels, messages, files, views. It holds state and knows no protocol."""

from __future__ import annotations

import base64
import secrets
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

TEAM_ID = "T0SANDBOX"
TEAM_DOMAIN = "sandbox"
OTHER_TEAM_ID = "T0PARTNER"
APP_ID = "A0CODEHEALER"
BOT_ID = "B0CODEHEALER"
BOT_USER = "U0CODEHEALER"
USERGROUP_ID = "S0ONCALL"
# Ten thousand top-level messages a channel are days of a busy one; older ones go, so that a soak test cannot grow us.
KEEP_MESSAGES = 10_000
KEEP_EPHEMERALS = 500
KEEP_NOTIFICATIONS = 5_000


@dataclass
class User:
    """A person or a bot user. ``role`` is what the page says about them."""

    id: str
    name: str
    real_name: str
    role: str
    is_bot: bool = False
    deleted: bool = False
    restricted: bool = False
    team_id: str = TEAM_ID


@dataclass(frozen=True)
class App:
    """An installed app: ours, or another one that posts here."""

    id: str
    bot_id: str
    name: str


OTHER_APPS = {
    "Alertmanager": App("A0ALERTMGR", "B0ALERTMGR", "Alertmanager"),
    "GitHub": App("A0GITHUB", "B0GITHUB", "GitHub"),
    "Argo CD": App("A0ARGOCD", "B0ARGOCD", "Argo CD"),
}
OUR_APP = App(APP_ID, BOT_ID, "CodeHealer")


@dataclass
class Channel:
    """A channel or a direct message. ``top`` and each list in ``threads`` hold ts values, oldest first."""

    id: str
    name: str
    members: set[str]
    is_im: bool = False
    is_private: bool = False
    is_archived: bool = False
    is_general: bool = False
    person: str = ""
    created: int = 0
    messages: dict[str, Json] = field(default_factory=dict)
    top: list[str] = field(default_factory=list)
    threads: dict[str, list[str]] = field(default_factory=dict)
    ephemerals: list[Json] = field(default_factory=list)
    last_read: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, Json] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Return ``channel``, ``group`` or ``im``, the word that events and scopes use."""
        return "im" if self.is_im else "group" if self.is_private else "channel"

    def between(self, order: list[str], oldest: str, latest: str, inclusive: bool) -> list[str]:
        """Cut ``order`` to the ts values between two bounds; an empty bound is open."""
        left, right = (bisect_left, bisect_right) if inclusive else (bisect_right, bisect_left)
        low = left(order, oldest) if oldest else 0
        high = right(order, latest) if latest else len(order)
        return order[low:high]


@dataclass
class File:
    """A file; ``content`` is None until its bytes were uploaded, ``shared`` False until it was completed."""

    id: str
    name: str
    length: int
    user: str
    snippet_type: str = ""
    title: str = ""
    alt_txt: str = ""
    content: bytes | None = None
    shared: bool = False
    created: int = 0


@dataclass
class Workspace:
    """Everything that is stored. ``on_change(channel, thread_ts)`` is called after each change that people can see."""

    clock: Callable[[], float] = time.time
    on_change: Callable[[Channel, str | None], None] = lambda _channel, _thread: None
    users: dict[str, User] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    group_members: list[str] = field(default_factory=lambda: ["U0ONCALL", "U0LEAD"])
    views: dict[str, Json] = field(default_factory=dict)
    modals: dict[str, list[str]] = field(default_factory=dict)
    homes: dict[str, Json] = field(default_factory=dict)
    prompts: dict[str, Json] = field(default_factory=dict)
    # Who was notified of which message and why, oldest first; see notifying.
    notifications: deque[Json] = field(default_factory=lambda: deque(maxlen=KEEP_NOTIFICATIONS))
    _last_us: int = 0

    def next_ts(self) -> str:
        """Return a timestamp that no message has and that is later than every other."""
        self._last_us = max(int(self.clock() * 1_000_000), self._last_us + 1)
        return f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"

    def find_channel(self, name: str) -> Channel | None:
        """Return a channel by id, or by name with or without ``#``."""
        by_id = self.channels.get(name)
        if by_id is not None:
            return by_id
        wanted = name.removeprefix("#")
        return next((c for c in self.channels.values() if not c.is_im and c.name == wanted), None)

    def names(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return people and channels as maps of name to id."""
        people = {person.name: person.id for person in self.users.values()}
        return people, {channel.name: channel.id for channel in self.channels.values() if not channel.is_im}

    def is_shared(self, channel: Channel) -> bool:
        """Say whether somebody of another company is in a channel (Slack Connect)."""
        return any(self.users[user].team_id != TEAM_ID for user in channel.members)

    def direct_message(self, user: str) -> Channel:
        """Return the DM between a person and our bot, made when there is none."""
        identifier = "D" + user[1:]
        if identifier not in self.channels:
            members = {user, BOT_USER}
            self.channels[identifier] = Channel(
                identifier, "codehealer", members, is_im=True, is_private=True, person=user, created=int(self.clock())
            )
        return self.channels[identifier]

    def add(self, channel: Channel, message: Json) -> Json:
        """Store a message under its ``ts``, thread it, and keep the parent's counters."""
        ts = message["ts"]
        channel.messages[ts] = message
        parent_ts = message.get("thread_ts")
        if parent_ts is None or parent_ts == ts:
            channel.top.append(ts)
            self._forget_oldest(channel)
        else:
            channel.threads.setdefault(parent_ts, []).append(ts)
            self.count_replies(channel, parent_ts)
            if message.get("subtype") == "thread_broadcast":
                channel.top.append(ts)
        self.on_change(channel, parent_ts)
        return message

    def count_replies(self, channel: Channel, parent_ts: str) -> None:
        """Bring a parent's reply counters in line with its thread."""
        parent = channel.messages.get(parent_ts)
        replies = channel.threads.get(parent_ts, [])
        if parent is None:
            return
        if not replies:
            for name in ("thread_ts", "reply_count", "reply_users", "reply_users_count", "latest_reply"):
                parent.pop(name, None)
            return
        authors = list(dict.fromkeys(author(channel.messages[ts]) for ts in replies))
        parent |= {
            "thread_ts": parent_ts,
            "reply_count": len(replies),
            "reply_users": authors[:5],
            "reply_users_count": len(authors),
            "latest_reply": replies[-1],
            "is_locked": False,
            "subscribed": False,
        }

    def remove(self, channel: Channel, ts: str) -> None:
        """Take a message out; its thread's counters follow."""
        message = channel.messages.pop(ts)
        parent_ts = message.get("thread_ts")
        if ts in channel.top:
            channel.top.remove(ts)
        if parent_ts and parent_ts != ts:
            channel.threads[parent_ts].remove(ts)
            self.count_replies(channel, parent_ts)
        self.on_change(channel, parent_ts if parent_ts != ts else None)

    def _forget_oldest(self, channel: Channel) -> None:
        while len(channel.top) > KEEP_MESSAGES:
            gone = channel.top.pop(0)
            channel.messages.pop(gone, None)
            for reply in channel.threads.pop(gone, ()):
                channel.messages.pop(reply, None)

    def add_ephemeral(self, channel: Channel, message: Json) -> None:
        """Keep a message that one person sees; it is in no history."""
        channel.ephemerals.append(message)
        del channel.ephemerals[:-KEEP_EPHEMERALS]
        self.on_change(channel, message.get("thread_ts"))

    def unread(self, channel: Channel, user: str) -> int:
        """Count top-level messages of others that a person has not fetched yet."""
        start = bisect_right(channel.top, channel.last_read.get(user, ""))
        return sum(author(channel.messages[ts]) != user for ts in channel.top[start:])


def author(message: Json) -> str:
    """Return the id that thread counters and reactions name: the user, else the bot."""
    return str(message.get("user") or message.get("bot_id") or "")


def new_id(prefix: str) -> str:
    """Make an id such as ``Ev0A1B2C3D4E``."""
    return prefix + "0" + secrets.token_hex(5).upper()


def encode_cursor(position: str) -> str:
    """Make the opaque cursor for a position."""
    return base64.b64encode(f"next:{position}".encode()).decode()


def decode_cursor(cursor: str) -> str:
    """Return the position in a cursor; ValueError when we did not make it."""
    kind, _, position = base64.b64decode(cursor, validate=True).decode().partition(":")
    if kind != "next":
        raise ValueError(cursor)
    return position


def fresh_workspace(clock: Callable[[], float] = time.time) -> Workspace:
    """Make the workspace that everybody finds at the start."""
    workspace = Workspace(clock=clock)
    people = (
        User("U0ONCALL", "riley", "Riley Chen", "on-call, approver"),
        User("U0LEAD", "sam", "Sam Okafor", "team lead, approver"),
        User("U0DEV", "kim", "Kim Novak", "developer"),
        User("U0GUEST", "guest", "Gale Guest", "restricted guest", restricted=True),
        User("U0GONE", "alex", "Alex Former", "left the company", deleted=True),
        User(BOT_USER, "codehealer", "CodeHealer", "the bot", is_bot=True),
    )
    workspace.users = {person.id: person for person in people}
    staff = {"U0ONCALL", "U0LEAD", "U0DEV"}
    created = int(clock())
    for channel in (
        Channel("C0DEPLOY", "deployments", staff | {"U0GUEST", BOT_USER}, created=created),
        Channel("C0ALERTS", "alerts", staff | {BOT_USER}, created=created),
        Channel("C0GENERAL", "general", set(staff), is_general=True, created=created),
    ):
        workspace.channels[channel.id] = channel
    for person in ("U0ONCALL", "U0LEAD", "U0DEV"):
        workspace.direct_message(person)
    return workspace
