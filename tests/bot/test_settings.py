"""Settings: every wrong value is told by its variable, no secret is printed, and the page shows them all."""

from pathlib import Path

import httpx
import pytest
from sqlalchemy import NullPool

from bot.doctor import CHECKS
from bot.models import make_answerers, make_hosted_embedder, make_reranker
from bot.secret_watch import webhook_secrets
from bot.settings import Settings, load_settings, source_tokens
from bot.settings_page import page
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.environment import environment
from knowledge.errors import SettingsError
from knowledge.store.database import open_engine, read_pool

ROOT = Path(__file__).parents[2]
PASSWORD = "swordfish"

WRONG = [
    ("CODEHEALER_HTTP_PORT", "abc", "integer"),
    ("CODEHEALER_HTTP_PORT", "99999", "65535"),
    ("CODEHEALER_HTTP_PORT", "-1", "greater than or equal to 0"),
    ("CODEHEALER_ACTIONS", "perhaps", "boolean"),
    ("CODEHEALER_DB_POOL", "many", "on, off"),
    ("CODEHEALER_DB_POOL", "0+4", "on, off"),
    ("CODEHEALER_LOG_LEVEL", "LOUD", "'DEBUG'"),
    ("CODEHEALER_QUEUE", "kafka", "'postgres', 'sqs' or 'memory'"),
    ("CODEHEALER_SQS_SOURCES", "cloudwatch,slack", "names slack; known are alertmanager"),
    ("SQS_QUEUE_URL", "alerts", "must be an address such as https://sqs."),
    ("CODEHEALER_DIGEST", "every day", "daily 09:00 Europe/Paris"),
    ("CODEHEALER_LOG_FORMAT", "xml", "'json'"),
    ("CODEHEALER_VERIFY_EVERY_SECONDS", "0", "greater than 0"),
    ("CODEHEALER_VERIFY_EVERY_SECONDS", "nan", "3600"),
    ("CODEHEALER_VERIFY_EVERY_SECONDS", "inf", "3600"),
    ("SLACK_BASE_URL", "https://slack.com/api", "must end with /"),
    ("SLACK_BASE_URL", "slack.com/api/", "must be an address such as https://"),
    ("ARGOCD_SERVER", "argocd.local:443", "must be an address such as https://"),
    ("GITHUB_BASE_URL", "https://host:99999", "must be an address such as https://"),
    ("ANTHROPIC_BASE_URL", "host", "must be an address such as https://"),
    ("OPENAI_API_KEY", f"{PASSWORD}\nsecond line", "paste it again"),
    ("REDIS_URL", f"http://u:{PASSWORD}@host", "redis://host:6379/0"),
    ("CODEHEALER_MODEL_PRICES", "gpt=1", "model=1.00/5.00"),
    ("CODEHEALER_MODEL_PRICES", "gpt=1/nan", "model=1.00/5.00"),
    ("CODEHEALER_MODEL_TEMPERATURE", "3", "less than or equal to 2"),
    ("CODEHEALER_MODEL_USD_PER_MONTH", "-1", "greater than or equal to 0"),
    ("CODEHEALER_EMBEDDING_DIMENSION", "16001", "less than or equal to 16000"),
    ("NVIDIA_BASE_URL", "ftp://host", "must be an address such as https://"),
    ("PAGERDUTY_BASE_URL", "https://", "must be an address such as https://"),
    ("SLACK_BOT_TOKEN", f"{PASSWORD}\nsecond line", "paste it again"),
    ("GITHUB_TOKEN", f"{PASSWORD}\u200b", "paste it again"),
    ("DATABASE_URL", f"mysql://u:{PASSWORD}@h/x", "postgresql://user@host:5432/codehealer"),
    ("DATABASE_URL", f"postgresql://u:{PASSWORD}@h:port/x", "postgresql://user@host:5432/codehealer"),
    ("DATABASE_URL", "nonsense", "postgresql://user@host:5432/codehealer"),
]


@pytest.fixture(autouse=True)
def no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_a_wrong_value_is_told_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as told:
        load_settings()
    assert str(told.value).startswith(f"{name} ")
    assert said in str(told.value)
    assert str(told.value).endswith("Correct it in the environment or in .env.")
    assert PASSWORD not in str(told.value)


async def test_models_are_asked_in_the_order_nvidia_openai_anthropic_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "NVIDIA_API_KEY"):
        monkeypatch.setenv(name, PASSWORD)
    monkeypatch.setenv("CODEHEALER_OPENAI_MODELS", "first, second")
    monkeypatch.setenv("CODEHEALER_MODEL_PRICES", "first=1/2.5")
    monkeypatch.setenv("CODEHEALER_MODEL_TOKENS_PER_HOUR", "7")
    settings = load_settings()
    async with httpx.AsyncClient() as http:
        answerers = make_answerers(settings, http, LocalEmbedder())
    assert [one.name for one in answerers] == ["NVIDIA", "OpenAI", "Anthropic", "built-in"]
    assert [one.outside for one in answerers] == [True, True, True, False]
    assert PASSWORD not in repr(answerers[:3])
    assert settings.prices["first"] == (1.0, 2.5)
    assert settings.model_limits.hour.tokens == 7
    found = await CHECKS["models"](settings)
    assert "OpenAI (first, second), then Anthropic" in found.detail


def test_what_pasting_adds_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", f" {PASSWORD}\n")
    monkeypatch.setenv("CODEHEALER_LOG_LEVEL", " debug ")
    monkeypatch.setenv("CODEHEALER_WATCH_NAMESPACES", " shop, ,store ")
    settings = load_settings()
    assert settings.slack_bot_token.get_secret_value() == PASSWORD
    assert settings.log_level == "DEBUG"
    assert settings.watch_namespaces == ("shop", "store")


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CODEHEALER_HTTP_PORT", "SLACK_BOT_TOKEN", "DATABASE_URL", "ARGOCD_SERVER"):
        monkeypatch.setenv(name, "")
    assert load_settings() == Settings()
    assert load_settings().in_sandbox


def test_secrets_do_not_print(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    assert len(secret) > 5
    for name in secret:
        value = f"https://hc.example/{PASSWORD}" if name.endswith("_url") else PASSWORD
        monkeypatch.setenv(Settings.model_fields[name].alias or "", value)
    assert PASSWORD not in repr(load_settings())


def test_the_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("CODEHEALER_CHANNEL=C1\nCODEHEALER_HTTP_PORT=1\nUNRELATED=x\n")
    monkeypatch.setenv("CODEHEALER_HTTP_PORT", "2")
    settings = load_settings()
    assert (settings.channel, settings.http_port) == ("C1", 2)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"CODEHEALER_CHANNEL=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"\.env is not UTF-8"):
        load_settings()


def test_tokens_by_source_come_from_the_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("CODEHEALER_WEBHOOK_TOKEN_GRAFANA=old, new\nCODEHEALER_WEBHOOK_TOKEN_ARGOCD=file\n")
    monkeypatch.setenv("CODEHEALER_WEBHOOK_TOKEN_ARGOCD", "environment")
    assert webhook_secrets(load_settings(), source_tokens()) == {"grafana": ("old", "new"), "argocd": ("environment",)}


def test_a_variable_that_the_policy_names_may_stand_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("OPS_ADDRESS=file\nOPS_NAME=file\nOPS_EMPTY=\n")
    monkeypatch.setenv("OPS_NAME", "environment")
    found = environment()
    assert (found["OPS_ADDRESS"], found["OPS_NAME"], "OPS_EMPTY" in found) == ("file", "environment", False)


def test_the_token_for_all_is_for_those_without_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEHEALER_WEBHOOK_TOKEN", "all")
    monkeypatch.setenv("CODEHEALER_WEBHOOK_TOKEN_GRAFANA", "own")
    secrets = webhook_secrets(load_settings(), source_tokens())
    assert secrets["grafana"] == ("own",)
    assert secrets["alertmanager"] == ("all",)
    # Those that sign have secrets of their own and take no token instead.
    assert not {"github", "pagerduty", "slack"} & set(secrets)


def test_without_any_secret_every_source_is_off() -> None:
    assert webhook_secrets(load_settings(), source_tokens()) == {}


def test_the_page_is_made_from_the_settings() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == page()


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
def test_a_secret_may_lie_in_a_file_that_a_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{mark}{PASSWORD}\n")
    for name in ("GITHUB_TOKEN", "ARGOCD_TOKEN", "CODEHEALER_WEBHOOK_TOKEN_GRAFANA"):
        monkeypatch.setenv(f"{name}_FILE", str(file))
    monkeypatch.setenv("ARGOCD_TOKEN", "of the environment")
    settings = load_settings()
    assert settings.github_token.get_secret_value() == PASSWORD
    assert settings.argocd_token.get_secret_value() == "of the environment"
    assert webhook_secrets(settings, settings.source_tokens) == {"grafana": (PASSWORD,)}
    file.unlink()
    with pytest.raises(SettingsError, match=r"GITHUB_TOKEN_FILE names .*token, which cannot be read"):
        load_settings()


@pytest.mark.parametrize(
    "name",
    ["DATABASE_URL", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "GITHUB_TOKEN", "CODEHEALER_WEBHOOK_TOKEN_ARGOCD"],
)
@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_file_is_not_taken_for_a_setting_that_nobody_set(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with monkeypatch.context() as mounted:
        mounted.setattr("bot.settings.SECRETS_DIR", tmp_path)
        with pytest.raises(SettingsError, match=rf"{name} is read from .*{name}, which is empty\. Put its value there"):
            load_settings()
    monkeypatch.setenv(f"{name}_FILE", str(file))
    with pytest.raises(SettingsError, match=rf"{name}_FILE names .*{name}, which is empty\. Put its value there"):
        load_settings()


def test_a_secret_may_lie_in_a_mounted_file_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.settings.SECRETS_DIR", tmp_path)
    (tmp_path / "kubernetes.io").mkdir()  # where the service account's token is
    for name in ("GITHUB_TOKEN", "ARGOCD_TOKEN", "argocd_server", "CODEHEALER_WEBHOOK_TOKEN_ALERTMANAGER"):
        (tmp_path / name).write_text(f"https://{PASSWORD}\n")
    monkeypatch.setenv("ARGOCD_TOKEN", "of the environment")
    settings = load_settings()
    assert settings.github_token.get_secret_value() == f"https://{PASSWORD}"
    assert settings.argocd_token.get_secret_value() == "of the environment"
    assert settings.argocd_server == f"https://{PASSWORD}"
    assert webhook_secrets(settings, settings.source_tokens) == {"alertmanager": (f"https://{PASSWORD}",)}
    monkeypatch.setenv("CODEHEALER_WEBHOOK_TOKEN_ALERTMANAGER", "own")
    assert source_tokens() == {"CODEHEALER_WEBHOOK_TOKEN_ALERTMANAGER": "own"}


async def test_a_model_of_nvidias_needs_its_key_and_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    async with httpx.AsyncClient() as http:
        assert make_hosted_embedder(load_settings(), http) is None
        assert make_reranker(load_settings(), http) is None
        monkeypatch.setenv("CODEHEALER_EMBEDDING_MODEL", "nvidia/new")
        with pytest.raises(SettingsError, match="set NVIDIA_API_KEY, or leave CODEHEALER_EMBEDDING_MODEL empty"):
            make_hosted_embedder(load_settings(), http)
        monkeypatch.setenv("CODEHEALER_RERANK_MODEL", "nvidia/ranks")
        with pytest.raises(SettingsError, match="set NVIDIA_API_KEY, or leave CODEHEALER_RERANK_MODEL empty"):
            make_reranker(load_settings(), http)
        monkeypatch.setenv("NVIDIA_API_KEY", PASSWORD)
        with pytest.raises(SettingsError, match="set CODEHEALER_EMBEDDING_DIMENSION to it"):
            make_hosted_embedder(load_settings(), http)
        monkeypatch.setenv("CODEHEALER_EMBEDDING_DIMENSION", "1024")
        embedder = make_hosted_embedder(load_settings(), http)
        assert embedder is not None
        assert (embedder.name, embedder.dimension) == ("nvidia:nvidia/new", 1024)


@pytest.mark.parametrize(
    ("value", "pool"), [("on", (5, 10)), (" OFF ", (0, 0)), ("0", (0, 0)), ("8", (8, 0)), ("8 + 4", (8, 4))]
)
def test_the_pool_is_on_off_or_of_a_size(monkeypatch: pytest.MonkeyPatch, value: str, pool: tuple[int, int]) -> None:
    monkeypatch.setenv("CODEHEALER_DB_POOL", value)
    found = read_pool(load_settings().db_pool)
    assert (found.size, found.overflow) == pool
    engine = open_engine("postgresql://nobody@127.0.0.1:9/x", pool_size=found.size, max_overflow=found.overflow)
    assert isinstance(engine.pool, NullPool) == (pool == (0, 0))
