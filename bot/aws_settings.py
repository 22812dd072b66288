"""The settings of the work queue and of AWS. `bot.settings.Settings` inherits them."""

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

# As handlers.queued has them, and a test holds the two together: every command reads the settings, few need sources.
QUEUEABLE = ("alertmanager", "grafana", "github", "argocd", "flux", "pagerduty", "kubernetes", "cloudwatch", "generic")
Names = Annotated[tuple[str, ...], NoDecode]


REFERENCE = "aws-sm://"


@dataclass(frozen=True, slots=True)
class Reference:
    """A secret of AWS Secrets Manager, written `aws-sm://NAME#KEY`; without a key it is the whole text."""

    name: str
    key: str


def reference_in(value: str) -> Reference | None:
    """None for a value that is no reference."""
    if not value.strip().startswith(REFERENCE):
        return None
    name, _, key = value.strip().removeprefix(REFERENCE).partition("#")
    return Reference(name, key)


class AwsSettings(BaseSettings):
    """One field a variable, as in Settings. AWS credentials are found as Amazon's own tools find them."""

    queue: Literal["postgres", "sqs", "memory"] = Field(
        "postgres",
        alias="CODEHEALER_QUEUE",
        description="Who hands out jobs: postgres, sqs (SQS_QUEUE_URL), or memory (development: lost with the process)",
    )
    sqs_queue_url: str = Field(
        "", alias="SQS_QUEUE_URL", description="SQS queue that alerts are received from; empty: none"
    )
    sqs_sources: Names = Field(
        QUEUEABLE,
        alias="CODEHEALER_SQS_SOURCES",
        description="Sources whose alerts may come by that queue, comma-separated",
    )
    aws_region: str = Field("", alias="AWS_REGION", description="Region where neither the queue's URL nor an ARN tells")
    aws_endpoint_url: str = Field(
        "", alias="AWS_ENDPOINT_URL", description="Address that stands in for AWS's own; empty: AWS itself"
    )
    aws_secret: str = Field(
        "",
        alias="CODEHEALER_AWS_SECRET",
        description="Secret of AWS Secrets Manager, a JSON object of settings that are set nowhere else; empty: none",
    )
    secrets_every_seconds: float = Field(
        300.0,
        alias="CODEHEALER_SECRETS_EVERY_SECONDS",
        ge=0,
        le=86_400,
        description="How often secrets are read again while the bot runs; 0: only on SIGHUP",
    )

    @field_validator("sqs_sources", mode="before")
    @classmethod
    def _are_sources(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names = tuple(part.strip().lower() for part in value.split(",") if part.strip())
        if unknown := [name for name in names if name not in QUEUEABLE]:
            raise ValueError(f"names {unknown[0][:40]}; known are {', '.join(QUEUEABLE)}")
        return names

    @field_validator("sqs_queue_url", "aws_endpoint_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        value = value.strip()
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ValueError("must be an address such as https://sqs.eu-west-1.amazonaws.com/123456789012/alerts")
        return value
