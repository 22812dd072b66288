# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""The concrete things that a failure's text names: images, secrets, tests, hosts."""

import re
from collections.abc import Collection, Iterable, Mapping

_NAME = r"[A-Za-z0-9][\w.-]{0,252}"
_QUOTED = r"\\{0,2}[\"'“]"
# [entity, expression with one group]; tried on each line in this order.
_EXPRESSIONS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("image", rf"(?i)(?:pull(?:ing)?(?: and unpack)? image|container image|image name) {_QUOTED}([^\"'\\\s]{{2,300}})"),
        ("image", rf"(?i)image:? {_QUOTED}?([a-z0-9][\w.-]*(?:[./:@][\w./:@-]+)+)"),
        ("image", r"(?i)\b(?:pull access denied for|reading manifest \S+ in|manifest for) ([\w./:@-]+)"),
        ("image", r"(?im)^\s*(?:\"?image\"?):\s+\"?([\w./:@-]{3,300}[\w])\"?,?\s*$"),
        ("secret", rf"(?i)\bsecrets? {_QUOTED}([^\"'\\\s]{{1,253}})\\{{0,2}}[\"'”] not found"),
        ("secret", r"(?i)couldn't find key \S+ in secret ([\w./-]+)"),
        ("configmap", rf"(?i)\bconfigmaps? {_QUOTED}([^\"'\\\s]{{1,253}})\\{{0,2}}[\"'”] not found"),
        ("configmap", r"(?i)couldn't find key \S+ in configmap ([\w./-]+)"),
        ("key", r"(?i)couldn't find key (\S+) in|references non-existent (?:config|secret) key:? ?(\S*)"),
        ("service_account", rf"(?i)serviceaccounts? {_QUOTED}([^\"'\\\s]{{1,253}})\\{{0,2}}[\"'”] not found"),
        ("claim", rf"(?i)persistentvolumeclaims? {_QUOTED}([^\"'\\\s]{{1,253}})"),
        ("storage_class", rf"(?i)storageclass(?:\.storage\.k8s\.io)? {_QUOTED}([^\"'\\\s]{{1,253}})"),
        ("quota", r"(?i)exceeded quota: ([\w.-]+)"),
        ("user", rf"(?i)is forbidden: User {_QUOTED}([^\"'\\\s]{{1,253}})"),
        ("resource", rf"(?i)cannot (?:list|get|create|patch|delete|watch|update|deletecollection) (?:resource {_QUOTED})?([\w./-]+)"),
        ("host", r"(?i)could not resolve host:? ([\w.-]+)"),
        ("host", r"(?i)lookup ([\w.-]+)(?: on [\d.:]+)?:? (?:no such host|i/o timeout|server misbehaving)"),
        ("host", r"(?i)(?:failed to resolve(?! reference| source)|getaddrinfo \w+|ENOTFOUND|EAI_AGAIN) '?([\w.-]{3,})"),
        ("host", r"(?i)(?:could not connect to server|connection refused|connect ECONNREFUSED|unreachable|dial tcp|tried|connecting to)[^\n]{0,80}?\b((?:[a-z][\w-]*(?:\.[\w-]+)*|\d{1,3}(?:\.\d{1,3}){3}):\d{2,5})\b"),
        ("host", r"(?i)connection (?:failed|refused)[^\n]{0,40}\(([\w.-]+:\d{2,5})\)"),
        ("host", r"(?i)https?://((?:[\w-]+\.)+[\w-]+(?::\d{2,5})?)"),
        ("registry", r"(?i)https?://((?:[\w-]+\.)*(?:docker\.io|gcr\.io|ghcr\.io|quay\.io|[\w.-]*registry[\w.-]*))"),
        ("probe", r"(?i)\b(liveness|readiness|startup) probe"),
        ("probe", r"(?i)\bfailed (liveness|readiness|startup) probe"),
        ("port", r"(?i)probe failed:[^\n]{0,120}:(\d{2,5})[/\":]"),
        ("test", r"(?:^|\s)FAILED ([\w./-]+::[\w:\[\].-]+)"),
        ("test", r"^\s*--- FAIL: (\S+)"),
        ("test", r"^\s*(?:●|✕|✗|×) (.{3,120})$"),
        ("test", r"(?:^|\s)(test [\w:]+ \.\.\. FAILED|\S+ > .{3,100} FAILED)"),
        ("test", r"\[ERROR\]\s+(\w+(?:\.\w+)+:\d+)"),
        ("test", r"^\s*(Test\w+(?:/\S+)?) \(\d+m?[\d.]*s\)"),
        ("test", r"^ ?FAIL {1,2}(\S+\.(?:test|spec)\.\w+ > .{1,160})$"),
        ("test", r"^test (\S+) \.\.\. FAILED"),
        ("test", r"^---- (\S+) stdout ----"),
        ("test", r"^rspec (\./\S+:\d+)"),
        ("test", r"^\s+\d+\) \[\w+\] › (\S+\.(?:test|spec)\.\w+:\d+)"),
        ("target", r"^g?make(?:\[\d+\])?: \*\*\* (?:\[[^\]]*?\b([\w./%-]+)\] Error|No rule to make target '([^']+)')"),
        ("task", r"Execution failed for task '(:[^']+)'"),
        ("task", r"Failed to execute goal (\S+:\S+:\S+:\S+)"),
        ("package", r"(?i)couldn't find package \"([^\"]+)"),
        ("package", r"(?i)(?:ERR_PNPM_\w+\s+GET|404 Not Found - GET) https?://[^/\s]+/(\S+?)(?::|\s|$)"),
        ("package", r"YN\d{4}: [│|]? ?(@?[\w./-]+@[^:\s]+:[^:\s]+)"),
        ("package", r"no matching package named `([^`]+)`|failed to select a version for(?: the requirement)? `([^`]+)`"),
        ("resource", r"with ([a-z]\w*\.[\w.-]+),$"),
        ("exception", r"^(?:Caused by: |Exception in thread \"[^\"]*\" |Unhandled exception\. )?((?:[a-z]\w*\.)+[A-Z]\w*(?:Exception|Error))\b"),
        ("exception", r"^([A-Z]\w*(?:Error|Exception|Interrupt))(?::|$)"),
        ("file", r"(?:^|[\s(\"'\]])((?:[\w@.-]+/)*/?(?:[\w@.-]+/)*[\w@.-]*\w\.(?:py|pyi|go|rs|ts|tsx|mts|js|jsx|mjs|cjs|vue|svelte|java|kt|kts|swift|c|cc|cpp|h|hpp|rb|php|cs|ex|exs|ya?ml|toml|json|tf|hcl|tpl|sql|sh|scala|proto)(?::\[?|\()\d+)"),
        ("file", r"File \"([^\"]{1,300}\", line \d+)"),
        ("file", r"\bon (\S{1,200}\.(?:tf|hcl) line \d+)"),
        ("file", r"(?i)\b((?:[\w.-]+/)*(?:docker|make)file(?:\.\w+)?:\d+)"),
        ("package", r"(?i)no matching distribution found for (\S+)"),
        ("package", r"(?i)(?:could not find a version that satisfies the requirement|no matching version found for|unable to locate package) (\S+)"),
        ("package", r"(?i)npm err! (?:404|notarget)[^\n]{0,40}'?(@?[\w./-]+@[\w.^~*-]+)"),
        ("package", r"(?i)could not (?:find|resolve) (?:artifact |dependencies for )?([\w.-]+:[\w.-]+(?::[\w.-]+)*)"),
        ("module", r"(?:ModuleNotFoundError: No module named|Cannot find module|ImportError: cannot import name) ['\"]([^'\"]+)"),
        ("variable", r"(?i)\b(?:environment variable|env var) [\"'`]?([A-Z][A-Z0-9_]{2,})|Set the ([A-Z][A-Z0-9_]{2,}) environment variable|KeyError: '([A-Z][A-Z0-9_]{2,})'|\b([A-Z][A-Z0-9_]{2,}) (?:is a required|is not set|missing|must be set)"),
        ("revision", r"(?i)(?:can't locate revision identified by|multiple head revisions|migration) '?([\w.-]*\d[\w.-]*)"),
        ("relation", r"(?i)\b(?:relation|column|table) \\?[\"'`]([\w.]+)\\?[\"'`] (?:of relation|already exists|does not exist)"),
        ("crd", r"(?i)no matches for kind \\?\"([\w.]+)"),
        ("hook", r"(?i)(?:completion of hook|hook) ([\w.-]+/[\w./-]+)"),
        ("executable", rf"(?i)exec: {_QUOTED}([^\"'\\]{{1,200}})\\{{0,2}}[\"'”]: (?:executable file not found|permission denied|stat)"),
        ("executable", r"(?i)(?:sh|bash): (?:line )?\d*:? ?([\w./-]+): (?:command not found|not found|permission denied)"),
        ("node", r"(?i)\bnode/?\s?\"?((?:ip-[\w-]+|[\w-]*(?:node|worker|master)[\w-]*)(?:\.[\w.-]+)?)"),
        ("pod", rf"(?i)\bpods?/({_NAME})"),
        ("pod", r"(?i)\bin pod \"?([a-z0-9][\w.-]+?)(?:_[\w-]+\([\w-]+\))?[\"\s,]"),
        ("pod", r"(?i)^Name:\s+([a-z0-9][a-z0-9.-]+-[a-z0-9]{4,10}(?:-[a-z0-9]{5})?)$"),
        ("deployment", r"(?i)\bdeployment(?:\.apps)?(?:/| ?\\?\")([a-z0-9][\w.-]+)"),
        ("deployment", r"(?i)\bdeployment ((?=[\w.-]*-)[a-z0-9][\w.-]*\w)"),
        ("job", r"(?i)\bjob(?:\.batch)?/([\w.-]+)"),
        ("container", r"(?i)(?:failed |\b)container:? \"?([a-z0-9][\w-]+)\"?(?: in pod|,| failed)"),
        ("namespace", r"(?im)(?:^|[\s{,])\"?namespace\"?[:=]\s*\"?([a-z0-9][a-z0-9-]{0,62})\"?"),
        ("namespace", r"(?i)in the namespace \\?\"([\w-]+)"),
        ("application", r"(?m)^Name:\s+(?:[\w-]+/)?([\w-]+)$"),
    )
)  # fmt: skip
# `main.ts(3`, `App.java:[12`, `x.py", line 3` and `main.tf line 3` all become path:line.
_LINE_SIGN = re.compile(r"(?:\(|:\[|\", line | line )(?=\d+\Z)")
_MOST_VALUES = 8
_MOST_LINES = 400
_LONGEST_LINE = 2000


def find_entities(lines: Iterable[str], only: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """Distinct values by entity, at most 8 each, from at most 400 lines of 2,000 characters; all or `only` some."""
    wanted = [(name, expression) for name, expression in _EXPRESSIONS if not only or name in only]
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines):
        if number >= _MOST_LINES:
            break
        for name, expression in wanted:
            for match in expression.finditer(line[:_LONGEST_LINE]):
                value = next((group for group in match.groups() if group), "").strip().rstrip(".,;:")
                value = _LINE_SIGN.sub(":", value) if name == "file" else value
                values = found.setdefault(name, [])
                if value and value not in values and len(values) < _MOST_VALUES:
                    values.append(value)
    return {name: tuple(values) for name, values in found.items() if values}


def merged(*found: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Entities of several sources as one, the first source's values first."""
    names = dict.fromkeys(name for one in found for name in one)
    return {
        name: tuple(dict.fromkeys(value for one in found for value in one.get(name, ())))[:_MOST_VALUES]
        for name in names
    }
