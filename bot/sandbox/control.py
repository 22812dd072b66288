"""The control API of the page and of tests: act as a person, read what they see, break things."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from .slack import Refused, Slack, SlackError, events, interactions, views
from .slack.methods_other import MAX_FILE, REACTION, file_json, keep_file
from .slack.methods_streams import stop_as_person
from .slack.posting import Content, change, new_content, post_as_app, post_as_person, react, unreact
from .slack.socket_mode import DISCONNECT_REASONS
from .slack.state import BOT_USER, OTHER_APPS, OTHER_TEAM_ID, TEAM_DOMAIN, TEAM_ID, App, Channel, File, User, new_id
from .slack.text import typed
from .upkeep import ACTS as UPKEEP
from .world import World

Json = dict[str, Any]
Act = Callable[["Control", Json], Awaitable[Json]]

MAX_TYPED = 12_000
HOME_SECONDS = 3.0
WATCH_SECONDS = 1.0


@dataclass
class Control:
    """The workspace and the world, as people and tests reach them."""

    slack: Slack
    world: World
    numbered: dict[str, int] = field(default_factory=dict)

    def requests(self, system: str, since: int) -> Json:
        """Return the calls that a system received, from number ``since`` on."""
        if system == "slack":
            return {"requests": self.slack.log.since(since), "next": self.slack.log.next}
        found: list[Json] = []
        for entry in self.world.requests:
            if entry["system"] != system:
                continue
            if "number" not in entry:
                entry["number"] = self.numbered.get(system, 0)
                self.numbered[system] = entry["number"] + 1
            if entry["number"] >= since:
                found.append(entry)
        return {"requests": found, "next": self.numbered.get(system, 0)}

    async def watch_world(self) -> None:
        """Tell open pages when services, runs or applications look different."""
        before = b""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self.slack.pages.open:
                continue
            now = orjson.dumps(self.world.snapshot(), default=str)
            if before and now != before:
                self.slack.pages.push({"type": "world"})
            before = now


def user_json(user: User) -> Json:
    """Describe a person to the page."""
    return {
        "id": user.id,
        "name": user.name,
        "real_name": user.real_name,
        "role": user.role,
        "is_bot": user.is_bot,
        "deleted": user.deleted,
        "restricted": user.restricted,
        "team_id": user.team_id,
    }


def _sees(user: User, channel: Channel) -> bool:
    outside = channel.is_private or user.restricted or user.team_id != TEAM_ID
    return not outside or user.id in channel.members


def _channel_json(slack: Slack, channel: Channel, user: User) -> Json:
    return {
        "id": channel.id,
        "name": channel.name,
        "is_im": channel.is_im,
        "is_private": channel.is_private,
        "members": sorted(channel.members),
        "unread": slack.workspace.unread(channel, user.id),
    }


def state(control: Control, query: Json) -> Json:
    """Answer ``GET state``."""
    slack = control.slack
    user = interactions.person(slack, query.get("user", "U0ONCALL"))
    slack.workspace.direct_message(user.id)
    return {
        "team": {"id": TEAM_ID, "name": "Sandbox", "domain": TEAM_DOMAIN},
        "me": user_json(user),
        "users": [user_json(person) for person in slack.workspace.users.values()],
        "channels": [_channel_json(slack, c, user) for c in slack.workspace.channels.values() if _sees(user, c)],
        "bot_user": BOT_USER,
        "bot_connected": bool(slack.sockets.links) or slack.sockets.request_url is not None,
        "commands": list(slack.manifest.commands),
        "shortcuts": list(slack.manifest.shortcuts),
        "deliveries": dict(slack.sockets.counts),
    }


def acknowledgements(control: Control, _query: Json) -> Json:
    """Milliseconds that the newest acknowledgements took, by type of envelope."""
    return {kind: list(taken) for kind, taken in control.slack.sockets.ack_ms.items()}


def acknowledged_events(control: Control, _query: Json) -> Json:
    """The events that the bot said it has, and those that nobody took at any try."""
    sockets = control.slack.sockets
    return {"events": list(sockets.acknowledged), "given_up": list(sockets.given_up)}


def _shown(slack: Slack, message: Json) -> Json:
    shown = {name: value for name, value in message.items() if name != "for_user"}
    if not message.get("files"):
        return shown
    # A page has no token for url_private, so it gets the beginning of a text along.
    files = slack.workspace.files
    return shown | {"files": [file_json(slack, files[f["id"]]) if f["id"] in files else f for f in message["files"]]}


def messages(control: Control, query: Json) -> Json:
    """Answer ``GET messages``: what a person sees in a channel or a thread, oldest first."""
    slack = control.slack
    user = interactions.person(slack, query.get("user", ""))
    channel = interactions.place(slack, query.get("channel", ""), user)
    thread_ts = query.get("thread_ts", "")
    limit = _limit(query.get("limit", "200"))
    if thread_ts:
        order = [thread_ts, *channel.threads.get(thread_ts, ())]
    else:
        order = channel.top[-limit:]
        channel.last_read[user.id] = channel.top[-1] if channel.top else ""
    found = [_shown(slack, channel.messages[ts]) for ts in order if ts in channel.messages]
    mine = [m for m in channel.ephemerals if m["for_user"] == user.id and m.get("thread_ts", "") == thread_ts]
    found = sorted([*found, *(_shown(slack, m) for m in mine)], key=lambda m: str(m["ts"]))[-limit:]
    status = channel.statuses.get(thread_ts, {"text": "", "ends": 0.0})
    answer: Json = {"messages": found, "status": status["text"] if status["ends"] > slack.clock.now() else ""}
    return answer | ({"prompts": slack.workspace.prompts[channel.id]} if channel.id in slack.workspace.prompts else {})


def notifications(control: Control, query: Json) -> Json:
    """Answer ``GET notifications``: what a person was notified of, and why, oldest first."""
    user = interactions.person(control.slack, query.get("user", ""))
    return {"notifications": [one for one in control.slack.workspace.notifications if one["user"] == user.id]}


def _limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise Refused("limit must be a whole number from 1")
    return min(int(text), 1000)


async def post(control: Control, body: Json) -> Json:
    """Post as a person."""
    slack, workspace = control.slack, control.slack.workspace
    user = interactions.person(slack, str(body.get("user", "")))
    channel = interactions.place(slack, str(body.get("channel", "")), user)
    if user.id not in channel.members:
        channel.members.add(user.id)  # Slack's client offers to join; a person who types means yes.
        events.joined(slack, channel, user.id)
    text = str(body.get("text") or "")
    if len(text) > MAX_TYPED:
        raise Refused(f"a message has at most {MAX_TYPED} characters")
    files = [_kept_file(slack, user, body["file"])] if body.get("file") else None
    if not text.strip() and not files:
        raise Refused("there is nothing to post")
    message = post_as_person(
        slack, channel, user, typed(text, *workspace.names()), thread_ts=str(body.get("thread_ts") or ""), files=files
    )
    return {"ts": message["ts"], "channel": channel.id}


def _kept_file(slack: Slack, user: User, given: Any) -> Json:
    if not isinstance(given, dict) or not isinstance(given.get("content"), str) or not given.get("name"):
        raise Refused("a file needs a name and its content as text")
    content = given["content"].encode()
    if len(content) > MAX_FILE:
        raise Refused(f"a file has at most {MAX_FILE} bytes", 413)
    file = File(
        new_id("F"),
        str(given["name"]).replace("/", "_"),
        len(content),
        user.id,
        content=content,
        shared=True,
        created=int(time.time()),
    )
    keep_file(slack, file)
    return file_json(slack, file)


async def click(control: Control, body: Json) -> Json:
    """Press a button; inputs of the same message may come as ``values`` or as ``state.values``."""
    held = body.get("state")
    values = body.get("values") or (held.get("values") if isinstance(held, dict) else None)
    return await interactions.click(control.slack, body | {"values": values or {}})


async def reaction(control: Control, body: Json) -> Json:
    """Add or remove a reaction as a person."""
    slack = control.slack
    user = interactions.person(slack, str(body.get("user", "")))
    channel = interactions.place(slack, str(body.get("channel", "")), user)
    message = channel.messages.get(str(body.get("ts", "")))
    name = str(body.get("name", "")).strip(":")
    if message is None:
        raise Refused("that message is no longer there", 409)
    if not REACTION.fullmatch(name):
        raise Refused(f"there is no emoji {name!r}")
    (unreact if body.get("remove") else react)(slack, channel, message, user.id, name)
    return {"ok": True}


async def command(control: Control, body: Json) -> Json:
    """Run a slash command; ``/invite @codehealer`` is Slack's own."""
    slack = control.slack
    if body.get("command") == "/invite":
        user = interactions.person(slack, str(body.get("user", "")))
        channel = interactions.place(slack, str(body.get("channel", "")), user)
        await member(control, {"user": BOT_USER, "channel": channel.id, "inviter": user.id})
        return {"acknowledged": True, "response": None}
    return await interactions.command(slack, body)


async def member(control: Control, body: Json) -> Json:
    """Bring somebody into a channel, or out of it with ``remove``."""
    slack = control.slack
    channel = slack.workspace.find_channel(str(body.get("channel", "")))
    user = str(body.get("user", ""))
    if channel is None or channel.is_im or user not in slack.workspace.users:
        raise Refused("there is no such channel or no such person", 404)
    if body.get("remove"):
        was_in = user in channel.members
        channel.members.discard(user)
        if was_in:
            events.left(slack, channel, user)
    elif user not in channel.members:
        channel.members.add(user)
        events.joined(slack, channel, user, str(body.get("inviter", "")))
    slack.workspace.on_change(channel, None)
    return {"members": sorted(channel.members)}


async def change_user(control: Control, body: Json) -> Json:
    """Change what a person is: ``deleted``, ``restricted``, ``stranger`` (of another company), ``approver``."""
    slack = control.slack
    user = slack.workspace.users.get(str(body.get("user", "")))
    if user is None or user.is_bot:
        raise Refused("there is no such person", 404)
    user.deleted = bool(body.get("deleted", user.deleted))
    user.restricted = bool(body.get("restricted", user.restricted))
    if "stranger" in body:
        user.team_id = OTHER_TEAM_ID if body["stranger"] else TEAM_ID
    if "approver" in body:
        group = slack.workspace.group_members
        group[:] = [other for other in group if other != user.id] + ([user.id] if body["approver"] else [])
        events.group_changed(slack, user.id, added=bool(body["approver"]))
    events.user_changed(slack, user)
    return user_json(user)


def view(control: Control, query: Json) -> Json:
    """Answer ``GET view``: the modal on top."""
    user = interactions.person(control.slack, query.get("user", ""))
    shown = views.current(control.slack, user.id)
    return {"view": views.public(shown) if shown else None}


async def home(control: Control, body: Json) -> Json:
    """Open App Home as a person; waits a moment for the bot to publish it."""
    slack = control.slack
    user = interactions.person(slack, str(body.get("user", "")))
    before = slack.workspace.homes.get(user.id)
    events.home_opened(slack, user.id)
    if (slack.sockets.links or slack.sockets.request_url) and before is None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(slack.home_published(user.id), HOME_SECONDS)
    shown = slack.workspace.homes.get(user.id)
    return {"view": views.public(shown) if shown else None}


def world(control: Control, _query: Json) -> Json:
    """Answer ``GET world``."""
    return {"snapshot": control.world.snapshot(), "scenarios": control.world.scenarios()}


async def break_(control: Control, body: Json) -> Json:
    """Break something."""
    identifier = str(body.get("scenario", ""))
    try:
        answer = await control.world.break_(identifier)
    except KeyError as error:
        raise Refused(f"there is no scenario {identifier!r}", 404) from error
    control.slack.pages.push({"type": "world"})
    return answer


async def reset(control: Control, _body: Json) -> Json:
    """Make the world healthy and fresh; the workspace keeps its messages."""
    await control.world.reset()
    control.slack.pages.push({"type": "world"})
    return {"ok": True}


def faults(control: Control, _query: Json) -> Json:
    """Answer ``GET faults``."""
    return {"slack": control.slack.faults.as_json(), **control.world.faults}


async def set_faults(control: Control, body: Json) -> Json:
    """Change faults; one-shot ones strike now."""
    body = {system: changes for system, changes in body.items() if system != "user"}
    given = dict(body.get("slack") or {})
    drop, reason = given.pop("drop_socket", False), given.pop("disconnect_reason", "")
    if reason and reason not in DISCONNECT_REASONS:
        raise Refused(f"disconnect_reason is one of {', '.join(DISCONNECT_REASONS)}")
    for system, changes in body.items():
        if system != "slack" and (system not in control.world.faults or not isinstance(changes, dict)):
            raise Refused(f"there are no faults for {system}")
    try:
        control.slack.faults.update(given)
    except ValueError as error:
        raise Refused(str(error)) from error
    for system, changes in body.items():
        if system != "slack":
            control.world.faults[system].update(changes)
    if drop or control.slack.faults.refuse_connections:
        control.slack.sockets.drop_links()
    if reason:
        control.slack.sockets.disconnect(reason)
    return faults(control, {})


async def alert_post(control: Control, body: Json) -> Json:
    """Post as another app, or edit such a post when ``ts`` is given (as Alertmanager does when an alert ends)."""
    slack = control.slack
    name = str(body.get("app") or "Alertmanager")
    channel = slack.workspace.find_channel(str(body.get("channel") or "C0ALERTS"))
    if channel is None:
        raise Refused("there is no such channel", 404)
    app = OTHER_APPS.get(name) or App("A0" + name.upper()[:9], "B0" + name.upper()[:9], name)
    content = Content(str(body.get("text") or ""), body.get("blocks"), body.get("attachments"))
    old = channel.messages.get(str(body.get("ts") or ""))
    if old is None:
        message = post_as_app(slack, channel, app, content, str(body.get("thread_ts") or ""))
        return {"ts": message["ts"], "channel": channel.id}
    change(slack, channel, old, new_content(content, app.bot_id, slack.workspace.next_ts()))
    return {"ts": old["ts"], "channel": channel.id}


async def submit(control: Control, body: Json) -> Json:
    """Submit the open modal."""
    return await interactions.submit(control.slack, body)


async def close(control: Control, body: Json) -> Json:
    """Close the open modal."""
    return await interactions.close(control.slack, body)


async def shortcut(control: Control, body: Json) -> Json:
    """Run a shortcut."""
    return await interactions.shortcut(control.slack, body)


READS: dict[str, Callable[[Control, Json], Json]] = {
    "acknowledgements": acknowledgements,
    "acknowledged_events": acknowledged_events,
    "state": state,
    "messages": messages,
    "notifications": notifications,
    "view": view,
    "world": world,
    "faults": faults,
}


async def opened(control: Control, body: Json) -> Json:
    """Open the conversation with the bot; with ``about`` (channel and ts of a message), look at that beside it."""
    slack = control.slack
    user = interactions.person(slack, str(body.get("user", "")))
    about = body.get("about")
    if isinstance(about, dict):
        channel = interactions.place(slack, str(about.get("channel", "")), user)
        events.context_changed(slack, user.id, channel.id, str(about.get("ts", "")))
    else:
        events.home_opened(slack, user.id, "messages")
    return {"ok": True}


async def stop_stream(control: Control, body: Json) -> Json:
    """Press Stop on a message that is being streamed."""
    slack = control.slack
    user = interactions.person(slack, str(body.get("user", "")))
    channel = interactions.place(slack, str(body.get("channel", "")), user)
    message = channel.messages.get(str(body.get("ts", "")))
    if message is None:
        raise Refused("that message is no longer there", 409)
    stop_as_person(slack, channel, message, user.id)
    return {"ok": True}


ACTS: dict[str, Act] = {
    "opened": opened,
    "stop": stop_stream,
    "post": post,
    "click": click,
    "react": reaction,
    "command": command,
    "shortcut": shortcut,
    "submit": submit,
    "close": close,
    "home": home,
    "member": member,
    "user": change_user,
    "break": break_,
    "reset": reset,
    "faults": set_faults,
    "alertpost": alert_post,
}


def add_routes(app: web.Application, control: Control) -> None:
    """Serve ``/sandbox/api/…`` and ``/sandbox/ws``."""

    async def read(request: web.Request) -> web.Response:
        return await _answer(READS.get(request.match_info["name"]), control, dict(request.query))

    async def act(request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            # A form on some website in the same browser could be sent here without asking; JSON cannot.
            return _json({"error": "send application/json"}, 415)
        try:
            body = orjson.loads(await request.read() or b"{}")
        except orjson.JSONDecodeError:
            return _json({"error": "the body is no JSON"}, 400)
        if not isinstance(body, dict):
            return _json({"error": "the body must be an object"}, 400)
        name = request.match_info["name"]
        if name in UPKEEP:
            return await _answer(UPKEEP[name], control.slack, body)
        return await _answer(ACTS.get(name), control, body)

    async def requests(request: web.Request) -> web.Response:
        since = request.query.get("since", "0")
        if not since.isdecimal():
            return _json({"error": "since must be a number"}, 400)
        return _json(control.requests(request.query.get("system", "slack"), int(since)))

    async def socket(request: web.Request) -> web.StreamResponse:
        user = request.query.get("user", "")
        if user not in control.slack.workspace.users:
            return _json({"error": f"there is no user {user}"}, 404)
        return await control.slack.pages.serve(request, user)

    app.router.add_get("/sandbox/ws", socket)
    app.router.add_get("/sandbox/api/requests", requests)
    app.router.add_get("/sandbox/api/{name}", read)
    app.router.add_post("/sandbox/api/{name}", act)


async def _answer(function: Any, control: Control | Slack, given: Json) -> web.Response:
    if function is None:
        return _json({"error": "there is no such call"}, 404)
    try:
        answer = function(control, given)
        return _json(await answer if asyncio.iscoroutine(answer) else answer)
    except Refused as refusal:
        return _json({"error": refusal.reason}, refusal.status)
    except SlackError as error:
        return _json({"error": error.code}, 400)


def _json(body: Json, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body, default=str), status=status, content_type="application/json")
