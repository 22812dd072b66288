"""diagnose, normalize, correlate, redact: texts in, answers out. They write to no database."""

import asyncio
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import orjson
import typer

from bot.cli.offline import OfflineDiagnosis, answer_json, prompt_of, readable
from bot.cli.printing import JsonOption, Verbs, plain, put, words
from bot.settings import load_settings
from bot.team_files import read_policy
from handlers.intake import GENERIC, alert_json, correlate_posts, parse_object, read_webhook
from handlers.sources import SOURCES
from knowledge.bounding import bounded_lines
from knowledge.errors import BadInput, CodeHealerError
from knowledge.redaction import redact_stream

# A log is read up to here; more is said to be left out. Bodies have their own, smaller limit.
MAX_LOG_BYTES = 110_000_000
MAX_BODY_BYTES = 25_000_000
MAX_LINE_BYTES = 20_000_000
# A line of a log that is longer is read in pieces.
MAX_PIECE_BYTES = 1_000_000
MAX_HEADER_BYTES = 1_000_000
T = TypeVar("T")
UTF8_MARK = b"\xef\xbb\xbf"

LogFile = Annotated[str, typer.Argument(metavar="FILE|-", help="A log; - or nothing reads standard input.")]


def _open(path: str) -> Any:
    if path == "-":
        if sys.stdin.isatty():
            words.print("Reading standard input; end it with Ctrl+D.")
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{path}: {why}. Give a file that can be read, or - for standard input.") from None


def json_lines(path: str) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """(line number, object, or why it is none) for each line that is not empty."""
    with _open(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE_BYTES)
                yield number, None, f"longer than {MAX_LINE_BYTES} bytes"
                continue
            line = line.removeprefix(UTF8_MARK) if number == 1 else line
            if not line.strip():
                continue
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield number, None, f"not JSON: {error.msg} (column {error.colno})"
                continue
            is_object = isinstance(value, dict)
            yield number, value if is_object else None, "" if is_object else "not a JSON object"


def diagnose(
    file: LogFile = "",
    jsonl: Annotated[str, typer.Option("--jsonl", metavar="FILE", help="One case a line.")] = "",
    precedents: Annotated[bool, typer.Option("--precedents", help="Look up stored incidents too.")] = False,
    show_prompt: Annotated[bool, typer.Option("--show-prompt", help="Print what a model would be sent.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a log or a case fails of."""
    if jsonl:
        if file or show_prompt:
            raise BadInput("--jsonl stands alone: give neither a log nor --show-prompt with it.")
        raise typer.Exit(_run(_diagnose_lines(jsonl, precedents)))
    case = {"id": file or "-", "text": _read_log(file or "-")}
    if show_prompt:
        sys.stdout.write(_run(_prompt(case, precedents)) + "\n")
        return
    answer = _run(_diagnose_one(case, precedents))
    if as_json:
        put(answer)
    else:
        plain.print(readable(answer), markup=False)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, but Ctrl+C takes effect while a pipe is waited for, which the event loop's own way does not."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        return asyncio.run(work)
    finally:
        signal.signal(signal.SIGINT, before)


def _read_log(path: str) -> str:
    """The log, its middle thinned out when it is long; it is never held as a whole."""
    with _open(path) as stream:
        return bounded_lines(_log_lines(path, stream))


def _log_lines(path: str, stream: Any) -> Iterator[str]:
    left = MAX_LOG_BYTES
    while line := stream.readline(MAX_PIECE_BYTES):
        if len(line) > left:
            words.print(f"{path}: only the first {MAX_LOG_BYTES:,} bytes are read.", markup=False)
        if left:
            yield line[:left].decode("utf-8", "replace")
        left -= len(line)
        if left < 0:
            return


async def _diagnose_one(case: dict[str, Any], precedents: bool) -> dict[str, Any]:
    async with httpx.AsyncClient() as http, OfflineDiagnosis.open(load_settings(), http, precedents) as offline:
        return answer_json(case, await offline.answer(case))


async def _prompt(case: dict[str, Any], precedents: bool) -> str:
    if not precedents:
        return prompt_of(case)
    async with httpx.AsyncClient() as http, OfflineDiagnosis.open(load_settings(), http, precedents) as offline:
        return prompt_of(case, await offline.precedents_of(case))


async def _diagnose_lines(path: str, precedents: bool) -> int:
    """Answer every line; 2 when some could not be read."""
    status = 0
    async with httpx.AsyncClient() as http, OfflineDiagnosis.open(load_settings(), http, precedents) as offline:
        for number, case, unread in json_lines(path):
            given = case.get("id") if case else None
            identifier = given if isinstance(given, str | int) else f"line:{number}"
            problem = unread
            if case is not None:
                try:
                    answered = await offline.answer(case)
                except BadInput as error:
                    problem = str(error)
                else:
                    put(answer_json({"id": identifier}, answered))
                    continue
            put({"id": identifier, "error": f"line {number}: {problem}"})
            words.print(f"{path}: line {number}: {problem}", markup=False)
            status = 2
    return status


def normalize(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A webhook body as it was sent; - reads standard input.")],
    source: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(SOURCES)}.")],
    headers: Annotated[str, typer.Option(metavar="FILE", help="The request's headers as a JSON object.")] = "",
    secret: Annotated[str | None, typer.Option(metavar="S", help="Check the signature with it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the alerts that a webhook body stands for."""
    try:
        if secret == "":
            raise BadInput("--secret is empty: leave it out to skip the check of the signature.")
        with _open(file) as stream:
            body = stream.read(MAX_BODY_BYTES + 1)
        secrets = None if secret is None else [secret]
        mappings = read_policy(load_settings()).webhooks if source.partition("/")[0] == GENERIC else {}
        sent = _headers(headers)
        intake = read_webhook(source, sent, body, secrets=secrets, mappings=mappings, max_bytes=MAX_BODY_BYTES)
    except CodeHealerError as error:
        if as_json:
            put({"accepted": False, "error": str(error)})
        words.print(f"Refused: {error}", markup=False)
        raise typer.Exit(2) from None
    alerts = [alert_json(alert) for alert in intake.alerts]
    if as_json:
        put({"accepted": True, "truncated": intake.truncated, "alerts": alerts})
        return
    if not alerts:
        words.print("Accepted: it tells of no failure and of no recovery.")
    for alert in alerts:
        where = "/".join(part for part in (alert["namespace"], alert["workload"]) if part)
        plain.print(f"{alert['status']}  {alert['title']}  {where or alert['repository']}", markup=False)


def _headers(path: str) -> dict[str, str]:
    if not path:
        return {}
    with _open(path) as stream:
        try:
            found = parse_object(stream.read(MAX_HEADER_BYTES))
        except BadInput as error:
            raise BadInput(f"--headers {path}: {error}") from None
    return {str(name): str(value) for name, value in found.items()}


def correlate(
    jsonl: Annotated[str, typer.Option("--jsonl", metavar="FILE", help="One post a line: seq, at, body.")],
    as_json: JsonOption = False,
) -> None:
    """Say which alerts of a stream belong to one incident."""
    posts: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    for number, post, unread in json_lines(jsonl):
        problem = unread
        if post is not None:
            try:
                correlate_posts([post])
            except BadInput as error:
                problem = str(error).removeprefix("Post 1: ")
            else:
                posts.append(post)
                continue
        errors.append({"id": f"line:{number}", "error": problem})
        words.print(f"{jsonl}: line {number}: {problem}", markup=False)
    result = correlate_posts(posts)
    if as_json:
        unreadable = {"errors": errors} if errors else {}
        put({"incidents": result.incidents, "fingerprints": result.fingerprints, **unreadable})
    else:
        plain.print(f"{result.incidents} incidents of {len(result.fingerprints)} alerts")
    raise typer.Exit(2 if errors else 0)


def redact(
    file: LogFile = "-",
    as_json: Annotated[bool, typer.Option("--json", help="Changes nothing: text it is.")] = False,  # noqa: ARG001
) -> None:
    """Replace secrets in a text by [redacted:KIND] and change nothing else."""
    with _open(file) as stream:
        lines = (line.decode("utf-8", "surrogateescape") for line in stream)
        for clean in redact_stream(lines):
            sys.stdout.buffer.write(clean.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()


COMMANDS: Verbs = {"diagnose": diagnose, "normalize": normalize, "correlate": correlate, "redact": redact}
