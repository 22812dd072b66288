"""One signed call of an AWS service that speaks JSON, with a deadline, a size limit and our errors."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from knowledge.errors import NotFound, Refused, SettingsError, Unavailable
from remediation.aws.credentials import CredentialChain
from remediation.aws.signing import signed_headers

# Ten messages of 1 MiB, escaped.
MAX_BYTES = 24_000_000
DEADLINE_S = 10.0
_TARGETS = {"sqs": ("AmazonSQS", "1.0"), "secretsmanager": ("secretsmanager", "1.1")}
_REGION = re.compile(r"^(?:(?:sqs|secretsmanager)\.([a-z]{2}(?:-[a-z]+)+-\d)|([a-z]{2}(?:-[a-z]+)+-\d)\.queue)\.")
_PASSING = ("Throttl", "TooManyRequests", "RequestLimit", "ServiceUnavailable", "InternalFailure", "InternalError")
_FORBIDDEN = ("AccessDenied", "NotAuthorized", "Unauthorized")
_WRONG_KEYS = ("InvalidClientTokenId", "UnrecognizedClient", "SignatureDoesNotMatch", "ExpiredToken",
               "InvalidAccessKeyId", "InvalidSecurity")  # fmt: skip
_GONE = ("NonExistentQueue", "QueueDoesNotExist", "ResourceNotFound")


@dataclass(frozen=True, slots=True)
class AwsClient:
    """`endpoint` stands in for Amazon's own address (AWS_ENDPOINT_URL); "" is Amazon itself."""

    http: httpx.AsyncClient
    chain: CredentialChain
    region: str
    endpoint: str = ""

    @classmethod
    def from_environment(cls, http: httpx.AsyncClient, environment: Mapping[str, str], hint: str = "") -> "AwsClient":
        """By AWS_*; `hint` is a queue's URL or a secret's ARN, which may name the region.

        Raises:
            SettingsError: no region is known.
        """
        endpoint = environment.get("AWS_ENDPOINT_URL", "").rstrip("/")
        region = region_of(environment, hint)
        if not region and not endpoint:
            raise SettingsError("AWS_REGION is not set. Name the region that the queue or secret is in.")
        chain = CredentialChain(http, environment, region or "us-east-1", sts_url=endpoint)
        return cls(http, chain, region or "us-east-1", endpoint)

    async def call(
        self, service: str, operation: str, payload: Mapping[str, Any], *, deadline_s: float = DEADLINE_S
    ) -> dict[str, Any]:
        """What `service` ("sqs" or "secretsmanager") answers to one operation; one attempt.

        Raises:
            Unavailable: no answer in time, or a passing fault.
            NotFound, Refused: AWS says no; the sentence says what to check.
            SettingsError: there are no credentials.
        """
        target, version = _TARGETS[service]
        body = orjson.dumps(payload)
        plain = {"content-type": f"application/x-amz-json-{version}", "x-amz-target": f"{target}.{operation}"}
        url = self._url(service)
        keys = await self.chain.keys()
        headers = signed_headers(url, body, plain, keys, region=self.region, service=service, now=datetime.now(UTC))
        try:
            status, data = await self._post(url, body, headers, deadline_s)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            why = f"AWS {service} did not answer ({type(error).__name__}). Check AWS_ENDPOINT_URL and the network."
            raise Unavailable(why, maybe_done=True) from None
        if status != 200:
            raise self._refusal(service, operation, status, data[:4000])
        try:
            answer = orjson.loads(data) if data else {}
        except orjson.JSONDecodeError:
            raise Unavailable(f"AWS {service} answered with something that is not JSON.") from None
        return answer if isinstance(answer, dict) else {}

    def _url(self, service: str) -> str:
        if self.endpoint:
            return f"{self.endpoint}/"
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return f"https://{service}.{self.region}.{suffix}/"

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str], deadline_s: float) -> tuple[int, bytes]:
        async with (
            asyncio.timeout(deadline_s),
            self.http.stream(
                "POST", url, content=body, headers=headers, timeout=deadline_s, follow_redirects=False
            ) as reply,
        ):
            data = bytearray()
            async for chunk in reply.aiter_bytes():
                data += chunk
                if len(data) > MAX_BYTES:
                    raise Refused(f"AWS answered with more than {MAX_BYTES / 1e6:.0f} MB; it was not read.")
            return reply.status_code, bytes(data)

    def _refusal(self, service: str, operation: str, status: int, data: bytes) -> Refused | Unavailable:
        code, said = _said(data)
        why = f"AWS {service} refuses {operation} ({code or status}){': ' + said if said else ''}."
        if status >= 500 or status == 429 or any(part in code for part in _PASSING):
            return Unavailable(f"AWS {service} answered {code or status}; it is usually passing.")
        if any(part in code for part in _GONE):
            return NotFound(f"{why} Check its name and AWS_REGION.")
        if any(part in code for part in _WRONG_KEYS):
            self.chain.forget()
            return Refused(f"{why} Check the AWS credentials and this machine's clock.")
        if status == 403 or any(part in code for part in _FORBIDDEN):
            return Refused(f"{why} The role needs {service}:{operation}.")
        return Refused(why)


def region_of(environment: Mapping[str, str], hint: str = "") -> str:
    """The region: that of a queue's URL or a secret's ARN, else AWS_REGION or AWS_DEFAULT_REGION; "" if none says."""
    if hint.startswith("arn:"):
        return (hint.split(":") + [""] * 4)[3]
    found = _REGION.match(urlsplit(hint).hostname or "")
    if found:
        return found[1] or found[2]
    return environment.get("AWS_REGION", "") or environment.get("AWS_DEFAULT_REGION", "")


def _said(data: bytes) -> tuple[str, str]:
    """(code, sentence) of an error of AWS's; empty where it is in no known form."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    code = str(body.get("__type", "")).rpartition("#")[2]
    return code[:100], " ".join(str(body.get("message") or body.get("Message") or "").split())[:200].rstrip(".")
