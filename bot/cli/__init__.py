"""The command line; its contract is docs/commands.md."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from bot.collecting import no_collecting

# Verb → the module of bot.cli that has it in its COMMANDS.
MODULES = {
    "run": "running",
    "sandbox": "running",
    "doctor": "examining",
    "diagnose": "texts",
    "normalize": "texts",
    "correlate": "texts",
    "redact": "texts",
    "migrate": "database",
    "search": "database",
    "pause": "database",
    "resume": "database",
    "backup": "recovery",
    "restore": "recovery",
    "move": "recovery",
    "forget": "forgetting",
    "import": "importing",
    "index-slack": "slack_index",
    "stats": "stats",
    "eval": "evaluate",
    "bench": "bench",
}
# Group of verbs → what it is about, and (module, its table) of each part of it.
GROUPS = {
    "incidents": ("Past and present incidents.", [("incidents", "COMMANDS"), ("postmortem", "COMMANDS")]),
    "knowledge": ("What is remembered, as files that people review.", [("knowledge", "COMMANDS")]),
    "policy": ("What may run, and why a fix was allowed or not.", [("policy", "COMMANDS")]),
    "audit": (
        "The append-only log of what was decided and done.",
        [("database", "AUDIT"), ("forgetting", "AUDIT")],
    ),
    "dead": ("Jobs that were given up.", [("database", "DEAD")]),
}


class _AsTyped(TyperGroup):
    """Imports a command when it is typed: all of them together would take every start half a second more."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return [*MODULES, *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name in MODULES:
            return get_group(_of_verbs("", (MODULES[cmd_name], "COMMANDS"))).commands[cmd_name]
        if cmd_name in GROUPS:
            about, parts = GROUPS[cmd_name]
            group = get_group(_of_verbs(about, *parts))
            group.name = cmd_name
            return group
        return None


def _of_verbs(about: str, *parts: tuple[str, str]) -> typer.Typer:
    group = typer.Typer(help=about, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
    for module, table in parts:
        with no_collecting():
            verbs = getattr(import_module(f"bot.cli.{module}"), table)
        for verb, function in verbs.items():
            group.command(verb)(function)
    return group


app = typer.Typer(
    cls=_AsTyped,
    no_args_is_help=True,
    add_completion=False,
    # Plain words: marked-up help would take [redacted:KIND] for a style, and boxes read badly in a build's log.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A Slack-first bot that diagnoses failing deployments, proposes a fix, carries it out and verifies it.",
)


@app.callback()
def _codehealer() -> None:
    """Only its verbs do anything."""
