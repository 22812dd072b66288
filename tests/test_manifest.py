"""The manifest against the code: what is listened to and called, and the scopes that this takes: these, no others."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from slack_sdk.web.async_client import AsyncWebClient

from bot.slack_app import NEEDED_SCOPES
from handlers import listeners
from tests.slack_reference import EVENT_SCOPES, HELPERS, MANIFEST_SCHEMA, METHOD_SCOPES, USER_METHOD_SCOPES

ROOT = Path(__file__).parents[1]

# An event of ours as the manifest names it: a message has one name a kind of conversation.
IN_THE_MANIFEST = {"message": {"message.channels", "message.groups", "message.im"}}

# slack_sdk's methods by name, and Slack's own names of them where they are called as text.
IN_THE_SDK = {name for name in dir(AsyncWebClient) if re.fullmatch(r"[a-z]+_[A-Za-z_]+\w*", name)} - {"api_call"}
FAMILIES = "|".join(sorted({name.partition(".")[0] for name in METHOD_SCOPES | USER_METHOD_SCOPES}))
AS_TEXT = re.compile(rf"(?:{FAMILIES})(?:\.[a-z][A-Za-z]+)+")
LIKELY = re.compile(rf"\b(?:{FAMILIES})[._][a-z]")
DOTTED = {name.replace(".", "_"): name for name in METHOD_SCOPES}


@cache
def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "app_manifest.yml").read_text())
    return loaded


def named_in(source: str) -> set[str]:
    """The Web API methods that a module calls, hands on to be called, or names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in IN_THE_SDK:
            found |= set(HELPERS.get(node.attr, (DOTTED.get(node.attr, node.attr),)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and AS_TEXT.fullmatch(node.value):
            found.add(node.value)
    return found


@cache
def methods_called() -> frozenset[str]:
    """Every Web API method that the bot calls, its sandbox apart."""
    sandbox = ROOT / "bot" / "sandbox"
    paths = [*(ROOT / "bot").rglob("*.py"), *(ROOT / "handlers").rglob("*.py"), *(ROOT / "knowledge").rglob("*.py")]
    sources = [path.read_text() for path in paths if sandbox not in path.parents]
    return frozenset().union(*(named_in(source) for source in sources if LIKELY.search(source)))


def listened_to() -> set[str]:
    return {name for event in listeners.EVENTS for name in IN_THE_MANIFEST.get(event, {event})}


def test_calls_are_found_however_they_are_written() -> None:
    source = """
        await slack.chat_postMessage(channel=c)
        retried(services.slack.conversations_info)
        await client.api_call("files.info", params={})
        async with client.chat_stream(channel=c): ...
        "see chat.update in the reference"
    """
    calls = named_in("async def f():" + source)
    assert calls == {"chat.postMessage", "conversations.info", "files.info", *HELPERS["chat_stream"]}


def test_every_event_is_listened_to_and_every_listener_has_its_event() -> None:
    assert set(manifest()["settings"]["event_subscriptions"]["bot_events"]) == listened_to()


def test_commands_and_shortcuts_are_those_that_are_listened_to() -> None:
    features = manifest()["features"]
    assert {command["command"] for command in features["slash_commands"]} == set(listeners.COMMANDS)
    assert {shortcut["callback_id"] for shortcut in features["shortcuts"]} == set(listeners.SHORTCUTS)


def test_clicks_arrive_because_interactivity_is_on() -> None:
    assert listeners.ACTIONS
    assert manifest()["settings"]["interactivity"]["is_enabled"]


def test_the_home_tab_is_on_when_something_is_published_there() -> None:
    assert manifest()["features"]["app_home"]["home_tab_enabled"] == ("views.publish" in methods_called())


def test_the_scopes_are_those_that_calls_and_events_take_and_no_other() -> None:
    unknown = (methods_called() - METHOD_SCOPES.keys() - USER_METHOD_SCOPES.keys()) | (
        listened_to() - EVENT_SCOPES.keys()
    )
    assert unknown == set(), "say in tests/slack_reference.py which scopes these take"
    called = [METHOD_SCOPES[name] for name in methods_called() if name in METHOD_SCOPES]
    needed = set().union({"commands"}, *called, *(EVENT_SCOPES[name] for name in listened_to()))
    scopes = manifest()["oauth_config"]["scopes"]
    assert {*scopes["bot"], *scopes.get("bot_optional", ())} == needed


def test_the_user_scopes_are_those_that_slacks_search_takes() -> None:
    scopes = manifest()["oauth_config"]["scopes"]
    called = [USER_METHOD_SCOPES[name] for name in methods_called() if name in USER_METHOD_SCOPES]
    assert set(scopes["user_optional"]) == set().union(*called)
    assert "user" not in scopes, "nobody has to grant it"


def test_the_scopes_that_the_start_insists_on_are_asked_for() -> None:
    assert set(manifest()["oauth_config"]["scopes"]["bot"]) >= NEEDED_SCOPES


def test_every_scope_has_its_reason_beside_it() -> None:
    lines = (ROOT / "app_manifest.yml").read_text().splitlines()
    asked = {scope for kind in manifest()["oauth_config"]["scopes"].values() for scope in kind}
    explained = {found[1] for line in lines if (found := re.fullmatch(r"\s+- ([a-z_.:]+) # \S.*", line))}
    assert asked - explained == set()


def test_slack_would_take_the_manifest() -> None:
    jsonschema.validate(manifest(), MANIFEST_SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("display_information", "name"), "C" * 36),
        (("display_information", "long_description"), "too short"),
        (("features", "shortcuts", 0, "name"), "Diagnose this with CodeHealer"),
        (("features", "slash_commands", 0, "command"), "codehealer"),
        (("settings", "socket_mode"), True),
        (("oauth_config", "scopes", "bot"), ["chat:write", "chat:write"]),
    ],
)
def test_slack_would_refuse_others(path: tuple[Any, ...], value: Any) -> None:
    broken = yaml.safe_load((ROOT / "app_manifest.yml").read_text())
    inside = broken
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, MANIFEST_SCHEMA)
