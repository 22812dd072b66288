"""Every setting, once: read from the environment, a `.env` file and mounted secret files.

docs/settings.md is made from this table (`python -m bot.settings_page`), and a test holds the two together.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from bot.aws_settings import AwsSettings, Reference, reference_in
from bot.model_settings import MODEL_ADDRESSES, MODEL_SECRETS, ModelSettings
from bot.postgres import default_data_dir
from knowledge.environment import environment, file_text
from knowledge.errors import SettingsError
from knowledge.periods import parse_period
from knowledge.store.database import read_pool, sqlalchemy_url

Names = Annotated[tuple[str, ...], NoDecode]
SOURCE_TOKEN = "CODEHEALER_WEBHOOK_TOKEN_"  # noqa: S105  the beginning of a name
SECRETS_DIR = Path("/run/secrets")
SECRETS = (
    "slack_bot_token",
    "slack_app_token",
    "slack_signing_secret",
    "slack_user_token",
    *MODEL_SECRETS,
    "github_token",
    "argocd_token",
    "pagerduty_routing_key",
    "pagerduty_token",
    "prometheus_token",
    "alertmanager_token",
)
ADDRESSES = (
    "slack_base_url",
    *MODEL_ADDRESSES,
    "github_base_url",
    "argocd_server",
    "pagerduty_base_url",
    "pagerduty_api_url",
    "prometheus_url",
    "alertmanager_url",
    "runbooks_url",
    "otlp_endpoint",
)


def _address(value: str) -> str:
    """The address of a service, "" for none. Raises ValueError for what is no address."""
    value = value.strip()
    try:
        parts = urlsplit(value)
        right = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if value and not right:
        raise ValueError("must be an address such as https://host.example")
    return value


class Settings(AwsSettings, ModelSettings):
    """One field a variable; the alias is the variable's name. Secrets print as stars."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    database_url: str = Field(
        "", alias="DATABASE_URL", description="PostgreSQL 15+ with pgvector; empty: the embedded one"
    )
    db_pool: str = Field(
        "on",
        alias="CODEHEALER_DB_POOL",
        description="Connections of `run`: on (5 kept, 10 more), off (none, as behind a pooler), or sizes like 8+4",
    )
    jobs: int = Field(
        8,
        alias="CODEHEALER_JOBS",
        ge=1,
        le=64,
        description="Jobs (evidence, diagnoses, fixes, checks) that one process runs at a time",
    )
    slack_bot_token: SecretStr = Field(
        SecretStr(""), alias="SLACK_BOT_TOKEN", description="Bot token (xoxb-), from OAuth & Permissions"
    )
    slack_app_token: SecretStr = Field(
        SecretStr(""),
        alias="SLACK_APP_TOKEN",
        description="App-level token (xapp-) with connections:write, from Basic Information",
    )
    slack_signing_secret: SecretStr = Field(
        SecretStr(""),
        alias="SLACK_SIGNING_SECRET",
        description="Signing secrets of HTTP mode, comma-separated; used alone where SLACK_APP_TOKEN is empty",
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
    pagerduty_token: SecretStr = Field(
        SecretStr(""),
        alias="PAGERDUTY_TOKEN",
        description="REST API key, to acknowledge and resolve incidents that others opened, and to ask who is on call; "
        "empty: they are left alone",
    )
    pagerduty_from: str = Field(
        "",
        alias="PAGERDUTY_FROM",
        description="E-mail address of the PagerDuty user that it is done as; an account-wide PAGERDUTY_TOKEN needs it",
    )
    pagerduty_api_url: str = Field(
        "",
        alias="PAGERDUTY_API_URL",
        description="PagerDuty's REST API; empty: https://api.pagerduty.com, or PAGERDUTY_BASE_URL where that is set",
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
    compare: Names = Field(
        ("alertmanager", "argocd", "github"),
        alias="CODEHEALER_COMPARE",
        description="Whose state is compared with ours, and who is asked to send failed deliveries again; none: nobody",
    )
    alertmanager_receiver: str = Field(
        "codehealer",
        alias="CODEHEALER_ALERTMANAGER_RECEIVER",
        description="Alertmanager's receiver that sends here: only its alerts are compared",
    )
    github_hooks: Names = Field(
        (),
        alias="CODEHEALER_GITHUB_HOOKS",
        description="Repositories (owner/name) whose failed webhook deliveries are asked for again, or app for the "
        "GitHub App's own; empty: the policy's repositories",
    )
    webhook_requests_per_minute: int = Field(
        60_000,
        alias="CODEHEALER_WEBHOOK_REQUESTS_PER_MINUTE",
        ge=1,
        le=10_000_000,
        description="Deliveries that one source may make in a minute before it is answered 429",
    )
    sns_topics: Names = Field(
        (),
        alias="CODEHEALER_SNS_TOPICS",
        description="ARNs of the SNS topics that may post CloudWatch alarms, signed by Amazon; their subscriptions "
        "are confirmed; empty: the source takes a token instead",
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
    delivery_retention_days: int = Field(
        30,
        alias="CODEHEALER_DELIVERY_RETENTION_DAYS",
        ge=0,
        le=3650,
        description="How long handled deliveries, alerts and messages of no incident, and what was given up, are kept; "
        "0: for ever",
    )
    incident_retention_days: int = Field(
        0,
        alias="CODEHEALER_INCIDENT_RETENTION_DAYS",
        ge=0,
        le=3650,
        description="How long an incident is kept after its end, with what was learnt of it; 0: for ever",
    )
    policy: str = Field(
        "",
        alias="CODEHEALER_POLICY",
        description="Path of policy.yaml; empty: the shipped default, which observes only",
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        alias="CODEHEALER_DATA_DIR",
        description="Where the embedded PostgreSQL keeps its data; "
        "empty: ~/.local/state/codehealer, for root /var/lib/codehealer",
    )
    actions: bool = Field(True, alias="CODEHEALER_ACTIONS", description="false: read-only, nothing is ever carried out")
    pause_file: str = Field(
        "",
        alias="CODEHEALER_PAUSE_FILE",
        description="While this file is there and does not say false, or cannot be read, nothing is carried out; it "
        "may be a key of a mounted ConfigMap",
    )
    pause_configmap: str = Field(
        "",
        alias="CODEHEALER_PAUSE_CONFIGMAP",
        description="A ConfigMap, as namespace/name in the cluster of KUBECONFIG: while its key `paused` does not say "
        "false, nothing is carried out; each process asks for it every two seconds",
    )
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
    follow_up_hours: float = Field(
        8.0,
        alias="CODEHEALER_FOLLOW_UP_HOURS",
        ge=0,
        le=8760,
        description="An open incident without news for so long is followed up once, in its thread; 0: never",
    )
    digest: str = Field(
        "",
        alias="CODEHEALER_DIGEST",
        description="When each channel gets a digest of its incidents: `daily 09:00 Europe/Paris`, "
        "`weekly mon 09:00 Europe/Paris`; empty: never",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="CODEHEALER_LOG_LEVEL", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", alias="CODEHEALER_LOG_FORMAT", description="json, console, or auto: console on a terminal"
    )

    heartbeat_url: SecretStr = Field(
        SecretStr(""),
        alias="CODEHEALER_HEARTBEAT_URL",
        description="Address of a dead-man's switch that gets a POST while alerts come all the way; empty: none does",
    )
    heartbeat_seconds: float = Field(
        60.0,
        alias="CODEHEALER_HEARTBEAT_SECONDS",
        ge=0,
        le=3600,
        description="Time between two heartbeats; three that are withheld go to PagerDuty, where it is set up; 0: none",
    )
    otlp_endpoint: str = Field(
        "",
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Where traces go, as OTLP over HTTP, such as http://collector:4318; empty: none are made",
    )

    @field_validator(
        "watch_namespaces", "thread_channels", "status_pages", "compare", "github_hooks", "sns_topics", mode="before"
    )
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
        return _address(value)

    @field_validator("heartbeat_url")
    @classmethod
    def _is_a_secret_address(cls, value: SecretStr) -> SecretStr:
        """Checked as the others are; it is a secret because most such services know their caller by the path."""
        given = value.get_secret_value()
        return value if reference_in(given) else SecretStr(_address(given))

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: str) -> str:
        """Before anything is started: a typing error would show up deep inside a driver."""
        value = value.strip()
        try:
            make_url(sqlalchemy_url(value)) if value and not reference_in(value) else None
        except (ArgumentError, ValueError, SettingsError):
            raise ValueError("is not a PostgreSQL URL; it looks like postgresql://user@host:5432/codehealer") from None
        return value

    @field_validator("db_pool")
    @classmethod
    def _is_a_pool(cls, value: str) -> str:
        read_pool(value)
        return value

    @field_validator("digest")
    @classmethod
    def _is_a_period(cls, value: str) -> str:
        parse_period(value)
        return value

    @field_validator("slack_base_url")
    @classmethod
    def _ends_with_slash(cls, value: str) -> str:
        if not value.endswith("/"):
            raise ValueError("must end with /, as in https://slack.com/api/")
        return value

    # CODEHEALER_WEBHOOK_TOKEN_<SOURCE>, wherever they came from.
    _source_tokens: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def source_tokens(self) -> Mapping[str, str]:
        """By variable; as secret as the others."""
        return self._source_tokens

    def with_source_tokens(self, tokens: Mapping[str, str]) -> "Settings":
        self._source_tokens = dict(tokens)
        return self

    @property
    def in_sandbox(self) -> bool:
        """Without Slack tokens the sandbox stands in for Slack and the systems behind it."""
        return not self.slack_bot_token.get_secret_value() and not self.slack_app_token.get_secret_value()


def load_settings(**overrides: object) -> Settings:
    """The settings in force; what AWS Secrets Manager holds of them is fetched.

    Raises:
        SettingsError: names the variable and what is wrong with it.
    """
    settings = _read(overrides)
    if files := _from_files():
        overrides = files | overrides
        settings = _read(overrides)
    given = source_tokens()
    references = _references(settings, given)
    if not settings.aws_secret and not references:
        return settings.with_source_tokens(given)
    from bot.aws_secrets import fetch  # noqa: PLC0415  most starts ask nobody

    bag, values = fetch(settings.aws_secret, references, environment() | _aws_named(settings))
    known = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    from_bag = {name: value for name, value in bag.items() if known.get(name, "") not in settings.model_fields_set}
    ours = {name: value for name, value in from_bag.items() if name in known}
    settings = _read({**ours, **overrides, **{name: value for name, value in values.items() if name in known}})
    if chained := sorted(_references(settings, {})):
        raise SettingsError(f"{chained[0]} is a reference in AWS Secrets Manager itself. Put the value there.")
    tokens = {name: value for name, value in bag.items() if name.startswith(SOURCE_TOKEN)}
    return settings.with_source_tokens(tokens | given | {name: values[name] for name in given if name in values})


def _read(overrides: Mapping[str, object]) -> Settings:
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic-settings fills in the rest
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        what = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise SettingsError(f"{name} {what}. Correct it in the environment or in .env.") from None
    except UnicodeDecodeError:
        raise SettingsError("The file .env is not UTF-8. Save it as UTF-8 text.") from None
    except OSError as error:
        raise SettingsError(f"The file .env cannot be read ({type(error).__name__}). Check its permissions.") from None


def _from_files() -> dict[str, object]:
    """What NAME_FILE names a file for, or SECRETS_DIR has one for, where NAME itself has no value: as mounted secrets
    are commonly given."""
    variables, mounted = environment(), _mounted()
    names = [field.alias for field in Settings.model_fields.values() if field.alias and field.alias not in variables]
    return {name: text for name in names if (text := _text_of(name, variables, mounted)) is not None}


def _mounted() -> dict[str, Path]:
    """The files of SECRETS_DIR by the variables that they are named after, in upper or lower case."""
    try:
        found = sorted(SECRETS_DIR.iterdir()) if SECRETS_DIR.is_dir() else []
        return {path.name.upper(): path for path in found if path.is_file()}
    except OSError as error:
        text = f"{SECRETS_DIR} cannot be read ({type(error).__name__}). Check its permissions."
        raise SettingsError(text) from None


def _text_of(name: str, variables: Mapping[str, str], mounted: Mapping[str, Path]) -> str | None:
    """The text of the file for `name`, None where there is none. Raises SettingsError: as `file_text`."""
    if path := variables.get(f"{name}_FILE"):
        return file_text(f"{name}_FILE names {path}", path).removesuffix("\n")
    if found := mounted.get(name):
        return file_text(f"{name} is read from {found}", str(found)).strip()
    return None


def _references(settings: Settings, given: Mapping[str, str]) -> dict[str, Reference]:
    """The secrets that are written as where they are."""
    secrets = {
        field.alias: value.get_secret_value()
        for name, field in Settings.model_fields.items()
        if field.alias and isinstance(value := getattr(settings, name), SecretStr)
    } | {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    return {name: found for name, value in {**given, **secrets}.items() if (found := reference_in(value))}


def _aws_named(settings: Settings) -> dict[str, str]:
    """AWS_* as they are in force."""
    named = {"AWS_REGION": settings.aws_region, "AWS_ENDPOINT_URL": settings.aws_endpoint_url}
    return {name: value for name, value in named.items() if value}


def aws_environment(settings: Settings) -> dict[str, str]:
    """The variables by which AWS is asked."""
    return environment() | _aws_named(settings)


def source_tokens() -> dict[str, str]:
    """CODEHEALER_WEBHOOK_TOKEN_<SOURCE> of the environment, and of .env where the environment has none, as given; with
    _FILE appended, or mounted in SECRETS_DIR, out of a file."""
    variables, mounted = environment(), _mounted()
    named = {name.removesuffix("_FILE") for name in (*variables, *mounted) if name.startswith(SOURCE_TOKEN)}
    found = {name: variables.get(name) or _text_of(name, variables, mounted) for name in sorted(named)}
    return {name: value for name, value in found.items() if value is not None}


def split_secrets(value: SecretStr) -> tuple[str, ...]:
    """Comma-separated secrets, all of them valid at once, so that one can be rotated."""
    return tuple(part.strip() for part in value.get_secret_value().split(",") if part.strip())
