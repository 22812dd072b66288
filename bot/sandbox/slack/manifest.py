"""What the app under test was installed with: its scopes, its subscriptions, its commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MANIFEST = Path(__file__).resolve().parents[3] / "app_manifest.yml"

SCOPES = [
    "app_mentions:read",
    "assistant:write",
    "channels:history",
    "channels:read",
    "chat:write",
    "commands",
    "files:write",
    "groups:history",
    "groups:read",
    "im:history",
    "im:read",
    "im:write",
    "reactions:read",
    "reactions:write",
    "team:read",
    "usergroups:read",
    "users:read",
]
OPTIONAL_SCOPES = [
    "channels:join",
    "chat:write.public",
    "files:read",
    "mpim:history",
    "mpim:read",
    "search:read.public",
    "users:read.email",
]
USER_SCOPES = ["search:read.public"]
BOT_EVENTS = [
    "agent_session_stopped",
    "app_context_changed",
    "app_home_opened",
    "app_mention",
    "app_uninstalled",
    "channel_archive",
    "channel_deleted",
    "channel_id_changed",
    "channel_left",
    "channel_rename",
    "channel_unarchive",
    "group_deleted",
    "group_archive",
    "group_left",
    "member_joined_channel",
    "message.channels",
    "message.groups",
    "message.im",
    "reaction_added",
    "reaction_removed",
    "subteam_members_changed",
    "tokens_revoked",
    "user_change",
]
COMMAND: dict[str, Any] = {
    "command": "/codehealer",
    "description": "Investigate, list incidents, index a channel or get help",
    "usage_hint": "[investigate | incidents | index | approvals | help]",
    "should_escape": True,
}

SHORTCUTS = (
    {"name": "Diagnose this", "type": "message", "callback_id": "diagnose_message", "description": ""},
    {"name": "Remember this fix", "type": "message", "callback_id": "remember_fix_message", "description": ""},
)


@dataclass(frozen=True)
class Manifest:
    """The parts of an app manifest that change what Slack does."""

    scopes: frozenset[str]
    optional_scopes: frozenset[str]
    user_scopes: frozenset[str]
    bot_events: frozenset[str]
    commands: tuple[dict[str, Any], ...]
    shortcuts: tuple[dict[str, str], ...]
    home_enabled: bool = True
    agent: bool = True  # whether it has Slack's agent view


def load_manifest(path: Path = MANIFEST) -> Manifest:
    """Read the manifest of the repository; without one, the app is installed with every scope and event known here."""
    return parse_manifest(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else full_manifest()


def full_manifest() -> Manifest:
    """Return an app with every scope, event and command known here."""
    return Manifest(
        frozenset(SCOPES),
        frozenset(OPTIONAL_SCOPES),
        frozenset(USER_SCOPES),
        frozenset(BOT_EVENTS),
        (COMMAND,),
        SHORTCUTS,
    )


def parse_manifest(document: dict[str, Any]) -> Manifest:
    """Pick scopes, events, commands and shortcuts from a manifest (schema v2)."""
    scopes = document.get("oauth_config", {}).get("scopes", {})
    features = document.get("features", {})
    subscriptions = document.get("settings", {}).get("event_subscriptions", {})
    return Manifest(
        scopes=frozenset(scopes.get("bot", ())),
        optional_scopes=frozenset(scopes.get("bot_optional", ())),
        user_scopes=frozenset([*scopes.get("user", ()), *scopes.get("user_optional", ())]),
        bot_events=frozenset(subscriptions.get("bot_events", ())),
        commands=tuple(features.get("slash_commands", ())),
        shortcuts=tuple(features.get("shortcuts", ())),
        agent=bool(features.get("agent_view") or features.get("assistant_view")),
        home_enabled=bool(features.get("app_home", {}).get("home_tab_enabled", True)),
    )
