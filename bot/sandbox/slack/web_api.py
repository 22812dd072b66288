"""The Web API: who calls, may they, how often, and what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from typing import Any

import orjson
from aiohttp import web

from . import (
    methods_chat,
    methods_conversations,
    methods_other,
    methods_people,
    methods_search,
    methods_streams,
    methods_views,
    transcript,
)
from .arguments import read_arguments
from .blocks import check_message
from .call import SEARCHER, Call, Method
from .core import RESPONSE_USES, ResponseUrl, Slack
from .errors import SlackError
from .posting import Content, change, delete, new_content, post_as_bot, post_ephemeral
from .socket_mode import dropped, hung_up, swallowed
from .state import BOT_ID, BOT_USER, Channel, decode_cursor, encode_cursor

Json = dict[str, Any]

METHODS: dict[str, Method] = {
    **methods_chat.METHODS,
    **methods_streams.METHODS,
    **methods_conversations.METHODS,
    **methods_people.METHODS,
    **methods_views.METHODS,
    **methods_other.METHODS,
    **methods_search.METHODS,
}
# Long enough that a caller which does not wait is seen to call again, short enough for a person who tries it.
LIMITED_SECONDS = 2
APP_SCOPES = frozenset({"connections:write"})
SEARCH_METHODS = frozenset({"assistant.search.context", "assistant.search.info", "search.messages"})
HISTORY_METHODS = frozenset({"conversations.history", "conversations.replies"})
# What a method lists, page by page.
PAGED = {
    "conversations.history": "messages",
    "conversations.replies": "messages",
    "conversations.members": "members",
    "conversations.list": "channels",
    "users.conversations": "channels",
    "users.list": "members",
}
_AFTER_EMPTY = "after-empty "


class Unanswered(Exception):
    """A call was carried out, and its caller shall not hear of it."""


def add_routes(app: web.Application, slack: Slack) -> None:
    """Serve the Web API, the Socket Mode link, uploads, files and response URLs."""

    async def call(request: web.Request) -> web.StreamResponse:
        return await _answer(slack, request)

    async def respond(request: web.Request) -> web.StreamResponse:
        return await answer_response_url(slack, request)

    async def upload(request: web.Request) -> web.StreamResponse:
        return await _take_upload(slack, request)

    async def download(request: web.Request) -> web.StreamResponse:
        return _give_file(slack, request)

    app.router.add_route("*", "/api/{method}", call)
    app.router.add_get("/link/", slack.sockets.serve)
    app.router.add_post("/response/{key}", respond)
    app.router.add_post("/upload/{key}", upload)
    app.router.add_get("/files-pri/{id}/{name}", download)


def _json(body: Json, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


async def _answer(slack: Slack, request: web.Request) -> web.StreamResponse:
    if slack.faults.refuse_connections or await swallowed(slack.faults):
        return dropped(request)
    name = request.match_info["method"]
    if slack.faults.slow_ms:
        await asyncio.sleep(slack.faults.slow_ms / 1000)
    started = time.time()
    args: Json = {}
    status, headers = 200, _scope_headers(frozenset(), name)
    try:
        args = await read_arguments(request)
        method = METHODS.get(name)
        if method is None or (name in SEARCH_METHODS and not slack.search):
            body = _unknown(name)
        else:
            scopes = authenticate(slack, request, args, method.kind)
            headers = _scope_headers(scopes, name)
            body = {"ok": True, **await _perform(Call(slack, args, scopes), name, method)}
    except SlackError as error:
        status, headers = error.status, headers | error.headers
        body = {"ok": False, "error": error.code, **error.more}
    except Unanswered:
        slack.log.add(_logged(name, args, {"ok": True}, started, status))
        await hung_up(request)
        return dropped(request)
    slack.log.add(_logged(name, args, body, started, status))
    transcript.note(name, args, body, request.headers.get("User-Agent", ""))
    return _json(body, status, headers)


def _unknown(name: str) -> Json:
    error = "feature_not_enabled" if name in SEARCH_METHODS else "unknown_method"
    return {"ok": False, "error": error, "req_method": name}


def _scope_headers(scopes: frozenset[str], name: str) -> dict[str, str]:
    accepted = METHODS[name].scope if name in METHODS else ""
    return {"x-oauth-scopes": ",".join(sorted(scopes)), "x-accepted-oauth-scopes": accepted}


async def _perform(call: Call, name: str, method: Method) -> Json:
    """Run a method within its scope and its limits, with the faults that are in force."""
    slack = call.slack
    if method.scope:
        call.need(method.scope)
    limited = slack.faults.strikes("rate_limit_next", name, method.writes)
    wait = LIMITED_SECONDS if limited else _wait(slack, name, method, call.args)
    if wait:
        raise SlackError("ratelimited", 429, {"Retry-After": str(wait)})
    if refusal := slack.faults.refusal(name, str(call.args.get("channel", ""))):
        raise SlackError(refusal)
    if slack.faults.strikes("error_before_write_next", name, method.writes):
        raise SlackError("internal_error", 500)
    body = _empty_page(call, name) or await method.run(call)
    if slack.faults.strikes("error_after_write_next", name, method.writes):
        raise SlackError("internal_error", 500)
    if slack.faults.strikes("hang_after_write_next", name, method.writes):
        raise Unanswered
    return body


def _empty_page(call: Call, name: str) -> Json | None:
    """Return the empty page that comes before the one asked for, None when that one is due."""
    if name not in PAGED or not call.slack.faults.empty_pages:
        return None
    cursor = str(call.args.get("cursor") or "")
    with contextlib.suppress(ValueError):
        position = decode_cursor(cursor)
        if position.startswith(_AFTER_EMPTY):
            call.args["cursor"] = position.removeprefix(_AFTER_EMPTY)
            return None
    following = encode_cursor(_AFTER_EMPTY + cursor)
    return {PAGED[name]: [], "has_more": True, "response_metadata": {"next_cursor": following}}


def _logged(name: str, args: Json, body: Json, at: float, status: int) -> Json:
    return {
        "at": at,
        "system": "slack",
        "method": name,
        "args": {key: value for key, value in args.items() if key != "token"},
        "ok": body["ok"],
        "error": body.get("error", ""),
        "status": status,
        "channel": body.get("channel") if isinstance(body.get("channel"), str) else args.get("channel", ""),
        "ts": body.get("ts") or body.get("message_ts") or args.get("ts", ""),
    }


def _wait(slack: Slack, name: str, method: Method, args: Json) -> int:
    """Return the seconds that this call has to wait, 0 when it may go on."""
    if name == "chat.postMessage":
        # Names and ids of one channel share its bucket, and unknown channels share one, so that none can be dodged.
        channel = slack.workspace.find_channel(str(args.get("channel", "")))
        person = slack.workspace.users.get(str(args.get("channel", "")))
        return slack.limits.post(channel.id if channel else "D" + person.id[1:] if person else "unknown")
    limited = slack.faults.history_per_minute if name in HISTORY_METHODS else 0
    return slack.limits.method(name, limited or method.per_minute)


def authenticate(slack: Slack, request: web.Request, args: Json, kind: str) -> frozenset[str]:
    """Return the scopes of the token of a request; SlackError when it is missing, wrong, or of the other kind."""
    if not kind:
        return frozenset()
    header = request.headers.get("Authorization", "")
    given = header.removeprefix("Bearer ").strip() if header else str(args.get("token", ""))
    if not given:
        raise SlackError("not_authed")
    if slack.faults.token_error:
        raise SlackError(slack.faults.token_error)
    token = given.encode()
    is_bot = hmac.compare_digest(token, slack.tokens.slack_bot.encode())
    is_app = hmac.compare_digest(token, slack.tokens.slack_app.encode())
    is_user = hmac.compare_digest(token, slack.tokens.slack_user.encode())
    if not is_bot and not is_app and not is_user:
        raise SlackError("invalid_auth")
    if is_user:
        if kind != SEARCHER:
            raise SlackError("not_allowed_token_type")
        return slack.manifest.user_scopes
    if kind == SEARCHER and is_bot:
        # A bot searches with the token of a person's question, which only agent apps are given; this is none.
        raise SlackError("invalid_action_token")
    if is_bot != (kind == "bot"):
        raise SlackError("not_allowed_token_type")
    return slack.scopes if is_bot else APP_SCOPES


# Uploads and files


async def _take_upload(slack: Slack, request: web.Request) -> web.Response:
    file = slack.workspace.files.get(slack.uploads.pop(request.match_info["key"], ""))
    if file is None:
        return web.Response(status=404, text="not found")
    if request.content_type == "multipart/form-data":
        form = await request.post()
        part = next((value for value in form.values() if isinstance(value, web.FileField)), None)
        content = part.file.read() if part else b""
    else:
        content = await request.read()
    if len(content) != file.length:
        return web.Response(status=400, text=f"expected {file.length} bytes, got {len(content)}")
    file.content = content
    return web.Response(text=f"OK - {len(content)}")


def _give_file(slack: Slack, request: web.Request) -> web.Response:
    file = slack.workspace.files.get(request.match_info["id"])
    try:
        scopes = authenticate(slack, request, {}, "bot")
    except SlackError:
        return web.Response(status=403, text="forbidden")
    if file is None or file.content is None:
        return web.Response(status=404, text="not found")
    if "files:read" not in scopes:
        return web.Response(status=403, text="missing_scope")
    return web.Response(body=file.content, content_type="application/octet-stream")


# response_url


async def answer_response_url(slack: Slack, request: web.Request) -> web.StreamResponse:
    """Take a post to a response_url: five times within thirty minutes, no token."""
    if slack.faults.refuse_connections:
        return dropped(request)
    target = slack.responses.get(request.match_info["key"])
    started = time.time()
    if target is None or target.ends < slack.clock.now():
        return _json({"ok": False, "error": "expired_url" if target else "invalid_url"}, 404)
    if target.used >= RESPONSE_USES:
        return _json({"ok": False, "error": "used_url"}, 404)
    status, args = 200, {}
    try:
        args = await read_arguments(request)
        needed_content(args)
        target.used += 1
        channel = slack.workspace.channels[target.channel]
        respond_to(slack, channel, args, target)
        body: Json = {"ok": True}
    except SlackError as error:
        status, body = 400, {"ok": False, "error": error.code, **error.more}
    slack.log.add(_logged("response_url", args, body, started, status))
    return web.Response(text="ok") if status == 200 else _json(body, status)


def needed_content(args: Json) -> None:
    """Check what a response carries; SlackError when Slack would not take it."""
    check_message(args.get("blocks"), args.get("attachments"))
    if not args.get("delete_original") and not any(args.get(name) for name in ("text", "blocks", "attachments")):
        raise SlackError("no_text")


def respond_to(slack: Slack, channel: Channel, args: Json, source: ResponseUrl) -> str:
    """Carry out a response: replace or delete the message it came from, or post a new one; returns the message's ts."""
    content = Content(str(args.get("text") or ""), args.get("blocks"), args.get("attachments"))
    deletes = args.get("delete_original") is True
    message_ts, user, thread_ts = source.message_ts, source.user, source.thread_ts
    message = channel.messages.get(message_ts)
    if deletes or args.get("replace_original") is True:
        if source.is_ephemeral:
            channel.ephemerals[:] = [m for m in channel.ephemerals if m["ts"] != message_ts]
            slack.workspace.on_change(channel, thread_ts or None)
            return message_ts if deletes else post_ephemeral(slack, channel, user, content, thread_ts)
        if message is not None and message.get("bot_id") == BOT_ID:
            if deletes:
                delete(slack, channel, message)
            else:
                change(slack, channel, message, new_content(content, BOT_USER, slack.workspace.next_ts()))
            return message_ts
    thread = str(args.get("thread_ts") or "")
    if args.get("response_type") == "in_channel":
        return str(post_as_bot(slack, channel, content, thread)["ts"])
    return post_ephemeral(slack, channel, user, content, thread or thread_ts)
