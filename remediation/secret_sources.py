"""Where a new value of a secret comes from: a file, an operator's command or AWS Secrets Manager, named in the policy
and nowhere else.

A value is only ever held as SecretStr, which prints as stars; no error here quotes what a source gave, because a
program that fails may print half of a secret.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator

from knowledge.environment import environment
from knowledge.errors import Refused, Unavailable
from remediation.aws import AwsClient
from remediation.aws.secrets import aws_variables, secret_text, value_in

MAX_VALUE_BYTES = 64 * 1024
FILE_DEADLINE_S = 5.0
# What a command gets of the bot's own environment besides what its source lists: never the bot's own tokens.
PLAIN_VARIABLES = ("PATH", "HOME", "LANG", "TZ", "SSL_CERT_FILE", "HTTPS_PROXY", "NO_PROXY")

Argument = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,100}$")]


class AwsSecret(BaseModel):
    """A secret of AWS Secrets Manager by name or ARN, and the key where it is a JSON object; "" is all of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    secret: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9/_+=.@:-]{1,2048}$")]
    key: Annotated[str, StringConstraints(max_length=256)] = ""


class SecretSource(BaseModel):
    """Exactly one of `file` (absolute path), `command` (argument list, never a shell) and `aws`.

    `env` names the variables of the bot's environment, or of its `.env` file, that the command may see; `seconds` is
    its deadline.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path | None = None
    command: Annotated[tuple[Argument, ...], Field(max_length=64)] = ()
    aws: AwsSecret | None = None
    env: Annotated[tuple[Variable, ...], Field(max_length=32)] = ()
    seconds: Annotated[int, Field(ge=1, le=15)] = 10

    @field_validator("file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError(f"'{value}' must be an absolute path")
        return value

    @model_validator(mode="after")
    def _one(self) -> "SecretSource":
        if [bool(self.file), bool(self.command), bool(self.aws)].count(True) != 1:
            raise ValueError(
                "a source is either 'file: PATH', 'command: [PROGRAM, ARGUMENT, …]' or 'aws: {secret: NAME, key: KEY}'"
            )
        return self

    @property
    def words(self) -> str:
        """What people are shown: the file, the secret's name, or the program without its arguments."""
        if self.aws:
            return f"the AWS secret {self.aws.secret}"
        return f"the file {self.file}" if self.file else f"the command {Path(self.command[0]).name}"

    @property
    def digest(self) -> str:
        """Tells one source from another whose words are the same; an approval is bound to it."""
        # What was approved before there was `aws` keeps its digest.
        words = self.model_dump_json(exclude=None if self.aws else {"aws"})
        return hashlib.sha256(words.encode()).hexdigest()[:16]

    @property
    def steady(self) -> bool:
        """Whether it may be read beforehand; a command may make a new value each time."""
        return not self.command


async def new_value(source: SecretSource) -> SecretStr:
    """The value as the source has it now, without the line break at its end.

    Raises:
        Refused: there is none, it is too large or not text, or the command failed.
        Unavailable: it did not come in time.
    """
    read = next(reader for field, reader in _READERS.items() if getattr(source, field))
    return _checked(await read(source), source)


def _checked(raw: bytes, source: SecretSource) -> SecretStr:
    if len(raw) > MAX_VALUE_BYTES:
        raise Refused(f"{_begin(source)} gave more than {MAX_VALUE_BYTES // 1024} KiB. It must give one value.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        # `from None`: the error carries the bytes.
        raise Refused(f"{_begin(source)} gave something that is not UTF-8 text.") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip() or "\0" in text:
        raise Refused(f"{_begin(source)} gave no value. Nothing was changed.")
    return SecretStr(text)


def _begin(source: SecretSource) -> str:
    return source.words[0].upper() + source.words[1:]


async def _from_file(source: SecretSource) -> bytes:
    try:
        async with asyncio.timeout(FILE_DEADLINE_S):
            return await asyncio.to_thread(_read, source)
    except TimeoutError:
        raise Unavailable(f"{_begin(source)} could not be read within {FILE_DEADLINE_S:.0f} s.") from None


def _read(source: SecretSource) -> bytes:
    """Without waiting for a writer, should the path be a pipe."""
    assert source.file is not None  # noqa: S101  looked at by the caller
    try:
        descriptor = os.open(source.file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = f"cannot be opened ({error.strerror}). Check its path and permissions."
        raise Refused(f"{_begin(source)} {why}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused(f"{_begin(source)} is no plain file.")
        return os.read(descriptor, MAX_VALUE_BYTES + 1)
    finally:
        os.close(descriptor)


async def _from_command(source: SecretSource) -> bytes:
    """The command's standard output. Its error output goes nowhere: it may hold the secret."""
    known = environment()
    seen = {key: known[key] for key in (*PLAIN_VARIABLES, *source.env) if key in known}
    try:
        process = await asyncio.create_subprocess_exec(
            *source.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=seen,
            start_new_session=True,
        )
    except OSError as error:
        raise Refused(f"{_begin(source)} could not be started ({error.strerror}).") from None
    try:
        async with asyncio.timeout(source.seconds):
            raw = await _bounded(process)
            status = await process.wait() if len(raw) <= MAX_VALUE_BYTES else 0
    except TimeoutError:
        raise Unavailable(f"{_begin(source)} did not end within {source.seconds} s.") from None
    finally:
        await _ended(process)
    if status:
        raise Refused(f"{_begin(source)} ended with {status}. Run it by hand to see why.")
    return raw


async def _bounded(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None  # noqa: S101  asked for above
    parts = bytearray()
    while len(parts) <= MAX_VALUE_BYTES and (part := await process.stdout.read(8192)):
        parts += part
    return bytes(parts)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Nothing that the command started outlives it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _from_aws(source: SecretSource) -> bytes:
    assert source.aws is not None  # noqa: S101  looked at by the caller
    name = source.aws.secret
    async with httpx.AsyncClient() as http:
        aws = AwsClient.from_environment(http, aws_variables(), name)
        text = await secret_text(aws, name, deadline_s=source.seconds)
    return value_in(text, name, source.aws.key).encode("utf-8", "surrogatepass")


# A source's field → how it is read. Another kind of source is a field and a line here.
_READERS: dict[str, Callable[[SecretSource], Awaitable[bytes]]] = {
    "file": _from_file,
    "command": _from_command,
    "aws": _from_aws,
}
