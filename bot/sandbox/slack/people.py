"""How a person looks in users.info and in events."""

from __future__ import annotations

from typing import Any

from .state import APP_ID, BOT_ID, TEAM_ID, User

Json = dict[str, Any]


def user_json(user: User, with_email: bool) -> Json:
    """Describe a person as users.info does."""
    profile: Json = {
        "real_name": user.real_name,
        "display_name": user.name,
        "title": user.role,
        "team": user.team_id,
        "image_48": "https://a.slack-edge.com/avatar_48.png",
    }
    if with_email and not user.is_bot:
        profile["email"] = f"{user.name}@example.com"
    if user.is_bot:
        profile |= {"bot_id": BOT_ID, "api_app_id": APP_ID, "always_active": True}
    about: Json = {
        "id": user.id,
        "team_id": user.team_id,
        "name": user.name,
        "real_name": user.real_name,
        "deleted": user.deleted,
        "profile": profile,
        "is_bot": user.is_bot,
        "is_app_user": False,
        "updated": 1_700_000_000,
    }
    if user.deleted:
        return about
    return about | {
        "tz": "Europe/London",
        "tz_label": "Greenwich Mean Time",
        "tz_offset": 0,
        "is_admin": False,
        "is_owner": False,
        "is_primary_owner": False,
        "is_restricted": user.restricted,
        "is_ultra_restricted": False,
        **({"is_stranger": True} if user.team_id != TEAM_ID else {}),
    }
