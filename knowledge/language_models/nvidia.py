"""NVIDIA's hosted chat models (the OpenAI shape): an ordered list, because models vanish by the month."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import stamina
from pydantic import BaseModel, ConfigDict, ValidationError

from knowledge.case import Case
from knowledge.diagnosis import Answer
from knowledge.errors import Refused, SettingsError, Unavailable
from knowledge.language_models.reply import UnreadableReply, answer_from, read_reply, reply_schema
from knowledge.prompts import Prompt, build_prompt

BASE_URL = "https://integrate.api.nvidia.com/v1"
_RETRY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# Another model may do where this one is gone, not entitled or does not know a field.
_NEXT_MODEL = frozenset({400, 401, 402, 403, 404, 410, 422})
_LONGEST_WAIT_S = 8.0
_LARGEST_BODY = 2 * 1024 * 1024


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    content: str | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    model_config = ConfigDict(extra="ignore")
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    model_config = ConfigDict(extra="ignore")
    choices: list[_Choice]
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    content: str
    cut_off: bool
    input_tokens: int
    output_tokens: int


class NvidiaAnswerer:
    """Asks the configured models in order, each with one retry when its reply cannot be read.

    `client` is shared and closed by its owner. `deadline_s` bounds one answer over all models.
    """

    name = "NVIDIA"

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        api_key: str,
        models: Sequence[str],
        base_url: str = BASE_URL,
        temperature: float = 0.2,
        max_tokens: int = 512,
        deadline_s: float = 30.0,
        attempts: int = 3,
    ) -> None:
        if not models:
            raise SettingsError("CODEHEALER_NVIDIA_MODELS is empty: name at least one chat model.")
        self.deadline_s = deadline_s
        self._client = client
        self._key = api_key
        self._models = tuple(models)
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._attempts = attempts

    async def answer(self, case: Case) -> Answer:
        """Raises Unavailable when no model gives a readable answer; the message says why for each."""
        prompt = build_prompt(case, nonce=secrets.token_hex(8))
        reasons: list[str] = []
        for model in self._models:
            try:
                return await self._ask(model, prompt)
            except (Unavailable, Refused, UnreadableReply) as error:
                reasons.append(f"{model}: {error}")
        raise Unavailable("; ".join(reasons)[:400])

    async def _ask(self, model: str, prompt: Prompt) -> Answer:
        messages = prompt.messages()
        spent_in = spent_out = 0
        for last in (False, True):
            said = await self._complete(model, messages)
            spent_in += said.input_tokens
            spent_out += said.output_tokens
            try:
                reply = read_reply(said.content)
            except UnreadableReply as error:
                if last:
                    raise
                problem = f"{error}{' (it was cut off: be shorter)' if said.cut_off else ''}"
                messages = [
                    *prompt.messages(),
                    {"role": "assistant", "content": said.content[:2000] or "(nothing)"},
                    {
                        "role": "user",
                        "content": f"That cannot be read: {problem}. Answer again, with the JSON object only.",
                    },
                ]
            else:
                return answer_from(
                    reply,
                    name=f"nvidia:{model}",
                    prompt_version=prompt.version,
                    input_tokens=spent_in,
                    output_tokens=spent_out,
                )
        raise UnreadableReply("no readable reply")

    async def _complete(self, model: str, messages: list[dict[str, str]]) -> _Said:
        # Only documented fields: strict servers answer 400 to any other.
        body: dict[str, Any] = {
            "model": model,
            "messages": messages,
            "temperature": self._temperature,
            "max_tokens": self._max_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "diagnosis", "schema": reply_schema(), "strict": True},
            },
        }
        async for attempt in stamina.retry_context(
            on=_pause, attempts=self._attempts, timeout=self.deadline_s, wait_initial=0.2, wait_max=_LONGEST_WAIT_S
        ):
            with attempt:
                return _said(await self._post(body))
        raise Unavailable("no attempt was made")

    async def _post(self, body: dict[str, Any]) -> httpx.Response:
        try:
            response = await self._client.post(
                self._url,
                json=body,
                headers={"Authorization": f"Bearer {self._key}", "Accept": "application/json"},
                timeout=self.deadline_s,
            )
        except httpx.TimeoutException:
            raise Unavailable(f"no answer in {self.deadline_s:g} s") from None
        except httpx.HTTPError as error:
            raise Unavailable(f"connection failed ({type(error).__name__})") from None
        if response.status_code in _RETRY:
            raise Unavailable(f"HTTP {response.status_code}", retry_after_s=_retry_after(response))
        if response.status_code in _NEXT_MODEL:
            raise Refused(f"HTTP {response.status_code} {_WORDS.get(response.status_code, '')}".strip())
        if response.status_code != 200:
            raise Refused(f"HTTP {response.status_code}")
        return response


_WORDS = {
    400: "(a field was refused)",
    401: "(NVIDIA_API_KEY is not valid)",
    402: "(credits are spent)",
    403: "(not entitled to this model)",
    404: "(unknown model)",
    410: "(the model has reached its end of life)",
    422: "(a field was refused)",
}


def _pause(error: Exception) -> bool | float:
    """Whether to try again, and after how many seconds where the server says so; not when that is too long to wait."""
    if not isinstance(error, Unavailable):
        return False
    if error.retry_after_s is None:
        return True
    return error.retry_after_s if error.retry_after_s <= _LONGEST_WAIT_S else False


def _retry_after(response: httpx.Response) -> float | None:
    raw = response.headers.get("Retry-After", "")
    return float(raw) if raw.isdigit() else None


def _said(response: httpx.Response) -> _Said:
    if len(response.content) > _LARGEST_BODY:
        raise UnreadableReply("the reply is too large")
    try:
        completion = _Completion.model_validate_json(response.content)
    except ValidationError:
        kind = response.headers.get("Content-Type", "no content type").split(";")[0][:60]
        raise UnreadableReply(f"the reply is not a chat completion ({kind})") from None
    if not completion.choices:
        raise UnreadableReply("the reply holds no choice")
    choice = completion.choices[0]
    usage = completion.usage or _Usage()
    return _Said(
        content=choice.message.content or "",
        cut_off=choice.finish_reason == "length",
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
    )
