"""NVIDIA's hosted chat models: the OpenAI shape, and 202 where an answer has to be asked after.

Sources: docs.api.nvidia.com (chat completions and status polling), looked up in November 2026.
"""

from typing import Any

from knowledge.language_models.wire import Question, Wire, bearer, completion_body, read_completion


def _body(model: str, question: Question) -> dict[str, Any]:
    return {
        **completion_body(model, question),
        "max_tokens": question.max_tokens,  # max_completion_tokens is ignored here
        # Thinking aloud would use up the tokens of the answer, and is no help in choosing from a closed set.
        "chat_template_kwargs": {"enable_thinking": False},
    }


NVIDIA = Wire(
    id="nvidia",
    name="NVIDIA",
    key_setting="NVIDIA_API_KEY",
    models_setting="CODEHEALER_NVIDIA_MODELS",
    base_url="https://integrate.api.nvidia.com/v1",
    path="/chat/completions",
    headers=bearer,
    body=_body,
    read=read_completion,
    optional=("chat_template_kwargs", "response_format", "temperature"),
    status_path="/status/",
)
