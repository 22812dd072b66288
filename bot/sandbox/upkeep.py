"""What becomes of the workspace itself: channels, people's edits, the app's installation, the time, bursts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .slack import Refused, Slack, events, interactions
from .slack.posting import Content, change, delete, new_content, post_as_app
from .slack.state import BOT_USER, OTHER_APPS, Channel, User, new_id
from .slack.text import typed

Json = dict[str, Any]

MAX_BURST = 1000
MAX_FORWARD_SECONDS = 365 * 86_400
CHANGES = ("archive", "unarchive", "rename", "delete")


def channel(slack: Slack, body: Json) -> Json:
    """Make a channel (``name``, ``private``), or with ``what`` archive, unarchive, rename or delete one."""
    user = interactions.person(slack, str(body.get("user", "")))
    what = body.get("what")
    if what is None:
        name = _free_name(slack, body)
        made = Channel(
            new_id("C"), name, {user.id}, is_private=bool(body.get("private")), created=int(slack.workspace.clock())
        )
        slack.workspace.channels[made.id] = made
        slack.workspace.on_change(made, None)
        return {"channel": made.id}
    found = interactions.place(slack, str(body.get("channel", "")), user)
    if what not in CHANGES or found.is_im:
        raise Refused(f"a channel can be changed by: {', '.join(CHANGES)}")
    if what == "rename":
        found.name = _free_name(slack, body)
    elif what == "delete":
        del slack.workspace.channels[found.id]
    else:
        found.is_archived = what == "archive"
    events.channel_changed(slack, found, "deleted" if what == "delete" else what, user.id)
    slack.workspace.on_change(found, None)
    return {"channel": found.id}


def _free_name(slack: Slack, body: Json) -> str:
    name = str(body.get("name") or "").strip().lstrip("#").lower()
    if not name or " " in name or slack.workspace.find_channel(name):
        raise Refused("a channel needs a name in one word that no other has")
    return name


def edit(slack: Slack, body: Json) -> Json:
    """Change the ``text`` of one's own message; without one it is deleted."""
    user, where, message = _own(slack, body)
    text = str(body.get("text") or "").strip()
    if text:
        content = Content(typed(text, *slack.workspace.names()))
        change(slack, where, message, new_content(content, user.id, slack.workspace.next_ts()))
    else:
        delete(slack, where, message)
    return {"ts": message["ts"]}


def _own(slack: Slack, body: Json) -> tuple[User, Channel, Json]:
    user = interactions.person(slack, str(body.get("user", "")))
    where = interactions.place(slack, str(body.get("channel", "")), user)
    message = where.messages.get(str(body.get("ts", "")))
    if message is None or message.get("user") != user.id:
        raise Refused(f"{user.name} has no such message there", 409)
    return user, where, message


def dismiss(slack: Slack, body: Json) -> Json:
    """Take a private message out of one's own sight."""
    user = interactions.person(slack, str(body.get("user", "")))
    where = interactions.place(slack, str(body.get("channel", "")), user)
    kept = [m for m in where.ephemerals if m["ts"] != body.get("ts") or m["for_user"] != user.id]
    gone = len(where.ephemerals) - len(kept)
    where.ephemerals[:] = kept
    slack.workspace.on_change(where, None)
    return {"dismissed": gone}


def uninstall(slack: Slack, _body: Json) -> Json:
    """Take the app out of the workspace: it is told, and from then on its tokens are void."""
    events.uninstalled(slack)
    slack.faults.token_error = "account_inactive"  # noqa: S105 - the name of an error
    return {"ok": True}


def clock(slack: Slack, body: Json) -> Json:
    """Let ``seconds`` pass for Slack's deadlines."""
    seconds = body.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_FORWARD_SECONDS:
        raise Refused("seconds must be a number from 0 to a year's")
    slack.clock.forward(seconds)
    return {"ahead": slack.clock.ahead}


def burst(slack: Slack, body: Json) -> Json:
    """Post ``count`` messages at once, as an app that other tools write through."""
    count = body.get("count", 100)
    where = slack.workspace.find_channel(str(body.get("channel") or "C0ALERTS"))
    if not isinstance(count, int) or not 1 <= count <= MAX_BURST or where is None:
        raise Refused(f"count must be a whole number from 1 to {MAX_BURST}, channel one that exists")
    app = OTHER_APPS["Alertmanager"]
    for number in range(1, count + 1):
        post_as_app(slack, where, app, Content(f"Message {number} of a burst of {count}"))
    return {"count": count, "heard": BOT_USER in where.members}


ACTS: dict[str, Callable[[Slack, Json], Json]] = {
    "channel": channel,
    "edit": edit,
    "dismiss": dismiss,
    "uninstall": uninstall,
    "clock": clock,
    "burst": burst,
}
