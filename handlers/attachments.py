"""Text files that people attach to a question: fetched from Slack alone, bounded, and redacted before anything else."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from handlers.slack_calls import way_to
from knowledge.errors import CodeHealerError, Refused, Unavailable
from knowledge.model import Evidence, EvidenceKind
from knowledge.redaction import clean, redact

log = structlog.get_logger(__name__)

File = Mapping[str, Any]

MOST_FILES = 3
# Of a longer file the beginning and the end are read: a log says at its end what failed.
HEAD_BYTES, TAIL_BYTES = 250_000, 750_000
MOST_BYTES = 20_000_000
HEAD_CHARS, TAIL_CHARS = 20_000, 40_000
DEADLINE_S = 10.0
CHUNK = 64 * 1024
# The bot's token goes to these hosts alone; the workspace's own API address, as in the sandbox, is one more.
HOSTS = ("slack.com", "slack-files.com")
TEXT_TYPES = frozenset(
    {"application/json", "application/x-ndjson", "application/xml", "application/yaml", "application/x-yaml",
     "application/toml", "application/x-sh", "application/javascript", "application/octet-stream", ""}
)  # fmt: skip
MISSING_SCOPE = "the app may not read files: add the scope files:read and reinstall it from app_manifest.yml"


def files_of(message: Mapping[str, Any]) -> list[File]:
    """The files that a message carries, as Slack describes them; what was deleted or hidden is none."""
    files = message.get("files")
    known = [file for file in files if isinstance(file, Mapping)] if isinstance(files, list) else []
    return [file for file in known if file.get("id") and file.get("mode") not in {"tombstone", "hidden_by_limit"}]


async def read_files(slack: AsyncWebClient, files: Sequence[File]) -> list[Evidence]:
    """The newest of the files as evidence, each with its text or why it could not be had."""
    return [await _read(slack, file) for file in files[-MOST_FILES:]]


async def _read(slack: AsyncWebClient, file: File) -> Evidence:
    name = " ".join(redact(clean(str(file.get("name") or "file"))).split())[:80]
    source = f"file {name}"
    try:
        content, left_out = await _fetched(slack, file)
    except CodeHealerError as error:
        return Evidence(EvidenceKind.MESSAGE, source, "", could_not=str(error))
    text = await asyncio.to_thread(lambda: redact(clean(content.decode(errors="replace"))))
    if len(text) > HEAD_CHARS + TAIL_CHARS:
        left_out += len(text) - HEAD_CHARS - TAIL_CHARS
        text = f"{text[:HEAD_CHARS]}\n[…]\n{text[-TAIL_CHARS:]}"
    return Evidence(EvidenceKind.MESSAGE, source, text, truncated_chars=left_out)


async def _fetched(slack: AsyncWebClient, file: File) -> tuple[bytes, int]:
    """The file's beginning and end, and how many bytes between them are left out.

    Raises:
        Refused: it is no text, too large, or Slack does not give it.
        Unavailable: no answer in time.
    """
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await _download(slack, await _described(slack, file))
    except SlackApiError as error:
        code = str(error.response.get("error", ""))
        raise Refused(MISSING_SCOPE if code == "missing_scope" else f"Slack said {code}") from None
    except (aiohttp.ClientError, TimeoutError) as error:
        # Named by its kind: the message of such an error holds the file's address.
        raise Unavailable(f"Slack did not give the file ({type(error).__name__})") from None


async def _described(slack: AsyncWebClient, file: File) -> File:
    if file.get("url_private"):
        return file
    found: File = (await slack.files_info(file=str(file["id"])))["file"]
    return found


async def _download(slack: AsyncWebClient, file: File) -> tuple[bytes, int]:
    size, kind = file.get("size"), str(file.get("mimetype") or "")
    if not kind.startswith("text/") and kind not in TEXT_TYPES:
        raise Refused("it is no text; attach the log as a text file")
    if isinstance(size, int) and size > MOST_BYTES:
        raise Refused(f"it is larger than {MOST_BYTES // 1_000_000} MB; attach the part that fails")
    address = str(file.get("url_private_download") or file.get("url_private") or "")
    if not _of_slack(address, slack.base_url) or slack.session is None:
        raise Refused("it is not kept by Slack; attach it as a file")
    headers = {"Authorization": f"Bearer {slack.token}"}
    # A redirect leads to Slack's sign-in page, and would carry the token elsewhere.
    way = way_to(slack, address)
    async with slack.session.get(address, headers=headers, allow_redirects=False, **way) as answer:
        if answer.status != 200 or (answer.content_type == "text/html" and kind != "text/html"):
            raise Refused(MISSING_SCOPE if answer.status in {200, 302, 403} else f"Slack answered {answer.status}")
        return await _ends(answer.content)


def _of_slack(address: str, base_url: str) -> bool:
    """Whether the bot's token may go to an address: Slack's own hosts by TLS, or where the Web API itself is."""
    there, api = urlsplit(address), urlsplit(base_url)
    if there.scheme == api.scheme and there.netloc == api.netloc:
        return True
    host = there.hostname or ""
    return there.scheme == "https" and any(host == one or host.endswith(f".{one}") for one in HOSTS)


async def _ends(content: aiohttp.StreamReader) -> tuple[bytes, int]:
    head, tail, kept, total = bytearray(), deque[bytes](), 0, 0
    async for chunk in content.iter_chunked(CHUNK):
        total += len(chunk)
        if total > MOST_BYTES:
            raise Refused(f"it is larger than {MOST_BYTES // 1_000_000} MB; attach the part that fails")
        room = max(0, HEAD_BYTES - len(head))
        head += chunk[:room]
        if later := chunk[room:]:
            tail.append(later)
            kept += len(later)
            while kept - len(tail[0]) >= TAIL_BYTES:
                kept -= len(tail.popleft())
        if b"\0" in chunk:
            raise Refused("it is no text; attach the log as a text file")
    rest = b"".join(tail)
    if total == len(head) + len(rest):
        return bytes(head + rest), 0
    # Whole lines alone: of a secret that is cut in two, nobody would know that it is one.
    first, last = bytes(head[: head.rfind(b"\n") + 1]), rest[rest.find(b"\n") + 1 :]
    return first + "[…]\n".encode() + last, total - len(first) - len(last)
