"""Free text of a hosted model: who is asked for it, and how what comes back is made harmless.

Nothing in it is believed: it stands beside what code has stated, marked as a model's. So it is bounded and redacted,
and it leads nowhere and calls nobody: a link or a name that a model writes may be its own, or a stranger's.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from knowledge.budget import OverBudget
from knowledge.errors import CodeHealerError
from knowledge.language_models.reply import UnreadableReply, without_reasoning
from knowledge.prompts import Prompt
from knowledge.redaction import clean, redact

TEXT_CHARS = 3_000
# Of a longer reply no more is read: the expressions below are tried at each of its characters.
_READ_CHARS = 12_000

# What a model was still thinking when its reply ended.
_UNENDED_THOUGHT = re.compile(r"<(?:think|thinking|reasoning)>.*", re.DOTALL | re.IGNORECASE)
_SLACK_LINK = re.compile(r"<[a-z]{2,10}:[^<>|\s]{1,800}\|([^<>\n]{1,200})>", re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\[\]\n]{0,200})\]\([^()\[\]\n]{0,800}\)")
_DEFINITION = re.compile(r"^[ \t]{0,3}\[[^\[\]\n]{1,200}\]:.*$", re.MULTILINE)
_ADDRESS = re.compile(r"<?\b(?:[a-z][a-z0-9+.-]{1,20}://|mailto:|www\.)[^\s<>]+>?", re.IGNORECASE)
_MAILBOX = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
# A host with a path, which some readers turn into a link by themselves; names of images look like that too.
_HOST = re.compile(
    r"(?<![\w./@-])(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?::\d{1,5})?/[^\s()\[\]<>,;`'\"]*", re.IGNORECASE
)
_MENTION = re.compile(r"<[@!#][^<>\n]{1,100}>|(?<!\w)@+[A-Za-z][\w@-]*")
_HEADING = re.compile(r"^[ \t>]*(?:#+[ \t]*|[=-]{3,}[ \t]*$|```.*$|~~~.*$)", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?…](?=\s)")


@dataclass(frozen=True, slots=True)
class FreeText:
    """What a model wrote. `name` is "nvidia:<model>"; `usd` what it cost in dollars, about; `note` is for people."""

    text: str
    name: str
    prompt_version: str
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    note: str = ""


class Writer(Protocol):
    """A service that can be asked for free text; `write` raises a CodeHealerError when it has none."""

    @property
    def name(self) -> str: ...

    @property
    def deadline_s(self) -> float: ...

    async def write(self, prompt: Prompt) -> FreeText: ...


async def first_text(writers: Sequence[Writer], prompt: Prompt) -> tuple[FreeText | None, str]:
    """The first text that somebody writes, or None; and why others did not, in words ("" where nobody failed)."""
    told: list[str] = []
    for writer in writers:
        try:
            async with asyncio.timeout(writer.deadline_s):
                return await writer.write(prompt), "; ".join(told)
        except TimeoutError:
            told.append(f"{writer.name} did not answer in {writer.deadline_s:g} s")
        except OverBudget as error:
            told.append(str(error))
            break  # the limit is one for all services
        except CodeHealerError as error:
            told.append(f"{writer.name}: {error}")
    return None, "; ".join(told)


def read_text(content: str, *, given: str, cut_off: bool = False) -> str:
    """Plain sentences of at most `TEXT_CHARS`; reading them again changes nothing.

    `given` is what the model was shown: an address that stands there is not its invention. Of a text that is
    `cut_off` the last, broken sentence goes. Raises UnreadableReply when nothing is left.
    """
    text = _UNENDED_THOUGHT.sub("", clean(without_reasoning(content[:_READ_CHARS])))
    text = _LINK.sub(r"\1", _SLACK_LINK.sub(r"\1", text))
    text = _DEFINITION.sub("", text)
    text = _ADDRESS.sub("(link left out)", text)
    text = _MAILBOX.sub("(address left out)", text)
    text = _HOST.sub(lambda found: found[0] if found[0].rstrip(".:") in given else "(address left out)", text)
    text = _HEADING.sub("", _MENTION.sub("(name left out)", text))
    text = redact("\n".join(line for line in (" ".join(line.split()) for line in text.split("\n")) if line))
    if cut_off or len(content) > _READ_CHARS or len(text) > TEXT_CHARS:
        text = _whole_sentences(text[:TEXT_CHARS])
    if not re.search(r"\w", text):
        raise UnreadableReply("the reply is empty")
    return text


def _whole_sentences(text: str) -> str:
    """Up to the end of the last sentence that another one follows; all of it where there is none."""
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text
