"""Settings out of AWS Secrets Manager: a whole secret of them, and single values written as aws-sm://NAME#KEY."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from bot.aws_settings import Reference
from knowledge.errors import CodeHealerError, SettingsError
from remediation.aws import AwsClient
from remediation.aws.secrets import fields_in, secret_text, value_in

DEADLINE_S = 20.0


def fetch(
    bag: str, references: Mapping[str, Reference], environment: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """(the settings in the secret `bag`, the value of each reference); "" for no bag.

    Blocks for at most `DEADLINE_S`; may be called inside of a running event loop.

    Raises:
        SettingsError: one of them cannot be had; which, and why.
    """
    names = [name for name in dict.fromkeys([bag, *(one.name for one in references.values())]) if name]
    with ThreadPoolExecutor(1) as threads:
        try:
            texts = threads.submit(lambda: asyncio.run(_texts(names, environment))).result()
        except TimeoutError:
            raise SettingsError(f"AWS Secrets Manager gave no answer within {DEADLINE_S:.0f} s.") from None
    found = {}
    for setting, one in references.items():
        with _told_of(setting):
            found[setting] = value_in(texts[one.name], one.name, one.key)
    if not bag:
        return {}, found
    with _told_of("CODEHEALER_AWS_SECRET"):
        fields = fields_in(texts[bag], bag)
    return {name: str(value) for name, value in fields.items() if isinstance(value, str | int | float)}, found


async def _texts(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    async with httpx.AsyncClient() as http, asyncio.timeout(DEADLINE_S):

        async def one(name: str) -> str:
            with _told_of(f"The AWS secret {name}"):
                return await secret_text(AwsClient.from_environment(http, environment, name), name)

        listed = list(names)
        return dict(zip(listed, await asyncio.gather(*map(one, listed)), strict=True))


@contextmanager
def _told_of(setting: str) -> Iterator[None]:
    """Puts the setting before what went wrong, as a SettingsError."""
    try:
        yield
    except SettingsError:
        raise
    except CodeHealerError as error:
        raise SettingsError(f"{setting} cannot be read: {error}") from None
