"""The manifest against the code: what is listened to and called, and the scopes that this takes."""

import re
from pathlib import Path
from typing import Any

import yaml

from bot.slack_app import NEEDED_SCOPES
from handlers import listeners, slack_search

ROOT = Path(__file__).parents[1]

# An event of ours as the manifest names it: a message has one name a kind of conversation.
IN_THE_MANIFEST = {"message": {"message.channels", "message.groups", "message.im"}}

# Scopes by Web API method (docs.slack.dev/reference/methods) and by event; empty where a method needs none.
HISTORY = {"channels:history", "groups:history", "im:history"}
READ = {"channels:read", "groups:read"}
METHOD_SCOPES: dict[str, set[str]] = {
    "assistant_threads_setStatus": {"chat:write"},
    "assistant_threads_setSuggestedPrompts": {"assistant:write"},
    "assistant_threads_setTitle": {"assistant:write"},
    "auth_test": set(),
    "apps_connections_open": set(),  # the app-level token's connections:write
    "chat_getPermalink": set(),
    "chat_appendStream": {"chat:write"},
    "chat_delete": {"chat:write"},
    "chat_postEphemeral": {"chat:write"},
    "chat_postMessage": {"chat:write"},
    "chat_startStream": {"chat:write"},
    "chat_stopStream": {"chat:write"},
    "chat_update": {"chat:write"},
    "conversations_history": HISTORY,
    "conversations_info": READ,
    "conversations_members": READ,
    "conversations_open": {"im:write"},
    "conversations_replies": HISTORY,
    "files_info": {"files:read"},
    "reactions_add": {"reactions:write"},
    "usergroups_users_list": {"usergroups:read"},
    "users_conversations": READ,
    "users_info": {"users:read"},
    "views_open": set(),
}
EVENT_SCOPES: dict[str, set[str]] = {
    "agent_session_stopped": {"chat:write"},
    "app_context_changed": {"assistant:write"},
    "app_home_opened": set(),
    "app_mention": {"app_mentions:read"},
    "message": HISTORY,
    "reaction_added": {"reactions:read"},
    "reaction_removed": {"reactions:read"},
    "member_joined_channel": READ,
    "channel_left": {"channels:read"},
    "channel_deleted": {"channels:read"},
    "group_left": {"groups:read"},
    "group_deleted": {"groups:read"},
    "app_uninstalled": set(),
    "tokens_revoked": set(),
}
# Called, or handed on to be called.
CALL = re.compile(
    r"(?:slack|client)\.((?:assistant_threads|auth|apps|chat|conversations|reactions|usergroups|users|views|files)_\w+)[(,]"
)
# With a user's token, where there is one (docs.slack.dev/reference/methods).
SEARCH_SCOPES = {"assistant.search.context": {"search:read.public"}}


def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "app_manifest.yml").read_text())
    return loaded


def methods_called() -> set[str]:
    """Every Web API method that the bot calls, its sandbox apart."""
    files = [*(ROOT / "handlers").rglob("*.py"), *(ROOT / "bot").glob("*.py")]
    return {name for path in files for name in CALL.findall(path.read_text())}


def test_every_event_is_listened_to_and_every_listener_has_its_event() -> None:
    listened = {name for event in listeners.EVENTS for name in IN_THE_MANIFEST.get(event, {event})}
    assert set(manifest()["settings"]["event_subscriptions"]["bot_events"]) == listened


def test_commands_and_shortcuts_are_those_that_are_listened_to() -> None:
    features = manifest()["features"]
    assert {command["command"] for command in features["slash_commands"]} == set(listeners.COMMANDS)
    assert {shortcut["callback_id"] for shortcut in features["shortcuts"]} == set(listeners.SHORTCUTS)


def test_clicks_arrive_because_interactivity_is_on() -> None:
    assert listeners.ACTIONS
    assert manifest()["settings"]["interactivity"]["is_enabled"]


def test_the_scopes_are_those_that_calls_and_events_take_and_no_other() -> None:
    assert methods_called() == set(METHOD_SCOPES)
    assert set(listeners.EVENTS) == set(EVENT_SCOPES)
    needed = set().union(*METHOD_SCOPES.values(), *EVENT_SCOPES.values(), {"commands"})
    assert set(manifest()["oauth_config"]["scopes"]["bot"]) == needed


def test_the_user_scopes_are_those_that_slacks_search_takes() -> None:
    scopes = manifest()["oauth_config"]["scopes"]
    assert set(scopes["user_optional"]) == SEARCH_SCOPES[slack_search.METHOD]
    assert "user" not in scopes, "nobody has to grant it"


def test_the_scopes_that_the_start_insists_on_are_asked_for() -> None:
    assert set(manifest()["oauth_config"]["scopes"]["bot"]) >= NEEDED_SCOPES
