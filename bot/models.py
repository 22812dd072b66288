"""From the settings to the models: who is asked for a diagnosis, and who makes vectors and ranks what they find."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from bot.settings import Settings
from knowledge.cache import Cache, MemoryCache, open_cache
from knowledge.diagnosis import Answerer, BuiltinAnswerer
from knowledge.embedding.cached import CachedEmbedder
from knowledge.embedding.child import ChildEmbedder
from knowledge.embedding.nvidia import NvidiaEmbedder
from knowledge.errors import SettingsError
from knowledge.language_models.anthropic import ANTHROPIC
from knowledge.language_models.hosted import HostedAnswerer, Options
from knowledge.language_models.nvidia import NVIDIA
from knowledge.language_models.openai import OPENAI
from knowledge.language_models.wire import Wire
from knowledge.ports import Embedder, Reranker
from knowledge.recall import Means
from knowledge.reranking import NvidiaReranker
from remediation.policy import Policy, sendable


@dataclass(frozen=True, slots=True)
class Models:
    """The built-in embedder is always there; `hosted_embedder` and `reranker` where the settings name one."""

    cache: Cache
    embedder: Embedder
    answerers: tuple[Answerer, ...]
    hosted_embedder: Embedder | None
    reranker: Reranker | None

    def renewed(self, settings: Settings, http: httpx.AsyncClient) -> "Models":
        """The same with other settings; what needs no token stays. Raises SettingsError as `open_models`."""
        return _models(settings, http, self.embedder, self.cache)


@asynccontextmanager
async def open_models(settings: Settings, http: httpx.AsyncClient) -> AsyncIterator[Models]:
    """The models that are set up. Raises SettingsError: one is named without its key, or half described."""
    async with open_cache(settings.redis_url, settings.cache_seconds) as cache, ChildEmbedder() as child:
        yield _models(settings, http, CachedEmbedder(child, cache), cache)


def _models(settings: Settings, http: httpx.AsyncClient, embedder: Embedder, cache: Cache) -> Models:
    hosted = make_hosted_embedder(settings, http)
    return Models(
        cache,
        embedder,
        answerers=make_answerers(settings, http, embedder, cache),
        hosted_embedder=CachedEmbedder(hosted, cache) if hosted else None,
        reranker=make_reranker(settings, http),
    )


def make_answerers(
    settings: Settings,
    http: httpx.AsyncClient,
    embedder: Embedder,
    cache: Cache | None = None,
    *,
    per_minute: int | None = None,
) -> tuple[Answerer, ...]:
    """Who is asked for a diagnosis, in order; the built-in one is always the last."""
    return (*make_hosted(settings, http, cache, per_minute=per_minute), BuiltinAnswerer(embedder))


def make_hosted(
    settings: Settings, http: httpx.AsyncClient, cache: Cache | None = None, *, per_minute: int | None = None
) -> tuple[HostedAnswerer, ...]:
    """The services of models that a key is set for, in the order of asking."""
    options = Options(
        temperature=settings.model_temperature,
        max_tokens=settings.model_max_tokens,
        deadline_s=settings.model_deadline_seconds,
        per_minute=per_minute or settings.model_requests_per_minute,
        second_look=settings.model_second_look,
        prices=settings.prices,
    )
    cache = cache or MemoryCache(settings.cache_seconds)
    return tuple(
        HostedAnswerer(wire, http, key, models, base_url, options, cache)
        for wire, key, models, base_url in model_services(settings)
    )


def model_services(settings: Settings) -> list[tuple[Wire, str, tuple[str, ...], str]]:
    """(service, key, models, base address) of the hosted models that a key is set for, in the order of asking."""
    services = [
        (NVIDIA, settings.nvidia_api_key, settings.nvidia_models, settings.nvidia_base_url),
        (OPENAI, settings.openai_api_key, settings.openai_models, settings.openai_base_url),
        (ANTHROPIC, settings.anthropic_api_key, settings.anthropic_models, settings.anthropic_base_url),
    ]
    return [
        (wire, key.get_secret_value(), models, base_url)
        for wire, key, models, base_url in services
        if key.get_secret_value()
    ]


def make_hosted_embedder(settings: Settings, http: httpx.AsyncClient) -> Embedder | None:
    """The embedder beside the built-in one; None where none is set.

    Raises:
        SettingsError: it is set without a key, or the length of its vectors is not known.
    """
    if not settings.embedding_model:
        return None
    return NvidiaEmbedder(
        http,
        api_key=_nvidia_key(settings, "CODEHEALER_EMBEDDING_MODEL"),
        model=settings.embedding_model,
        base_url=settings.nvidia_base_url,
        dimension=settings.embedding_dimension,
    )


def make_reranker(settings: Settings, http: httpx.AsyncClient) -> Reranker | None:
    """Who looks closer at what a search found; None where none is set. Raises SettingsError without a key."""
    if not settings.rerank_model:
        return None
    key = _nvidia_key(settings, "CODEHEALER_RERANK_MODEL")
    return NvidiaReranker(http, api_key=key, model=settings.rerank_model, base_url=settings.nvidia_base_url)


def _nvidia_key(settings: Settings, needed_by: str) -> str:
    key = settings.nvidia_api_key.get_secret_value()
    if not key:
        raise SettingsError(f"{needed_by} names a model of NVIDIA's: set NVIDIA_API_KEY, or leave {needed_by} empty.")
    return key


def make_means(settings: Settings, policy: Policy, http: httpx.AsyncClient, builtin: Embedder) -> Means:
    """What a search of the memory has at its disposal outside of the running bot."""
    if not policy.outside_models:
        return Means(builtin)
    hosted, reranker = make_hosted_embedder(settings, http), make_reranker(settings, http)
    return Means(builtin, hosted, reranker, sendable(policy))
