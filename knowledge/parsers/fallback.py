"""Text of no known form: its error lines and what they name, and no claim about a tool."""

import re

from knowledge.parsers.entities import find_entities
from knowledge.parsers.parsed import Parsed
from knowledge.parsers.tools import tool_of
from knowledge.reduction import reduce_log

_EXIT = re.compile(r"(?i)\b(?:exit(?:ed with|ing with)?(?: status| code)?|non-zero code):? (?:code )?(\d{1,3})\b")


def exit_code_in(text: str) -> int | None:
    """The last exit code other than 0 that the text names."""
    codes = [int(code) for code in _EXIT.findall(text) if int(code)]
    return codes[-1] if codes else None


def telling_lines(text: str) -> tuple[tuple[int, str], ...]:
    return reduce_log(text, max_lines=40, max_chars=6000).lines


def parse_anything(text: str, _hint: str) -> Parsed:
    lines = telling_lines(text)
    body = "\n".join(line for _, line in lines)
    return Parsed(
        format="text",
        tool=tool_of(body),
        exit_code=exit_code_in(body),
        error_lines=lines,
        entities=find_entities(line for _, line in lines),
    )
