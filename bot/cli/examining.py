"""doctor."""

import asyncio
from typing import Annotated

import typer

from bot import doctor, doctor_slack
from bot.cli.printing import JsonOption, Verbs, plain, put, words
from bot.finding import Finding
from bot.settings import Settings, load_settings

ButtonOption = Annotated[bool, typer.Option("--button", help="Also post a button in Slack, and wait for its press.")]
InOption = Annotated[str, typer.Option("--in", help="Where: a channel's or person's id; else CODEHEALER_CHANNEL.")]
WaitOption = Annotated[float, typer.Option("--wait", min=1, max=600, help="Seconds to wait for the press.")]


def doctor_command(
    button: ButtonOption = False, where: InOption = "", wait_s: WaitOption = 60, as_json: JsonOption = False
) -> None:
    """Look at every system that is set up and say what to do about those that do not answer."""
    settings = load_settings()
    findings = asyncio.run(doctor.examine(settings, **doctor_slack.CHECKS))
    for finding in findings:
        _show(finding, as_json)
    if button:
        pressed = asyncio.run(_button(settings, where, wait_s))
        _show(pressed, as_json)
        findings.append(pressed)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


async def _button(settings: Settings, where: str, wait_s: float) -> Finding:
    return await doctor_slack.button(settings, where, wait_s, lambda said: words.print(said, markup=False))


def _show(finding: Finding, as_json: bool) -> None:
    if as_json:
        put({"check": finding.check, "ok": finding.ok, "detail": finding.detail, "remedy": finding.remedy})
    else:
        remedy = f"\n    → {finding.remedy}" if finding.remedy else ""
        plain.print(f"{'✓' if finding.ok else '✗'} {finding.check}: {finding.detail}{remedy}", markup=False)


COMMANDS: Verbs = {"doctor": doctor_command}
