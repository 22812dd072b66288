"""Texts of tools to their failing step, error lines and the things that they name.

A chain: the first parser that recognises the text wins; the fallback recognises everything, and says so.
"""

from collections.abc import Callable

from knowledge.parsers.argocd import parse_argocd
from knowledge.parsers.container_log import parse_container_log
from knowledge.parsers.docker_build import parse_docker_build
from knowledge.parsers.fallback import parse_anything
from knowledge.parsers.github_actions import parse_github_actions
from knowledge.parsers.kubernetes import parse_kubernetes
from knowledge.parsers.parsed import Parsed

PARSERS: tuple[Callable[[str, str], Parsed | None], ...] = (
    parse_github_actions,
    parse_argocd,
    parse_docker_build,
    parse_kubernetes,
    parse_container_log,
)
_HALF = 1 << 20


def parse(text: str, hint: str = "") -> Parsed:
    """`text` (redacted, cleaned) as the first parser reads it that knows its form; `hint` is the evidence's kind.

    Of a longer text only the first and last megabyte are looked at; line numbers hold for all of it.
    """
    if len(text) > 2 * _HALF:
        begin, end = (
            text.rfind("\n", 0, _HALF) + 1 or _HALF,
            text.find("\n", len(text) - _HALF) + 1 or len(text) - _HALF,
        )
        text = text[:begin] + "\n" * text.count("\n", begin, end) + text[end:]
    for parser in PARSERS:
        if parsed := parser(text, hint):
            return parsed
    return parse_anything(text, hint)


__all__ = ["PARSERS", "Parsed", "parse"]
