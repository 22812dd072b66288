"""The command line; its contract is docs/commands.md."""

import typer

from bot.cli import bench, database, evaluate, running, texts

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Plain words: marked-up help would take [redacted:KIND] for a style, and boxes read badly in a build's log.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A Slack-first bot that diagnoses failing deployments, proposes a fix, carries it out and verifies it.",
)
for module in (running, texts, database, evaluate, bench):
    module.add_to(app)
