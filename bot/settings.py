"""Every setting, once: read from the environment, a `.env` file and mounted secret files.

docs/settings.md is made from this table (`python -m bot.settings_page`), and a test holds the two together.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot.postgres import default_data_dir
from knowledge.errors import SettingsError

Names = Annotated[tuple[str, ...], NoDecode]
SECRETS_DIR = Path("/run/secrets")


class Settings(BaseSettings):
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
    slack_bot_token: SecretStr = Field(
        SecretStr(""), alias="SLACK_BOT_TOKEN", description="Bot token (xoxb-), from OAuth & Permissions"
    )
    slack_app_token: SecretStr = Field(
        SecretStr(""),
        alias="SLACK_APP_TOKEN",
        description="App-level token (xapp-) with connections:write, from Basic Information",
    )
    slack_base_url: str = Field(
        "https://slack.com/api/", alias="SLACK_BASE_URL", description="Slack's Web API; ends with /"
    )
    nvidia_api_key: SecretStr = Field(
        SecretStr(""),
        alias="NVIDIA_API_KEY",
        description="Key of NVIDIA's hosted models; empty: the built-in diagnosis alone",
    )
    nvidia_base_url: str = Field(
        "https://integrate.api.nvidia.com/v1",
        alias="NVIDIA_BASE_URL",
        description="OpenAI-shaped endpoint of the models",
    )
    nvidia_models: Names = Field(
        ("nvidia/nemotron-3-super-120b-a12b", "nvidia/nemotron-3-nano-30b-a3b"),
        alias="CODEHEALER_NVIDIA_MODELS",
        description="Chat models in order of preference, comma-separated; one that is gone (410) is passed over",
    )
    github_token: SecretStr = Field(
        SecretStr(""), alias="GITHUB_TOKEN", description="Token with actions:write on the repositories"
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
    verify_every_seconds: float = Field(
        5.0, alias="CODEHEALER_VERIFY_EVERY_SECONDS", gt=0, description="Time between two looks of a verification"
    )
    log_level: str = Field("INFO", alias="CODEHEALER_LOG_LEVEL", description="DEBUG, INFO, WARNING or ERROR")
    log_format: str = Field(
        "auto", alias="CODEHEALER_LOG_FORMAT", description="json, console, or auto: console on a terminal"
    )

    @field_validator("nvidia_models", "watch_namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

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
        raise SettingsError(f"{name}: {first['msg']}. Correct it in the environment or in .env.") from None


def split_secrets(value: SecretStr) -> tuple[str, ...]:
    """Comma-separated secrets, all of them valid at once, so that one can be rotated."""
    return tuple(part.strip() for part in value.get_secret_value().split(",") if part.strip())
