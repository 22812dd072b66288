"""Every setting, once: read from the environment, a `.env` file and mounted secret files.

docs/settings.md is made from this table (`python -m bot.settings_page`), and a test holds the two together.
"""

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from bot.model_settings import MODEL_ADDRESSES, MODEL_SECRETS, ModelSettings
from bot.postgres import default_data_dir
from knowledge.errors import SettingsError
from knowledge.store.database import read_pool, sqlalchemy_url

Names = Annotated[tuple[str, ...], NoDecode]
SOURCE_TOKEN = "CODEHEALER_WEBHOOK_TOKEN_"  # noqa: S105  the beginning of a name
SECRETS_DIR = Path("/run/secrets")
SECRETS = (
    "slack_bot_token",
    "slack_app_token",
    "slack_user_token",
    *MODEL_SECRETS,
    "github_token",
    "argocd_token",
    "pagerduty_routing_key",
    "prometheus_token",
    "alertmanager_token",
)
ADDRESSES = (
    "slack_base_url",
    *MODEL_ADDRESSES,
    "github_base_url",
    "argocd_server",
    "pagerduty_base_url",
    "prometheus_url",
    "alertmanager_url",
    "runbooks_url",
)


class Settings(ModelSettings):
    """One field a variable; the alias is the variable's name. Secrets print as stars."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        secrets_dir=SECRETS_DIR if SECRETS_DIR.is_dir() else None,
    )

    database_url: str = Field(
        "", alias="DATABASE_URL", description="PostgreSQL 15+ with pgvector; empty: the embedded one"
    )
    db_pool: str = Field(
        "on",
        alias="CODEHEALER_DB_POOL",
        description="Connections of `run`: on (5 kept, 10 more), off (none, as behind a pooler), or sizes like 8+4",
    )
    slack_bot_token: SecretStr = Field(
        SecretStr(""), alias="SLACK_BOT_TOKEN", description="Bot token (xoxb-), from OAuth & Permissions"
    )
    slack_app_token: SecretStr = Field(
        SecretStr(""),
        alias="SLACK_APP_TOKEN",
        description="App-level token (xapp-) with connections:write, from Basic Information",
    )
    slack_user_token: SecretStr = Field(
        SecretStr(""),
        alias="SLACK_USER_TOKEN",
        description="User token (xoxp-) with search:read.public, for Slack's own search; empty: it is not asked",
    )
    slack_base_url: str = Field(
        "https://slack.com/api/", alias="SLACK_BASE_URL", description="Slack's Web API; ends with /"
    )
    github_token: SecretStr = Field(
        SecretStr(""), alias="GITHUB_TOKEN", description="Token with actions:write on the repositories"
    )
    github_app_id: str = Field(
        "", alias="GITHUB_APP_ID", description="A GitHub App in place of GITHUB_TOKEN; empty: the token is used"
    )
    github_app_private_key: SecretStr = Field(
        SecretStr(""),
        alias="GITHUB_APP_PRIVATE_KEY",
        description="That App's private key (PEM); line breaks may be written as \\n",
    )
    github_base_url: str = Field(
        "https://api.github.com",
        alias="GITHUB_BASE_URL",
        description="GitHub's REST API; for Enterprise Server https://HOST/api/v3",
    )
    github_webhook_secret: SecretStr = Field(
        SecretStr(""),
        alias="GITHUB_WEBHOOK_SECRET",
        description="Secrets of the GitHub webhook, comma-separated; empty: the source is off",
    )
    argocd_server: str = Field("", alias="ARGOCD_SERVER", description="Argo CD's URL; empty: not asked")
    argocd_token: SecretStr = Field(SecretStr(""), alias="ARGOCD_TOKEN", description="Argo CD API token")
    kubeconfig: str = Field(
        "", alias="KUBECONFIG", description="Kubeconfig of the cluster that is watched; empty: none"
    )
    prometheus_url: str = Field(
        "", alias="PROMETHEUS_URL", description="Prometheus, for the metrics that the policy names; empty: not asked"
    )
    prometheus_token: SecretStr = Field(
        SecretStr(""), alias="PROMETHEUS_TOKEN", description="Bearer token for Prometheus; empty: none is sent"
    )
    alertmanager_url: str = Field(
        "", alias="ALERTMANAGER_URL", description="Alertmanager, asked whether an alert is silenced; empty: not asked"
    )
    alertmanager_token: SecretStr = Field(
        SecretStr(""), alias="ALERTMANAGER_TOKEN", description="Bearer token for Alertmanager; empty: none is sent"
    )
    status_pages: Names = Field(
        ("GitHub:ci+registry=https://www.githubstatus.com", "Cloudflare:network=https://www.cloudflarestatus.com"),
        alias="CODEHEALER_STATUS_PAGES",
        description="Providers' status pages, NAME:SYMPTOM+SYMPTOM=ADDRESS (ci, registry, network), comma-separated; "
        "asked only for these symptoms; none: no page",
    )
    runbooks: str = Field(
        "", alias="CODEHEALER_RUNBOOKS", description="Folder of the team's runbooks in Markdown; empty: none are linked"
    )
    runbooks_url: str = Field(
        "",
        alias="CODEHEALER_RUNBOOKS_URL",
        description="Where that folder can be read in a browser; empty: paths are shown",
    )
    pagerduty_routing_key: SecretStr = Field(
        SecretStr(""),
        alias="PAGERDUTY_ROUTING_KEY",
        description="Events v2 integration key for escalations; empty: escalations stay in Slack",
    )
    pagerduty_base_url: str = Field(
        "https://events.pagerduty.com", alias="PAGERDUTY_BASE_URL", description="PagerDuty's Events API"
    )
    pagerduty_webhook_secret: SecretStr = Field(
        SecretStr(""),
        alias="PAGERDUTY_WEBHOOK_SECRET",
        description="Secrets of the PagerDuty webhook, comma-separated; empty: the source is off",
    )
    webhook_token: SecretStr = Field(
        SecretStr(""),
        alias="CODEHEALER_WEBHOOK_TOKEN",
        description="Bearer tokens of senders that cannot sign, comma-separated; _<SOURCE> appended: for one source",
    )
    http_host: str = Field(
        "127.0.0.1", alias="CODEHEALER_HTTP_HOST", description="Address of webhooks, health and metrics"
    )
    http_port: int = Field(
        8321, alias="CODEHEALER_HTTP_PORT", ge=0, le=65535, description="Port of webhooks, health and metrics"
    )
    channel: str = Field(
        "", alias="CODEHEALER_CHANNEL", description="Slack channel id for cards that no rule routes elsewhere"
    )
    thread_channels: Names = Field(
        (),
        alias="CODEHEALER_THREAD_CHANNELS",
        description="Channel ids whose threads are remembered, comma-separated; empty: all that the bot is in",
    )
    thread_retention_days: int = Field(
        365,
        alias="CODEHEALER_THREAD_RETENTION_DAYS",
        ge=0,
        le=3650,
        description="How long a Slack thread is remembered; 0: none is, and those that are go",
    )
    policy: str = Field(
        "",
        alias="CODEHEALER_POLICY",
        description="Path of policy.yaml; empty: the shipped default, which observes only",
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        alias="CODEHEALER_DATA_DIR",
        description="Where the embedded PostgreSQL keeps its data",
    )
    actions: bool = Field(True, alias="CODEHEALER_ACTIONS", description="false: read-only, nothing is ever carried out")
    watch_namespaces: Names = Field(
        (), alias="CODEHEALER_WATCH_NAMESPACES", description="Namespaces that are watched, comma-separated; empty: all"
    )
    storm_incidents: int = Field(
        10,
        alias="CODEHEALER_STORM_INCIDENTS",
        ge=0,
        le=1000,
        description="More incidents than this in one channel within five minutes are told of in one message; 0: never",
    )
    verify_every_seconds: float = Field(
        5.0,
        alias="CODEHEALER_VERIFY_EVERY_SECONDS",
        gt=0,
        le=3600,
        description="Time between two looks of a verification",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="CODEHEALER_LOG_LEVEL", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", alias="CODEHEALER_LOG_FORMAT", description="json, console, or auto: console on a terminal"
    )

    @field_validator("watch_namespaces", "thread_channels", "status_pages", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator(*SECRETS)
    @classmethod
    def _one_line(cls, value: SecretStr) -> SecretStr:
        """Pasted tokens bring white space along; what else breaks a header is refused here, by name."""
        token = value.get_secret_value().strip()
        if not token.isprintable() or not token.isascii():
            raise ValueError("has a line break or another character that no token has; paste it again")
        return SecretStr(token)

    @field_validator("github_app_private_key")
    @classmethod
    def _with_line_breaks(cls, value: SecretStr) -> SecretStr:
        """Where a variable can have one line only, its line breaks come as backslash and n."""
        key = value.get_secret_value().replace("\\n", "\n").strip()
        return SecretStr(f"{key}\n" if key else "")

    @field_validator(*ADDRESSES)
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        value = value.strip()
        try:
            parts = urlsplit(value)
            right = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        if value and not right:
            raise ValueError("must be an address such as https://host.example")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: str) -> str:
        """Before anything is started: a typing error would show up deep inside a driver."""
        value = value.strip()
        try:
            make_url(sqlalchemy_url(value)) if value else None
        except (ArgumentError, ValueError, SettingsError):
            raise ValueError("is not a PostgreSQL URL; it looks like postgresql://user@host:5432/codehealer") from None
        return value

    @field_validator("db_pool")
    @classmethod
    def _is_a_pool(cls, value: str) -> str:
        read_pool(value)
        return value

    @field_validator("slack_base_url")
    @classmethod
    def _ends_with_slash(cls, value: str) -> str:
        if not value.endswith("/"):
            raise ValueError("must end with /, as in https://slack.com/api/")
        return value

    @property
    def in_sandbox(self) -> bool:
        """Without Slack tokens the sandbox stands in for Slack and the systems behind it."""
        return not self.slack_bot_token.get_secret_value() and not self.slack_app_token.get_secret_value()


def load_settings(**overrides: object) -> Settings:
    """The settings in force.

    Raises:
        SettingsError: names the variable and what is wrong with it.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic-settings fills in the rest
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        what = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise SettingsError(f"{name} {what}. Correct it in the environment or in .env.") from None
    except UnicodeDecodeError:
        raise SettingsError("The file .env is not UTF-8. Save it as UTF-8 text.") from None


def source_tokens() -> dict[str, str]:
    """CODEHEALER_WEBHOOK_TOKEN_<SOURCE> of the environment, and of .env where the environment has none, as given."""
    return {name: value for name, value in environment().items() if name.startswith(SOURCE_TOKEN)}


def environment() -> dict[str, str]:
    """Every variable that has a value: the environment's, and those of .env that the environment does not have."""
    return {name: value for name, value in {**dotenv_values(".env"), **os.environ}.items() if value}


def split_secrets(value: SecretStr) -> tuple[str, ...]:
    """Comma-separated secrets, all of them valid at once, so that one can be rotated."""
    return tuple(part.strip() for part in value.get_secret_value().split(",") if part.strip())
