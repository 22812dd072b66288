"""diagnose, normalize, correlate, redact: texts in, answers out. They write to no database."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import typer

from bot.cli.offline import OfflineDiagnosis, answer_json, prompt_of, readable
from bot.cli.printing import JsonOption, plain, put, words
from bot.settings import load_settings
from handlers.intake import alert_json, correlate_posts, parse_object, read_webhook
from knowledge.errors import BadInput, CodeHealerError
from knowledge.redaction import redact_stream

# A log is read up to here; more is said to be left out. Bodies have their own, smaller limit.
MAX_LOG_CHARS = 110_000_000
MAX_BODY_BYTES = 25_000_000
MAX_LINE_BYTES = 20_000_000

LogFile = Annotated[str, typer.Argument(metavar="[FILE|-]", help="A log; - or nothing reads standard input.")]


def _open(path: str) -> Any:
    if path == "-":
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}. Give a file that can be read, or - for standard input.") from None


def _json_lines(path: str) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """(line number, object, or why it is none) for each line that is not empty."""
    with _open(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            if len(line) > MAX_LINE_BYTES:
                yield number, None, f"line {number} is longer than {MAX_LINE_BYTES} bytes"
                continue
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield number, None, f"line {number} is not JSON: {error.msg}"
                continue
            is_object = isinstance(value, dict)
            yield number, value if is_object else None, "" if is_object else f"line {number} is not a JSON object"


def diagnose(
    file: LogFile = "-",
    jsonl: Annotated[str, typer.Option("--jsonl", metavar="FILE", help="One case a line.")] = "",
    precedents: Annotated[bool, typer.Option("--precedents", help="Look up stored incidents too.")] = False,
    show_prompt: Annotated[bool, typer.Option("--show-prompt", help="Print what a model would be sent.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a log or a case fails of."""
    if jsonl:
        raise typer.Exit(asyncio.run(_diagnose_lines(jsonl, precedents)))
    with _open(file) as stream:
        text = stream.read(MAX_LOG_CHARS + 1).decode("utf-8", "replace")
    if len(text) > MAX_LOG_CHARS:
        words.print(f"Only the first {MAX_LOG_CHARS:,} characters were read.")
    case = {"id": file, "text": text}
    if show_prompt:
        sys.stdout.write(prompt_of(case) + "\n")
        return
    answer = asyncio.run(_diagnose_one(case, precedents))
    if as_json:
        put(answer)
    else:
        plain.print(readable(answer), markup=False)


async def _diagnose_one(case: dict[str, Any], precedents: bool) -> dict[str, Any]:
    async with httpx.AsyncClient() as http, OfflineDiagnosis.open(load_settings(), http, precedents) as offline:
        return answer_json(case, await offline.answer(case))


async def _diagnose_lines(path: str, precedents: bool) -> int:
    """Answer every line; 2 when some could not be read."""
    status = 0
    async with httpx.AsyncClient() as http, OfflineDiagnosis.open(load_settings(), http, precedents) as offline:
        for number, case, problem in _json_lines(path):
            name = {"id": case["id"]} if case and isinstance(case.get("id"), str | int) else {"line": number}
            try:
                answer = await offline.answer(case) if case is not None else None
                why = problem
            except BadInput as error:
                answer, why = None, str(error)
            if answer is not None and case is not None:
                put(answer_json({**name, **case}, answer))
                continue
            put({**name, "error": why})
            words.print(f"{path}: line {number}: {why}", markup=False)
            status = 2
    return status


def normalize(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A webhook body as it was sent; - reads standard input.")],
    source: Annotated[str, typer.Option(help="alertmanager, grafana, github, argocd, pagerduty, kubernetes, …")],
    headers: Annotated[str, typer.Option(metavar="FILE", help="The request's headers as a JSON object.")] = "",
    secret: Annotated[str, typer.Option(help="Check the signature with it.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show the alerts that a webhook body stands for."""
    with _open(file) as stream:
        body = stream.read(MAX_BODY_BYTES + 1)
    try:
        given = _headers(headers)
        intake = read_webhook(source, given, body, secrets=[secret] if secret else None, max_bytes=MAX_BODY_BYTES)
    except CodeHealerError as error:
        if as_json:
            put({"accepted": False, "error": str(error)})
        words.print(f"Refused: {error}", markup=False)
        raise typer.Exit(2) from None
    alerts = [alert_json(alert) for alert in intake.alerts]
    if as_json:
        put({"accepted": True, "truncated": intake.truncated, "alerts": alerts})
        return
    for alert in alerts:
        where = "/".join(part for part in (alert["namespace"], alert["workload"]) if part)
        plain.print(f"{alert['status']}  {alert['title']}  {where or alert['repository']}", markup=False)


def _headers(path: str) -> dict[str, str]:
    if not path:
        return {}
    with _open(path) as stream:
        found = parse_object(stream.read(1_000_000))
    return {str(name): str(value) for name, value in found.items()}


def correlate(
    jsonl: Annotated[str, typer.Option("--jsonl", metavar="FILE", help="One post a line: seq, at, body.")],
    as_json: JsonOption = False,
) -> None:
    """Say which alerts of a stream belong to one incident."""
    posts, status = [], 0
    for number, post, problem in _json_lines(jsonl):
        if post is None or not isinstance(post.get("body"), dict):
            words.print(f"{jsonl}: {problem or f'line {number}: the field body must be an object'}", markup=False)
            status = 2
            continue
        posts.append(post)
    result = correlate_posts(posts)
    if as_json:
        put({"incidents": result.incidents, "fingerprints": result.fingerprints})
    else:
        plain.print(f"{result.incidents} incidents of {len(result.fingerprints)} alerts")
    raise typer.Exit(status)


def redact(file: LogFile = "-") -> None:
    """Replace secrets in a text by [redacted:KIND] and change nothing else."""
    with _open(file) as stream:
        lines = (line.decode("utf-8", "surrogateescape") for line in stream)
        for clean in redact_stream(lines):
            sys.stdout.buffer.write(clean.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()


def add_to(app: typer.Typer) -> None:
    for command in (diagnose, normalize, correlate, redact):
        app.command()(command)
