"""The command line; its contract is docs/commands.md."""

import typer

from bot.cli import (
    bench,
    database,
    evaluate,
    importing,
    incidents,
    knowledge,
    policy,
    postmortem,
    running,
    slack_index,
    stats,
    texts,
)
from bot.cli.printing import Verbs

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Plain words: marked-up help would take [redacted:KIND] for a style, and boxes read badly in a build's log.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A Slack-first bot that diagnoses failing deployments, proposes a fix, carries it out and verifies it.",
)
for module in (running, texts, database, importing, slack_index, stats, evaluate, bench):
    module.add_to(app)

# Command group → what it is about, its verbs.
GROUPS: dict[str, tuple[str, Verbs]] = {
    "incidents": ("Past and present incidents.", {**incidents.COMMANDS, **postmortem.COMMANDS}),
    "knowledge": ("What is remembered, as files that people review.", knowledge.COMMANDS),
    "policy": ("What may run, and why a fix was allowed or not.", policy.COMMANDS),
    "audit": ("The append-only log of all that was decided and done.", database.AUDIT),
    "dead": ("Jobs that were given up.", database.DEAD),
}
for name, (about, commands) in GROUPS.items():
    group = typer.Typer(help=about, no_args_is_help=True, rich_markup_mode=None)
    for verb, function in commands.items():
        group.command(verb)(function)
    app.add_typer(group, name=name)
