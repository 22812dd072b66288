"""OpenAI's chat completions.

Since GPT-5 `max_tokens` is refused in favour of `max_completion_tokens`, which also pays for reasoning; some models
refuse a temperature. Looked up in November 2026.
"""

from typing import Any

from knowledge.language_models.wire import Question, Wire, bearer, completion_body, read_completion


def _body(model: str, question: Question) -> dict[str, Any]:
    return {
        **completion_body(model, question),
        "max_completion_tokens": question.max_tokens,
        "reasoning_effort": "none",
    }


OPENAI = Wire(
    id="openai",
    name="OpenAI",
    key_setting="OPENAI_API_KEY",
    models_setting="CODEHEALER_OPENAI_MODELS",
    base_url="https://api.openai.com/v1",
    path="/chat/completions",
    headers=bearer,
    body=_body,
    read=read_completion,
    optional=("reasoning_effort", "temperature", "response_format"),
)
