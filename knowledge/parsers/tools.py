# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""Which tool's output a text is: found inside CI logs as well as on its own."""

import re

# [tool, expression]; the first that matches names the tool that failed. Test runners and compilers come before the build
# tools that call them, those before package managers and shells: the innermost says why.
_TOOLS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.MULTILINE))
    for name, pattern in (
        ("mypy", r"^Found \d+ errors? in \d+ files?|error: .+  \[[a-z-]+\]$"),
        (
            "pytest",
            r"={3,} (?:short test summary|FAILURES|ERRORS)|^FAILED \S+::|\d+ (?:passed|failed).* in [\d.]+s|^E   ",
        ),
        ("go test", r"^\s*--- FAIL: |^FAIL\s+\S+\s+[\d.]+s|panic: test timed out"),
        (
            "vitest",
            r"^ ?(?:FAIL|❯) {1,2}\S+\.(?:test|spec)\.\w+ |^ Test Files  \d+ failed|AssertionError: expected .+ // Object\.is",
        ),
        ("jest", r"^Tests:\s+\d+ failed|expect\(received\)|^\s+● "),
        ("mocha", r"^\s+\d+ passing \([\d.]+m?s\)\n\s+\d+ failing"),
        ("playwright", r"^\s+\d+\) \[\w+\] › \S+\.(?:test|spec)\.\w+:\d+"),
        ("cypress", r"\(Run Finished\)|cy\.\w+\(\) timed out"),
        ("rspec", r"^rspec \./\S+:\d+ #|^\d+ examples?, \d+ failures?"),
        ("phpunit", r"^FAILURES!\nTests: \d+|^PHPUnit \d"),
        ("cargo", r"error\[E\d{4}\]|could not compile `|^test result: FAILED"),
        ("maven", r"\[ERROR\] Failed to execute goal|\[INFO\] BUILD FAILURE|maven-\w+-plugin"),
        ("gradle", r"^FAILURE: Build failed with an exception|Execution failed for task ':|BUILD FAILED in"),
        ("dotnet", r"\berror (?:CS|MSB|NU)\d{4}:|^Build FAILED\.$"),
        ("tsc", r"error TS\d{4}:"),
        ("eslint", r"✖ \d+ problems?|^\s+\d+:\d+\s+error\s+"),
        ("ruff", r"^\S+\.pyi?:\d+:\d+: [A-Z]+\d+ |Would reformat|^[A-Z]{1,4}\d{3,4} .+\n\s+-->? \S+:\d+:\d+"),
        ("black", r"^would reformat \S+|\d+ files? would be reformatted"),
        ("flake8", r"^\S+\.py:\d+:\d+: [EWFC]\d{3} "),
        ("pylint", r"^\S+\.py:\d+:\d+: [CREFW]\d{4}: "),
        ("golangci-lint", r"^\S+\.go:\d+:\d+: .+ \([a-z]+\)$"),
        ("prettier", r"^\[(?:warn|error)\] \S+\.\w+$|Code style issues found"),
        ("hadolint", r"^\S*Dockerfile\S*:\d+ DL\d{4}"),
        ("docker build", r"failed to solve|^#\d+ \[|^Step \d+/\d+ :|executor failed running|dockerfile parse error"),
        ("terraform", r"^[│|]? ?Error: .*\n(?:.*\n){0,4}.*on \S+\.tf line|^│ Error:|Error acquiring the state lock"),
        ("helm", r"(?:INSTALLATION|UPGRADE) FAILED|helm template|helm\.go:\d+"),
        ("kustomize", r"kustomize build|^Error: (?:accumulating|loading) "),
        ("ansible", r"^fatal: \[[^\]]+\]: (?:FAILED|UNREACHABLE)!|^PLAY RECAP"),
        (
            "kubectl",
            r"Error from server \(|error: deployment \".+\" exceeded|error: timed out waiting for the condition",
        ),
        (
            "pip",
            r"No matching distribution found|Could not find a version that satisfies|ResolutionImpossible|pip\._internal",
        ),
        ("uv", r"× No solution found when resolving|^error: Failed to (?:fetch|download|build):? `"),
        (
            "poetry",
            r"version solving failed|^poetry\.lock is not up to date|pyproject\.toml changed significantly since poetry\.lock",
        ),
        ("pnpm", r"ERR_PNPM_"),
        ("yarn", r"^error (?:Couldn't find|An unexpected error|Command failed)|YN\d{4}"),
        ("npm", r"npm ERR!|npm error "),
        ("bundler", r"Bundler could not find compatible versions|^Could not find gem|Bundler::\w+"),
        ("composer", r"Your requirements could not be resolved to an installable set"),
        ("alembic", r"alembic\."),
        ("git", r"^fatal: |^remote: "),
        ("go", r"^\S+\.go:\d+:\d+: |^go: "),
        ("gcc", r"undefined reference to|^\S+\.(?:c|cc|cpp|h):\d+:\d+: (?:fatal )?error:"),
        ("javac", r"\.java:\d+: error:|COMPILATION ERROR"),
        ("cmake", r"^CMake Error"),
        ("apt", r"^E: (?:Unable to|Failed to|Could not|Package|The repository)"),
        ("make", r"^g?make(?:\[\d+\])?: \*\*\* "),
        ("shell", r"^(?:/bin/)?(?:sh|bash|zsh): .*(?:not found|syntax error|Permission denied|No such file)"),
    )
)


def tool_of(text: str) -> str:
    """The tool whose failure the text reports, "" when none is recognised."""
    return next((name for name, expression in _TOOLS if expression.search(text)), "")
