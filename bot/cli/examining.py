"""doctor."""

import asyncio

import typer

from bot import doctor
from bot.cli.printing import JsonOption, Verbs, plain, put
from bot.settings import load_settings


def doctor_command(as_json: JsonOption = False) -> None:
    """Look at every system that is set up and say what to do about those that do not answer."""
    findings = asyncio.run(doctor.examine(load_settings()))
    for finding in findings:
        if as_json:
            put({"check": finding.check, "ok": finding.ok, "detail": finding.detail, "remedy": finding.remedy})
        else:
            remedy = f"\n    → {finding.remedy}" if finding.remedy else ""
            plain.print(f"{'✓' if finding.ok else '✗'} {finding.check}: {finding.detail}{remedy}", markup=False)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


COMMANDS: Verbs = {"doctor": doctor_command}
