"""The app manifest by Slack's rules for its fields; tests/test_manifest.py holds it against the code."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from handlers.blocks.commands import COMMAND, SHORTCUT_HELP, SUBCOMMANDS

PATH = Path(__file__).parents[2] / "app_manifest.yml"


def text(most: int, least: int = 1) -> dict[str, Any]:
    return {"type": "string", "minLength": least, "maxLength": most}


def of(needed: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(needed),
        "additionalProperties": False,
    }


FLAG = {"type": "boolean"}
NAMES = {"type": "array", "items": text(100), "uniqueItems": True, "minItems": 1}

# Slack's manifest, version 2, as far as this app uses it: an unknown key is refused, as Slack does.
RULES = of(
    ("_metadata", "display_information", "features", "oauth_config", "settings"),
    _metadata=of(("major_version",), major_version={"enum": [1, 2]}),
    display_information=of(
        ("name",),
        name=text(35),
        description=text(140),
        long_description=text(4000, 175),
        background_color={"type": "string", "pattern": "^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"},
    ),
    features=of(
        (),
        app_home=of((), home_tab_enabled=FLAG, messages_tab_enabled=FLAG, messages_tab_read_only_enabled=FLAG),
        agent_view=of(
            ("agent_description",),
            agent_description=text(300),
            suggested_prompts={
                "type": "array",
                "maxItems": 4,
                "items": of(("title", "message"), title=text(100), message=text(1000)),
            },
        ),
        bot_user=of(("display_name",), display_name=text(80), always_online=FLAG),
        shortcuts={
            "type": "array",
            "maxItems": 10,
            "items": of(
                ("name", "type", "callback_id", "description"),
                name=text(24),
                type={"enum": ["message", "global"]},
                callback_id=text(255),
                description=text(150),
            ),
        },
        slash_commands={
            "type": "array",
            "maxItems": 50,
            "items": of(
                ("command", "description"),
                command={"type": "string", "pattern": "^/[a-z-]{1,31}$"},
                description=text(2000),
                usage_hint=text(1000),
                should_escape=FLAG,
            ),
        },
    ),
    oauth_config=of(
        ("scopes",),
        scopes=of(("bot",), bot={**NAMES, "maxItems": 255}, user_optional={**NAMES, "maxItems": 255}),
    ),
    settings=of(
        ("event_subscriptions", "interactivity", "socket_mode_enabled"),
        event_subscriptions=of(("bot_events",), bot_events={**NAMES, "maxItems": 100}),
        interactivity=of(("is_enabled",), is_enabled=FLAG),
        org_deploy_enabled=FLAG,
        socket_mode_enabled=FLAG,
        token_rotation_enabled=FLAG,
    ),
)


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    return loaded


def scopes_of(manifest: dict[str, Any]) -> set[str]:
    return set(manifest["oauth_config"]["scopes"]["bot"])


def test_slack_would_take_the_manifest(manifest: dict[str, Any]) -> None:
    assert [f"{error.json_path}: {error.message}" for error in Draft7Validator(RULES).iter_errors(manifest)] == []


@pytest.mark.parametrize(
    ("where", "what"),
    [("long_description", "too short"), ("name", "x" * 36), ("background_color", "blue")],
)
def test_the_rules_refuse_what_slack_refuses(manifest: dict[str, Any], where: str, what: str) -> None:
    spoiled = {**manifest, "display_information": {**manifest["display_information"], where: what}}
    assert [error.json_path for error in Draft7Validator(RULES).iter_errors(spoiled)] == [
        f"$.display_information.{where}"
    ]


def test_the_app_connects_by_socket_and_gets_clicks(manifest: dict[str, Any]) -> None:
    settings = manifest["settings"]
    assert settings["socket_mode_enabled"] is True
    assert settings["interactivity"]["is_enabled"] is True
    assert settings["org_deploy_enabled"] is False
    assert manifest["features"]["bot_user"]["display_name"] == "codehealer"


def test_every_scope_says_why(manifest: dict[str, Any]) -> None:
    lines = PATH.read_text(encoding="utf-8").splitlines()
    for scope in scopes_of(manifest):
        line = next(line for line in lines if line.strip().startswith(f"- {scope} "))
        assert re.search(r"# \S.{8,}", line), scope


def test_the_command_and_the_shortcut_are_what_the_words_promise(manifest: dict[str, Any]) -> None:
    (command,) = manifest["features"]["slash_commands"]
    assert command["command"] == COMMAND
    assert command["should_escape"] is True
    shown = command["usage_hint"].strip("[]").split(" | ")
    assert set(shown) <= {usage.typed for usage in SUBCOMMANDS.values()}
    assert shown[-1] == "help", "which tells of all the others"
    for shortcut in manifest["features"]["shortcuts"]:
        assert shortcut["type"] == "message"
        assert f"*{shortcut['name']}*" in SHORTCUT_HELP
