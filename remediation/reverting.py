"""What it takes to put the files of a folder back to an earlier commit: looked up by trees, decided purely."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from knowledge.errors import NotFound, Refused
from knowledge.redaction import redact
from remediation.github_calls import commit_id
from remediation.ports import CodeHost, Json

MAX_FILES = 50
MAX_DIFF_CHARS = 4_000

Tree = Mapping[str, tuple[str, str]]
"""Path → (mode, blob's sha)."""


@dataclass(frozen=True, slots=True)
class Revert:
    """`entries` are what Git's tree API is sent: path, mode, type, and the blob's sha or None to delete."""

    branch: str
    head: str
    entries: tuple[Json, ...]
    diff: str

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(str(entry["path"]) for entry in self.entries)


async def look(host: CodeHost, repository: str, branch: str, *, path: str, good: str, bad: str) -> Revert:
    """What the revert would change now.

    Raises:
        Refused: it is not a clean one (a file changed since), there is nothing to revert, or it is too large.
    """
    if branch in {"", "HEAD"}:
        branch = str((await host.read(repository, "")).get("default_branch") or "main")
    try:
        head = str((await host.read(repository, f"/git/ref/heads/{branch}"))["object"]["sha"])
    except NotFound as error:
        raise NotFound(
            f"{repository} has no branch {branch[:100]}: a tag or a commit cannot be reverted on."
        ) from error
    trees = await asyncio.gather(*(_tree(host, repository, sha) for sha in (good, bad, head)))
    entries = entries_of(*trees, path=path)
    if isinstance(entries, str):
        raise Refused(entries)
    compared = await host.compare(repository, good, bad)
    paths = {entry["path"] for entry in entries}
    files = [f for f in compared.get("files") or [] if f.get("filename") in paths]
    return Revert(branch, head, entries, redact(reversed_diff(files))[:MAX_DIFF_CHARS])


async def _tree(host: CodeHost, repository: str, sha: str) -> Tree:
    found = await host.read(repository, f"/git/trees/{commit_id(sha)}", {"recursive": "1"})
    if found.get("truncated"):
        raise Refused(f"{repository} has too many files for GitHub to list; revert the commit by hand.")
    rows = found.get("tree") or []
    return {str(r["path"]): (str(r["mode"]), str(r["sha"])) for r in rows if r.get("type") != "tree"}


def entries_of(good: Tree, bad: Tree, head: Tree, *, path: str) -> tuple[Json, ...] | str:
    """The tree's entries that bring `path` back from `bad` to `good` on top of `head`, or why that is not clean."""
    below = f"{path.strip('/')}/" if path.strip("/.") else ""
    changed = sorted(p for p in {*good, *bad} if p.startswith(below) and good.get(p) != bad.get(p))
    if not changed:
        return f"nothing below {path or 'the repository'} changed between the two revisions"
    if len(changed) > MAX_FILES:
        return f"{len(changed)} files changed, more than {MAX_FILES}; revert them by hand"
    moved = [p for p in changed if head.get(p) != bad.get(p)]
    if moved:
        return f"{', '.join(moved[:3])} changed again since, so the revert would not be clean"
    return tuple(_entry(p, good.get(p), bad.get(p)) for p in changed)


def _entry(path: str, good: tuple[str, str] | None, bad: tuple[str, str] | None) -> Json:
    mode = (good or bad or ("100644", ""))[0]
    return {
        "path": path,
        "mode": mode,
        "type": "commit" if mode == "160000" else "blob",
        "sha": good[1] if good else None,
    }


def reversed_diff(files: Sequence[Json]) -> str:
    """GitHub's patches the other way round: what was added goes, what was removed comes back."""
    parts: list[str] = []
    for file in files:
        parts.append(f"{file.get('filename')}:")
        parts.extend(_reversed_lines(str(file.get("patch") or "").split("\n")) if file.get("patch") else ["(no diff)"])
    return "\n".join(parts)


def _reversed_lines(lines: Sequence[str]) -> list[str]:
    """Within a block of changes the removals come first, as in every diff."""
    out: list[str] = []
    gone: list[str] = []
    back: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("+"):
            gone.append("-" + line[1:])
        elif line.startswith("-"):
            back.append("+" + line[1:])
        else:
            out += [*gone, *back, line]
            gone, back = [], []
    return [line for line in out if line and not line.startswith("@@")]
