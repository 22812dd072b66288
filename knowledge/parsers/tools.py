# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""Which tool's output a text is: found inside CI logs as well as on its own."""

import re

# [tool, expression]; the first that matches names the tool that failed.
_TOOLS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.MULTILINE))
    for name, pattern in (
        ("mypy", r"^Found \d+ errors? in \d+ files?|error: .+  \[[a-z-]+\]$"),
        (
            "pytest",
            r"={3,} (?:short test summary|FAILURES|ERRORS)|^FAILED \S+::|\d+ (?:passed|failed).* in [\d.]+s|^E   ",
        ),
        ("go test", r"^\s*--- FAIL: |^FAIL\s+\S+\s+[\d.]+s|panic: test timed out"),
        ("jest", r"^Tests:\s+\d+ failed|expect\(received\)|^\s+● "),
        ("cargo", r"error\[E\d{4}\]|could not compile `|^test result: FAILED"),
        ("maven", r"\[ERROR\] Failed to execute goal|\[INFO\] BUILD FAILURE|maven-\w+-plugin"),
        ("gradle", r"^FAILURE: Build failed with an exception|Execution failed for task ':|BUILD FAILED in"),
        ("tsc", r"error TS\d{4}:"),
        ("eslint", r"✖ \d+ problems?|^\s+\d+:\d+\s+error\s+"),
        ("ruff", r"^\S+\.py:\d+:\d+: [A-Z]+\d+ |Would reformat"),
        ("docker build", r"failed to solve|^#\d+ \[|^Step \d+/\d+ :|executor failed running|dockerfile parse error"),
        (
            "pip",
            r"No matching distribution found|Could not find a version that satisfies|ResolutionImpossible|pip\._internal",
        ),
        ("npm", r"npm ERR!|npm error "),
        ("yarn", r"^error (?:Couldn't find|An unexpected error)|YN\d{4}"),
        ("pnpm", r"ERR_PNPM_"),
        ("poetry", r"version solving failed"),
        ("terraform", r"^│ Error:|Error: .*\n\n.*on .*\.tf line"),
        ("helm", r"(?:INSTALLATION|UPGRADE) FAILED|helm template|helm\.go:\d+"),
        ("kubectl", r"Error from server \(|error: deployment \".+\" exceeded"),
        ("alembic", r"alembic\."),
        ("git", r"^fatal: |^remote: "),
        ("go", r"^\S+\.go:\d+:\d+: |^go: "),
        ("gcc", r"undefined reference to|^\S+\.(?:c|cc|cpp|h):\d+:\d+: (?:fatal )?error:"),
        ("javac", r"\.java:\d+: error:|COMPILATION ERROR"),
        ("shell", r"^(?:/bin/)?(?:sh|bash|zsh): .*(?:not found|syntax error|Permission denied|No such file)"),
    )
)


def tool_of(text: str) -> str:
    """The tool whose failure the text reports, "" when none is recognised."""
    return next((name for name, expression in _TOOLS if expression.search(text)), "")
