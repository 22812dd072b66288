"""The settings of hosted models: who is asked, how, and what it may cost. `bot.settings.Settings` inherits them."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from bot.aws_settings import reference_in
from knowledge.budget import PRICES, Amount, Limits

Names = Annotated[tuple[str, ...], NoDecode]
MODEL_SECRETS = ("nvidia_api_key", "openai_api_key", "anthropic_api_key")
MODEL_ADDRESSES = ("nvidia_base_url", "openai_base_url", "anthropic_base_url")
MODEL_NAMES = ("nvidia_models", "openai_models", "anthropic_models", "model_prices")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


class ModelSettings(BaseSettings):
    """One field a variable, as in Settings."""

    nvidia_api_key: SecretStr = Field(
        SecretStr(""),
        alias="NVIDIA_API_KEY",
        description="Key of NVIDIA's hosted models, which are asked first; without any key: the built-in diagnosis",
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
    embedding_model: str = Field(
        "",
        alias="CODEHEALER_EMBEDDING_MODEL",
        description="NVIDIA embedding model that past incidents are searched with; empty: the built-in one",
    )
    embedding_dimension: int = Field(
        0,
        alias="CODEHEALER_EMBEDDING_DIMENSION",
        ge=0,
        le=16_000,
        description="Length of that model's vectors where it is not known here; 0: as known",
    )
    rerank_model: str = Field(
        "",
        alias="CODEHEALER_RERANK_MODEL",
        description="NVIDIA model that looks closer at the past incidents that were found; empty: none",
    )
    openai_api_key: SecretStr = Field(
        SecretStr(""), alias="OPENAI_API_KEY", description="Key of OpenAI's models, asked after NVIDIA's"
    )
    openai_base_url: str = Field(
        "https://api.openai.com/v1", alias="OPENAI_BASE_URL", description="OpenAI's API, or one of its shape"
    )
    openai_models: Names = Field(
        ("gpt-5.6-luna", "gpt-5.4-mini"),
        alias="CODEHEALER_OPENAI_MODELS",
        description="Chat models in order of preference, comma-separated",
    )
    anthropic_api_key: SecretStr = Field(
        SecretStr(""), alias="ANTHROPIC_API_KEY", description="Key of Anthropic's models, asked after OpenAI's"
    )
    anthropic_base_url: str = Field(
        "https://api.anthropic.com", alias="ANTHROPIC_BASE_URL", description="Anthropic's API"
    )
    anthropic_models: Names = Field(
        ("claude-haiku-4-5", "claude-sonnet-5-5"),
        alias="CODEHEALER_ANTHROPIC_MODELS",
        description="Chat models in order of preference, comma-separated",
    )
    model_temperature: float = Field(
        0.2,
        alias="CODEHEALER_MODEL_TEMPERATURE",
        ge=0,
        le=2,
        description="Temperature of every model; left out for models that refuse one",
    )
    model_max_tokens: int = Field(
        512, alias="CODEHEALER_MODEL_MAX_TOKENS", ge=64, le=32768, description="Longest reply, in tokens"
    )
    model_deadline_seconds: float = Field(
        30.0,
        alias="CODEHEALER_MODEL_DEADLINE_SECONDS",
        gt=0,
        le=300,
        description="Longest time for one service's answer, over all of its models; then the next service is asked",
    )
    model_requests_per_minute: int = Field(
        30,
        alias="CODEHEALER_MODEL_REQUESTS_PER_MINUTE",
        ge=1,
        le=1000,
        description="Most requests to one service in a minute; further ones wait",
    )
    model_second_look: bool = Field(
        False,
        alias="CODEHEALER_MODEL_SECOND_LOOK",
        description="true: the model that answered looks again as a sceptic, which can only lower its confidence",
    )
    model_tokens_per_incident: int = Field(
        60_000, alias="CODEHEALER_MODEL_TOKENS_PER_INCIDENT", ge=0, description="Most tokens for one incident"
    )
    model_tokens_per_hour: int = Field(
        600_000, alias="CODEHEALER_MODEL_TOKENS_PER_HOUR", ge=0, description="Most tokens within an hour"
    )
    model_tokens_per_month: int = Field(
        20_000_000, alias="CODEHEALER_MODEL_TOKENS_PER_MONTH", ge=0, description="Most tokens in a calendar month (UTC)"
    )
    model_usd_per_incident: float = Field(
        0.25, alias="CODEHEALER_MODEL_USD_PER_INCIDENT", ge=0, description="Most dollars for one incident"
    )
    model_usd_per_hour: float = Field(
        2.0, alias="CODEHEALER_MODEL_USD_PER_HOUR", ge=0, description="Most dollars within an hour"
    )
    model_usd_per_month: float = Field(
        50.0, alias="CODEHEALER_MODEL_USD_PER_MONTH", ge=0, description="Most dollars in a calendar month (UTC)"
    )
    model_prices: Names = Field(
        (),
        alias="CODEHEALER_MODEL_PRICES",
        description="Dollars per million tokens in and out, as model=1.00/5.00, comma-separated; added to the shipped",
    )
    redis_url: str = Field(
        "",
        alias="REDIS_URL",
        repr=False,  # it may hold a password
        description="Redis for cached answers, shared by all processes; empty: in memory",
    )
    cache_seconds: float = Field(
        3600.0,
        alias="CODEHEALER_CACHE_SECONDS",
        ge=0,
        le=604800,
        description="How long an answer or an embedding is used again for the same question; 0: never",
    )

    @field_validator(*MODEL_NAMES, mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("model_prices")
    @classmethod
    def _are_prices(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            _price(entry)
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        value = value.strip()
        try:
            known = value.startswith(REDIS_SCHEMES) and urlsplit(value).port != 0
            right = not value or known or reference_in(value) is not None
        except ValueError:
            right = False
        if not right:
            raise ValueError("is not a Redis URL; it looks like redis://host:6379/0")
        return value

    @property
    def model_limits(self) -> Limits:
        return Limits(
            incident=Amount(self.model_tokens_per_incident, self.model_usd_per_incident),
            hour=Amount(self.model_tokens_per_hour, self.model_usd_per_hour),
            month=Amount(self.model_tokens_per_month, self.model_usd_per_month),
        )

    @property
    def prices(self) -> dict[str, tuple[float, float]]:
        """The shipped prices with those of CODEHEALER_MODEL_PRICES."""
        return {**PRICES, **dict(_price(entry) for entry in self.model_prices)}


def _price(entry: str) -> tuple[str, tuple[float, float]]:
    name, _, amounts = entry.partition("=")
    price_in, _, price_out = amounts.partition("/")
    try:
        both = float(price_in), float(price_out)
    except ValueError:
        both = -1.0, -1.0
    if not name.strip() or not all(0 <= price < 100_000 for price in both):
        raise ValueError("must be entries such as model=1.00/5.00, in dollars per million tokens in and out")
    return name.strip(), both
