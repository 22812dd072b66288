"""A secret's text out of AWS Secrets Manager. No error here quotes any of it."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from knowledge.environment import environment
from knowledge.errors import Refused
from remediation.aws.client import AwsClient

MAX_CHARS = 64 * 1024


def aws_variables() -> dict[str, str]:
    """AWS_* of the environment, and of .env where the environment has none."""
    return {name: value for name, value in environment().items() if name.startswith("AWS_")}


async def secret_text(aws: AwsClient, name: str, *, deadline_s: float = 10.0) -> str:
    """The current version of the secret of that name or ARN.

    Raises:
        Refused, NotFound, Unavailable, SettingsError: as `AwsClient.call`; or it is no text, or too long.
    """
    answer = await aws.call("secretsmanager", "GetSecretValue", {"SecretId": name}, deadline_s=deadline_s)
    text = answer.get("SecretString")
    if text is None:
        try:
            text = base64.b64decode(str(answer.get("SecretBinary") or ""), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Refused(f"The AWS secret {name} is no text.") from None
    if not isinstance(text, str) or len(text) > MAX_CHARS:
        raise Refused(f"The AWS secret {name} is no text of at most {MAX_CHARS // 1024} KiB.")
    return text


def value_in(text: str, name: str, key: str) -> str:
    """One key of a secret that is a JSON object, or all of it without a key. Raises Refused where there is no such."""
    if not key:
        return text
    value = fields_in(text, name).get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Refused(f"The AWS secret {name} has no text under the key {key}.")
    return str(value)


def fields_in(text: str, name: str) -> Mapping[str, Any]:
    """A secret that is a JSON object."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused(f"The AWS secret {name} is no JSON object.")
    return found
