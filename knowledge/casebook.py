"""What is remembered as Markdown files, one a case, for people to review and correct in Git. Pure.

A file is front matter (what the case is) and three sections: Signs, Cause, Fix. The same case always makes the same
text. `version` is a digest of what a person may change: a file that still has it was not edited.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from knowledge.errors import BadInput
from knowledge.importing import LONGEST_ID, LONGEST_WORDS, OWN_ID, one_line, one_of, read_moment, web_address
from knowledge.model import KIND_NAMES, OUTCOMES, FailureKind, KnowledgeItem, TrackRecord
from knowledge.redaction import clean, redact

INDEX = "INDEX.md"
LONGEST_FILE = 200_000
STATUSES = ("old", "wrong")
# In this order in a file. Those of the second line are for reading: what was done and when is not a matter of opinion.
EDITED = ("kind", "service", "environment", "outcome", "status", "link")
READ = ("id", "source", "action", "track_record", "occurred_at", "version")
SECTIONS = {"signs": "excerpt", "cause": "cause", "fix": "fix"}
_SLUG = re.compile(r"[^a-z0-9._-]+")
_FENCE = re.compile(r"`{3,}")
_INDEX_LINE = re.compile(r"^- \[.*\]\(([a-z0-9._-]+\.md)\)$", re.MULTILINE)
INDEX_HEAD = """# What CodeHealer remembers

One file a case; `codehealer knowledge export` writes them, `codehealer knowledge import` brings corrections back.
To correct: kind, service, environment, outcome, status, link and the three sections. The rest is for reading.
`status: wrong` takes a case out of the answers, `status: old` lets it weigh less.
Delete a file and import with `--prune` to make it forgotten. A new file needs an `id` of its own.

"""


class Unreadable(BadInput):
    """A case file cannot be read. `line` is 1-based, 0 where none can be named."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file as read: `fields` are what a person may change (EDITED and the sections), redacted and checked."""

    id: str
    fields: Mapping[str, str]
    version: str
    occurred_at: datetime | None = None  # heeded for a case that a person has written

    @property
    def edited(self) -> bool:
        return self.version != digest(self.fields)


def file_name(item_id: str) -> str:
    """A name that every file system takes; two ids never share one."""
    slug = _SLUG.sub("-", item_id.lower()).strip("-.")[:80]
    plain = slug == item_id and slug not in {"index", "readme"}
    mark = "" if plain else f"-{hashlib.sha256(item_id.encode()).hexdigest()[:8]}"
    return f"{slug}{mark}.md".lstrip("-")


def fields_of(item: KnowledgeItem) -> dict[str, str]:
    """What a person may change of an item, as a file would give it back."""
    values = {name: str(getattr(item, name) or "") for name in (*EDITED, *SECTIONS.values())}
    return {name: _canonical(value) for name, value in values.items()}


def _canonical(value: str) -> str:
    lines = redact(clean(value)).replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def digest(fields: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(fields), sort_keys=True).encode()).hexdigest()[:12]


def title(item: KnowledgeItem) -> str:
    """One line for the index and the file's heading."""
    kind = KIND_NAMES[item.kind] if item.kind else "Cause not known"
    where = " ".join(part for part in (item.service, f"({item.environment})" if item.environment else "") if part)
    return re.sub(r"[\[\]\s]+", " ", f"{kind}: {where}" if where else kind).strip()


def render(item: KnowledgeItem, record: TrackRecord | None) -> str:
    """The file of one item."""
    fields = fields_of(item)
    worked = f"{record.verified} of {record.attempts}" if record and record.attempts else ""
    front = {
        "id": item.id,
        "source": item.source,
        **{name: fields[name] for name in EDITED},
        "action": item.action,
        "track_record": worked,
        "occurred_at": item.occurred_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "version": digest(fields),
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1_000_000)
    fence = "`" * max(3, 1 + max((len(run) for run in _FENCE.findall(fields["excerpt"])), default=0))
    signs = f"{fence}\n{fields['excerpt']}\n{fence}"
    parts = [f"---\n{head}---", f"# {title(item)}", "## Signs", signs]
    for name in ("cause", "fix"):
        parts += [f"## {name.capitalize()}", *([_escaped(fields[name])] if fields[name] else [])]
    return "\n\n".join(parts) + "\n"


def _escaped(words: str) -> str:
    """A heading inside of a section would end it."""
    return re.sub(r"^(?=\\*#)", r"\\", words, flags=re.MULTILINE)


def render_index(names: Mapping[str, str]) -> str:
    """The list of all cases: file name → title. What it lists was exported, so a file that is gone was deleted."""
    return INDEX_HEAD + "".join(f"- [{names[name]}]({name})\n" for name in sorted(names))


def indexed(text: str) -> frozenset[str]:
    """The file names that an index lists."""
    return frozenset(_INDEX_LINE.findall(text))


def read_case_file(data: bytes) -> CaseFile:
    """Read and check one file.

    Raises:
        Unreadable: the line, what is wrong with it, and the remedy.
    """
    if len(data) > LONGEST_FILE:
        raise Unreadable(0, f"larger than {LONGEST_FILE:,} bytes; shorten its sections")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise Unreadable(data.count(b"\n", 0, error.start) + 1, "not UTF-8; save it as UTF-8 text") from None
    lines = text.split("\n")
    end = next((number for number, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), 0)
    if lines[0].rstrip() != "---" or not end:
        raise Unreadable(1, "no front matter; begin with a line ---, then id: and the other fields, then --- again")
    front, places = _front_matter("\n".join(lines[1:end]))
    sections, headings = _sections(lines, end + 1)
    fields = {}
    for name, value in {**{name: front.get(name, "") for name in EDITED}, **sections}.items():
        line = places.get(name) or headings.get(name, 0)
        fields[name] = _checked(name, _canonical(value), line)
    if not fields["excerpt"]:
        raise Unreadable(headings.get("excerpt", 0), "the section Signs is empty; say what the failure looks like")
    identifier = _identifier(front.get("id", ""), places.get("id", 1))
    occurred_at = _moment(front.get("occurred_at", ""), places.get("occurred_at", 0))
    return CaseFile(identifier, fields, front.get("version", ""), occurred_at)


def _front_matter(text: str) -> tuple[dict[str, str], dict[str, int]]:
    """Fields and their lines. Values stay the words as written: YAML would make `no` a truth value."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise Unreadable(mark.line + 2 if mark else 2, f"{problem}; write one `name: value` a line") from None
    if root is None:
        return {}, {}
    if not isinstance(root, yaml.MappingNode):
        raise Unreadable(2, "the front matter is no list of fields; write one `name: value` a line")
    fields: dict[str, str] = {}
    places: dict[str, int] = {}
    for key, value in root.value:
        line = key.start_mark.line + 2
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        if name not in (*EDITED, *READ):
            near = difflib.get_close_matches(name, (*EDITED, *READ), n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join((*READ, *EDITED))}"
            raise Unreadable(line, f"the field {name[:60]!r} is not known; {remedy}")
        if name in fields:
            raise Unreadable(line, f"the field {name} is written twice; keep one of them")
        if not isinstance(value, yaml.ScalarNode):
            raise Unreadable(line, f"the field {name} must be one value; write a word or a sentence")
        fields[name], places[name] = value.value, line
    return fields, places


def _sections(lines: list[str], start: int) -> tuple[dict[str, str], dict[str, int]]:
    """The texts of the sections by item field, and the 1-based line of each heading. `start` is an index."""
    found: dict[str, list[str]] = {}
    places: dict[str, int] = {}
    now, fence = "", ""
    for number, line in enumerate(lines[start:], start=start + 1):
        if fence:
            fence = "" if line.rstrip() == fence else fence
            if fence:
                found[now].append(line)
        elif line.startswith("## "):
            now = _section(line[3:].strip(), number, places)
            found[now], places[now] = [], number
        elif now == "excerpt" and re.fullmatch(r"`{3,}\w*", line.rstrip()):
            fence = _FENCE.findall(line)[0]
        elif now:
            found[now].append(re.sub(r"^\\(?=\\*#)", "", line))
    if fence:
        raise Unreadable(places["excerpt"], f"the block of Signs is not closed; end it with a line {fence}")
    return {name: "\n".join(found.get(name, [])) for name in SECTIONS.values()}, places


def _section(heading: str, line: int, places: Mapping[str, int]) -> str:
    name = SECTIONS.get(heading.lower())
    if name is None:
        raise Unreadable(line, f"the section {heading[:60]!r} is not known; known are Signs, Cause and Fix")
    if name in places:
        raise Unreadable(line, f"the section {heading} is there twice; keep one of them")
    return name


_CHECKS: Mapping[str, Any] = {
    "kind": lambda name, value: one_of(name, value, list(FailureKind)),
    "outcome": lambda name, value: one_of(name, value, OUTCOMES),
    "status": lambda name, value: one_of(name, value, STATUSES),
    "link": web_address,
    "service": one_line,
    "environment": one_line,
}


def _checked(name: str, value: str, line: int) -> str:
    try:
        checked: str = _CHECKS[name](name, value) if name in _CHECKS else value
    except BadInput as error:
        raise Unreadable(line, str(error)) from None
    if len(checked) > LONGEST_WORDS:
        raise Unreadable(line, f"{name} is longer than {LONGEST_WORDS:,} characters; shorten it")
    return checked


def _identifier(value: str, line: int) -> str:
    wanted = value.strip()
    if not wanted or len(wanted) > LONGEST_ID or redact(clean(wanted)) != wanted:
        raise Unreadable(line, f"the field id must be a name of at most {LONGEST_ID} characters; give one of its own")
    return wanted


def _moment(value: str, line: int) -> datetime | None:
    try:
        return read_moment("occurred_at", value, now=datetime.now(UTC))
    except BadInput as error:
        raise Unreadable(line, str(error)) from None


def may_be_new(item_id: str) -> bool:
    """Whether a person may write a case under this id: our own incidents' names are ours, as are those of threads."""
    return OWN_ID.fullmatch(item_id) is None and not item_id.startswith("slack-")
