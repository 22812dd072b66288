"""A team's runbooks: a folder of Markdown, indexed by what each is for, so that the best one can be linked. Never run.

What a runbook is for stands in its front matter (`kinds`, `services`, `keywords`, `title`, `url`), or else in its
title and headings.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import structlog
import yaml

from knowledge.model import KIND_NAMES, FailureKind, Link
from knowledge.redaction import redact

log = structlog.get_logger(__name__)

MAX_FILES = 2_000
MAX_BYTES = 256_000
MAX_DEPTH = 6
MAX_FRONT_MATTER = 20_000
# What a match is worth. A service alone does not make a runbook the right one for any failure of it, but is better
# than none; two keywords are as good as a kind.
KIND, SERVICE, KEYWORD, MOST_KEYWORDS = 3.0, 2.0, 1.5, 3
ENOUGH = 2.0
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_ALERT_NAME = re.compile(r"\b(?:[A-Z][a-z0-9]+){2,}[A-Z]*\b")


@dataclass(frozen=True, slots=True)
class Runbook:
    """`path` is relative to the folder; `services` and `keywords` in lower case. Without a `url` the path is shown."""

    path: str
    title: str
    kinds: frozenset[FailureKind] = frozenset()
    services: frozenset[str] = frozenset()
    keywords: frozenset[str] = frozenset()
    url: str = ""

    @property
    def link(self) -> Link:
        """Its title and where it is: the address, or "" and the path in the title."""
        return Link(self.title if self.url else f"{self.title} ({self.path})", self.url)


# --- reading ----------------------------------------------------------------------------------------------------------


def parse_runbook(text: str, path: str, *, base_url: str = "") -> Runbook:
    """One file. Front matter that is no YAML mapping counts as text: a runbook is never refused."""
    front, body = _front_matter(text)
    headings = [match.group(1) for match in _HEADING.finditer(body)][:40]
    title = str(front.get("title") or (headings[0] if headings else Path(path).stem.replace("-", " ")))
    given = {name: _words(front.get(name)) for name in ("kinds", "services", "keywords")}
    said = [title, Path(path).stem, *headings]
    kinds = _kinds(given["kinds"]) if given["kinds"] else _kinds_in(said)
    keywords = given["keywords"] or [name for line in said for name in _ALERT_NAME.findall(line)]
    return Runbook(
        path=path,
        title=redact(" ".join(title.split())[:120]),
        kinds=frozenset(kinds),
        services=frozenset(word.lower() for word in given["services"]),
        keywords=frozenset(word.lower() for word in keywords if len(word) >= 3),
        url=_address(front.get("url")) or (f"{base_url.rstrip('/')}/{quote(path)}" if base_url else ""),
    )


def _front_matter(text: str) -> tuple[Mapping[str, Any], str]:
    text = text.removeprefix("\ufeff")
    if not text.startswith("---"):
        return {}, text
    head, mark, body = text[3:].partition("\n---")
    if not mark or len(head) > MAX_FRONT_MATTER:
        return {}, text
    try:
        found = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}, text
    return (found, body) if isinstance(found, dict) else ({}, text)


def _words(value: Any) -> list[str]:
    """A list of words, or one text with commas."""
    if isinstance(value, str):
        value = value.split(",")
    return [str(word).strip() for word in value if str(word).strip()][:50] if isinstance(value, list) else []


def _kinds(words: Iterable[str]) -> Iterator[FailureKind]:
    names = {_plain(name): kind for kind, name in KIND_NAMES.items()} | {
        _plain(kind.value): kind for kind in FailureKind
    }
    for word in words:
        if kind := names.get(_plain(word)):
            yield kind


def _kinds_in(lines: Sequence[str]) -> Iterator[FailureKind]:
    """The kinds whose identifier stands in a title or heading as a word."""
    text = {word for line in lines for word in re.findall(r"[a-z]+", _joined(line))}
    for kind in FailureKind:
        if kind not in {FailureKind.HEALTHY, FailureKind.UNKNOWN} and _plain(kind.value) in text:
            yield kind


def _joined(line: str) -> str:
    return line.lower().replace("_", "").replace("-", "")


def _plain(word: str) -> str:
    return re.sub(r"[^a-z]", "", word.lower())


def _address(value: Any) -> str:
    text = str(value or "").strip()
    return text if urlsplit(text).scheme in {"http", "https"} and text.isprintable() and len(text) <= 2000 else ""


# --- choosing ---------------------------------------------------------------------------------------------------------


def best_runbook(runbooks: Iterable[Runbook], *, kind: FailureKind | None, service: str, text: str) -> Runbook | None:
    """The runbook that fits best, None where none fits: pure. `text` is the alert's words; equals go by path."""
    words = set(re.findall(r"[a-z0-9_-]{3,}", text[:20_000].lower()))
    scored = [(worth(one, kind=kind, service=service, words=words, text=text), one) for one in runbooks]
    fitting = sorted(
        ((score, one) for score, one in scored if score >= ENOUGH), key=lambda pair: (-pair[0], pair[1].path)
    )
    return fitting[0][1] if fitting else None


def worth(runbook: Runbook, *, kind: FailureKind | None, service: str, words: set[str], text: str) -> float:
    """0 for a runbook of other services; one that names none is for all."""
    if runbook.services and service.lower() not in runbook.services:
        return 0.0
    lower = text[:20_000].lower()
    hits = sum(
        1 for word in runbook.keywords if (word in words if re.fullmatch(r"[a-z0-9_-]+", word) else word in lower)
    )
    score = KIND if kind in runbook.kinds else 0.0
    score += min(hits, MOST_KEYWORDS) * KEYWORD
    # What names its kinds is for those: another kind's runbook is not the right one for being of the same service.
    own = bool(runbook.services) and (score > 0 or not runbook.kinds)
    return score + (SERVICE if own else 0.0)


# --- the folder -------------------------------------------------------------------------------------------------------


@dataclass
class Shelf:
    """The runbooks of a folder, read again where a file changed. Without a folder there are none."""

    folder: Path | None = None
    base_url: str = ""
    _read: dict[str, tuple[tuple[int, int], Runbook]] = field(default_factory=dict)

    @property
    def runbooks(self) -> list[Runbook]:
        return [runbook for _, runbook in self._read.values()]

    def refresh(self) -> int:
        """Read what is new or changed, forget what is gone; how many there are. Blocking: a few ms for 2,000 files."""
        if self.folder is None:
            return 0
        kept: dict[str, tuple[tuple[int, int], Runbook]] = {}
        for path, stamp in _files(self.folder):
            known = self._read.get(path)
            if known is not None and known[0] == stamp:
                kept[path] = known
            elif (runbook := self._parsed(path)) is not None:
                kept[path] = (stamp, runbook)
        self._read = kept
        return len(kept)

    def _parsed(self, path: str) -> Runbook | None:
        assert self.folder is not None  # noqa: S101  looked at by the caller
        try:
            with (self.folder / path).open("rb") as file:
                raw = file.read(MAX_BYTES)
        except OSError as error:
            log.warning("runbook_unreadable", path=path, error=type(error).__name__)
            return None
        return parse_runbook(raw.decode("utf-8", "replace"), path, base_url=self.base_url)


def _files(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """(path, (changed at in ns, bytes)) of the Markdown files, without hidden folders and links that lead elsewhere."""
    count = 0
    for here, folders, names in os.walk(folder, followlinks=False):
        depth = len(Path(here).relative_to(folder).parts)
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if depth < MAX_DEPTH else []
        for name in sorted(names):
            file = Path(here, name)
            if not name.lower().endswith((".md", ".markdown")) or file.is_symlink():
                continue
            count += 1
            if count > MAX_FILES:
                log.warning("runbooks_bounded", kept=MAX_FILES)
                return
            try:
                stat = file.stat()
            except OSError:
                continue  # gone since it was listed
            yield file.relative_to(folder).as_posix(), (stat.st_mtime_ns, stat.st_size)
