"""What Slack asks for: the scopes of its methods and events, and the rules of a manifest.

From docs.slack.dev/reference: methods, events, app manifests (v2). It holds more than we use, so that what begins to
be used is compared at once.
"""

from typing import Any

HISTORY = {"channels:history", "groups:history", "im:history"}
READ = {"channels:read", "groups:read"}

# A bot token's scopes by Web API method; empty where a method needs none. What one needs of several depends on the
# kind of conversation; we are in public and private channels and in direct messages.
METHOD_SCOPES: dict[str, set[str]] = {
    "agents.sessions.rename": {"chat:write"},
    "agents.sessions.setStatus": {"chat:write"},
    "apps.connections.open": set(),  # the app-level token's connections:write
    "assistant.threads.setStatus": {"chat:write"},
    "assistant.threads.setSuggestedPrompts": {"assistant:write"},
    "assistant.threads.setTitle": {"assistant:write"},
    "auth.test": set(),
    "bookmarks.add": {"bookmarks:write"},
    "bots.info": {"users:read"},
    "canvases.access.set": {"canvases:write"},
    "canvases.create": {"canvases:write"},
    "canvases.delete": {"canvases:write"},
    "canvases.edit": {"canvases:write"},
    "canvases.sections.lookup": {"canvases:read"},
    "chat.appendStream": {"chat:write"},
    "chat.delete": {"chat:write"},
    "chat.getPermalink": set(),
    "chat.postEphemeral": {"chat:write"},
    "chat.postMessage": {"chat:write"},
    "chat.startStream": {"chat:write"},
    "chat.stopStream": {"chat:write"},
    "chat.update": {"chat:write"},
    "conversations.canvases.create": {"canvases:write"},
    "conversations.history": HISTORY,
    "conversations.info": READ,
    "conversations.join": {"channels:join"},
    "conversations.list": READ,
    "conversations.members": READ,
    "conversations.open": {"im:write"},
    "conversations.replies": HISTORY,
    "files.completeUploadExternal": {"files:write"},
    "files.delete": {"files:write"},
    "files.getUploadURLExternal": {"files:write"},
    "files.info": {"files:read"},
    "pins.add": {"pins:write"},
    "reactions.add": {"reactions:write"},
    "reactions.get": {"reactions:read"},
    "reactions.remove": {"reactions:write"},
    "team.info": {"team:read"},
    "usergroups.list": {"usergroups:read"},
    "usergroups.users.list": {"usergroups:read"},
    "users.conversations": READ | {"im:read"},
    "users.info": {"users:read"},
    "users.list": {"users:read"},
    "users.lookupByEmail": {"users:read.email"},
    "views.open": set(),
    "views.publish": set(),
    "views.push": set(),
    "views.update": set(),
}
# Helpers of slack_sdk that call several of them.
HELPERS = {
    "chat_stream": ("chat.startStream", "chat.appendStream", "chat.stopStream"),
    "files_upload_v2": ("files.getUploadURLExternal", "files.completeUploadExternal"),
}
# With a user's token, where there is one.
USER_METHOD_SCOPES = {"assistant.search.context": {"search:read.public"}}

# By an event's name in the manifest.
EVENT_SCOPES: dict[str, set[str]] = {
    "agent_session_stopped": {"chat:write"},
    "agent_session_title_changed": {"chat:write"},
    "app_context_changed": {"assistant:write"},
    "app_home_opened": set(),
    "app_mention": {"app_mentions:read"},
    "app_uninstalled": set(),
    "assistant_thread_context_changed": {"assistant:write"},
    "assistant_thread_started": {"assistant:write"},
    "channel_archive": {"channels:read"},
    "channel_deleted": {"channels:read"},
    "channel_id_changed": set(),
    "channel_left": {"channels:read"},
    "channel_rename": {"channels:read"},
    "channel_unarchive": {"channels:read"},
    "file_shared": {"files:read"},
    "group_archive": {"groups:read"},
    "group_deleted": {"groups:read"},
    "group_left": {"groups:read"},
    "group_rename": {"groups:read"},
    "group_unarchive": {"groups:read"},
    "member_joined_channel": READ,
    "member_left_channel": READ,
    "message.channels": {"channels:history"},
    "message.groups": {"groups:history"},
    "message.im": {"im:history"},
    "message.mpim": {"mpim:history"},
    "reaction_added": {"reactions:read"},
    "reaction_removed": {"reactions:read"},
    "subteam_members_changed": {"usergroups:read"},
    "tokens_revoked": set(),
    "user_change": {"users:read"},
}


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _text(high: int, low: int = 1, **more: Any) -> dict[str, Any]:
    return {"type": "string", "minLength": low, "maxLength": high, **more}


def _list(item: dict[str, Any], high: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": high, "uniqueItems": True}


_YES_OR_NO = {"type": "boolean"}
_PROMPTS = _list(_object("title message", title=_text(150), message=_text(4000)), 4)
# The parts that an app without hosted functions can have.
MANIFEST_SCHEMA: dict[str, Any] = _object(
    "display_information",
    _metadata=_object(major_version={"enum": [1, 2]}, minor_version={"type": "integer"}),
    display_information=_object(
        "name",
        name=_text(35),
        description=_text(140),
        long_description=_text(4000, 175),
        background_color={"type": "string", "pattern": "^#([0-9a-fA-F]{3}){1,2}$"},
    ),
    features=_object(
        app_home=_object(
            home_tab_enabled=_YES_OR_NO, messages_tab_enabled=_YES_OR_NO, messages_tab_read_only_enabled=_YES_OR_NO
        ),
        bot_user=_object("display_name", display_name=_text(80), always_online=_YES_OR_NO),
        agent_view=_object(
            agent_description=_text(300),
            suggested_prompts=_PROMPTS,
            actions=_list(_object("name description", name=_text(255), description=_text(255)), 10),
        ),
        assistant_view=_object("assistant_description", assistant_description=_text(300), suggested_prompts=_PROMPTS),
        shortcuts=_list(
            _object(
                "name type callback_id description",
                name=_text(24),
                type={"enum": ["message", "global"]},
                callback_id=_text(255),
                description=_text(150),
            ),
            10,
        ),
        slash_commands=_list(
            _object(
                "command description",
                command=_text(32, 2, pattern="^/"),
                description=_text(2000),
                usage_hint=_text(1000),
                should_escape=_YES_OR_NO,
                url=_text(3000, pattern="^https?://"),
            ),
            50,
        ),
        unfurl_domains=_list(_text(255), 5),
    ),
    oauth_config=_object(
        scopes=_object(**{kind: _list(_text(255), 255) for kind in ("bot", "user", "bot_optional", "user_optional")}),
        redirect_urls=_list(_text(255), 1000),
        token_management_enabled=_YES_OR_NO,
        pkce_enabled=_YES_OR_NO,
    ),
    settings=_object(
        event_subscriptions=_object(
            request_url=_text(3000, pattern="^https?://"),
            bot_events=_list(_text(255), 100),
            user_events=_list(_text(255), 100),
        ),
        interactivity=_object(
            "is_enabled",
            is_enabled=_YES_OR_NO,
            request_url=_text(3000, pattern="^https?://"),
            message_menu_options_url=_text(3000, pattern="^https?://"),
        ),
        org_deploy_enabled=_YES_OR_NO,
        socket_mode_enabled=_YES_OR_NO,
        token_rotation_enabled=_YES_OR_NO,
        is_mcp_enabled=_YES_OR_NO,
        allowed_ip_address_ranges=_list(_text(255), 100),
    ),
)
