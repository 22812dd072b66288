"""auth.test, users.*, usergroups.*, bots.info, team.info, and the opening of Socket Mode."""

from __future__ import annotations

from typing import Any

from .arguments import flag, integer, needed, text
from .call import TIER_2, TIER_3, TIER_4, Call, Method, page_of
from .errors import SlackError
from .people import user_json
from .state import (
    APP_ID,
    BOT_ID,
    BOT_USER,
    OTHER_APPS,
    OUR_APP,
    TEAM_DOMAIN,
    TEAM_ID,
    USERGROUP_ID,
)

Json = dict[str, Any]

TEAM_URL = f"https://{TEAM_DOMAIN}.slack.com/"


async def api_test(call: Call) -> Json:
    """api.test."""
    return {"args": {name: value for name, value in call.args.items() if name != "token"}}


async def auth_test(call: Call) -> Json:
    """auth.test."""
    return {
        "url": TEAM_URL,
        "team": "Sandbox",
        "user": call.slack.workspace.users[BOT_USER].name,
        "team_id": TEAM_ID,
        "user_id": BOT_USER,
        "bot_id": BOT_ID,
        "is_enterprise_install": False,
    }


async def open_connection(call: Call) -> Json:
    """apps.connections.open."""
    if call.slack.faults.link_disabled:
        raise SlackError("forbidden_team")
    address = call.slack.base_url.replace("http", "ws", 1)
    return {"url": f"{address}/link/?ticket={call.slack.sockets.new_ticket()}&app_id={APP_ID}"}


async def users_info(call: Call) -> Json:
    """users.info."""
    user = call.slack.workspace.users.get(needed(call.args, "user"))
    if user is None:
        raise SlackError("user_not_found")
    return {"user": user_json(user, "users:read.email" in call.scopes)}


async def users_list(call: Call) -> Json:
    """users.list."""
    everybody = list(call.slack.workspace.users.values())
    page, cursor = page_of(everybody, text(call.args, "cursor"), integer(call.args, "limit", 100, 1, 999))
    email = "users:read.email" in call.scopes
    return {"members": [user_json(user, email) for user in page], "response_metadata": {"next_cursor": cursor}}


async def users_by_email(call: Call) -> Json:
    """users.lookupByEmail."""
    email = needed(call.args, "email")
    for user in call.slack.workspace.users.values():
        if email == f"{user.name}@example.com" and not user.deleted and not user.is_bot:
            return {"user": user_json(user, with_email=True)}
    raise SlackError("users_not_found")


async def usergroups(call: Call) -> Json:
    """usergroups.list: one group, the on-call approvers."""
    members = call.slack.workspace.group_members
    group: Json = {
        "id": USERGROUP_ID,
        "team_id": TEAM_ID,
        "is_usergroup": True,
        "name": "On-call",
        "handle": "oncall",
        "description": "People who may approve a remediation",
        "is_external": False,
        "auto_type": None,
        "date_create": 1_700_000_000,
        "date_update": 1_700_000_000,
        "date_delete": 0,
        "created_by": "U0LEAD",
        "updated_by": "U0LEAD",
        "user_count": str(len(members)),
        "prefs": {"channels": [], "groups": []},
    }
    return {"usergroups": [group | ({"users": list(members)} if flag(call.args, "include_users") else {})]}


async def usergroup_users(call: Call) -> Json:
    """usergroups.users.list."""
    if needed(call.args, "usergroup") != USERGROUP_ID:
        raise SlackError("no_such_subteam")
    users = call.slack.workspace.users
    return {"users": [user for user in call.slack.workspace.group_members if not users[user].deleted]}


async def bots_info(call: Call) -> Json:
    """bots.info."""
    wanted = text(call.args, "bot") or BOT_ID
    for app in (OUR_APP, *OTHER_APPS.values()):
        if app.bot_id == wanted:
            about = {"id": app.bot_id, "app_id": app.id, "name": app.name, "deleted": False, "updated": 1_700_000_000}
            return {"bot": about | ({"user_id": BOT_USER} if app is OUR_APP else {})}
    raise SlackError("bot_not_found")


async def team_info(call: Call) -> Json:
    """team.info."""
    if text(call.args, "team") not in ("", TEAM_ID):
        raise SlackError("team_not_found")
    team = {"id": TEAM_ID, "name": "Sandbox", "domain": TEAM_DOMAIN, "url": TEAM_URL, "email_domain": ""}
    return {"team": team | {"icon": {"image_default": True}}}


METHODS: dict[str, Method] = {
    "api.test": Method(api_test, kind=""),
    "auth.test": Method(auth_test),
    "apps.connections.open": Method(open_connection, "connections:write", TIER_3, kind="app"),
    "users.info": Method(users_info, "users:read", TIER_4),
    "users.list": Method(users_list, "users:read", TIER_2),
    "users.lookupByEmail": Method(users_by_email, "users:read.email", TIER_3),
    "usergroups.list": Method(usergroups, "usergroups:read", TIER_2),
    "usergroups.users.list": Method(usergroup_users, "usergroups:read", TIER_2),
    "bots.info": Method(bots_info, "users:read", TIER_3),
    "team.info": Method(team_info, "team:read", TIER_3),
}
