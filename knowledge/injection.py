# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""Marks of text that tries to steer its reader. They flag an incident; they never change its kind."""

import re
import unicodedata
from functools import cache

from knowledge.scanning import Scanner

# Letters of other alphabets that pass for Latin ones.
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕһԁɡԛԝАВЕКМНОРСТХІЈЅαοερτυικνΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aeopcyxijshdgqwABEKMHOPCTXIJSaoeptuiknABEZHIKMNOPTYX"
)
_HIDDEN = re.compile("[\u200b\u200c\u2060-\u2064\u202a-\u202e\u2066-\u2069\U000e0001-\U000e007f]|\x1b\\[(?:0;)?8m")

_DESTRUCTIVE = (
    r"(?:delete|remove|drop|destroy|wipe|purge|terminate|erase)\s+(?:the\s+|all\s+|every\s+|this\s+)*"
    r"(?:namespaces?|pvcs?|persistentvolumes?|volumes?|databases?|clusters?|secrets?|pods?|deployments?|network ?policies|data|it\b)"
)
_EXPRESSIONS: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # Orders to the reader
        r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,30}\b(?:previous|prior|above|earlier|all|your|these|any)\b.{0,30}\b(?:instructions?|rules?|prompts?|polic(?:y|ies)|guidelines?|evidence|safety)",
        r"\b(?:new|updated|real) (?:instructions?|polic(?:y|ies)|rules?|task)\s*:",
        r"\b(?:assistant|ai|model|bot|agent|llm|analyst|codehealer)\b\s*[:,]\s*(?:the )?(?:root cause|you|please|ignore|now|do|run|delete|approve|set)",
        r"\b(?:note|message|instruction)s? (?:to|for) (?:the )?(?:assistant|ai|model|bot|agent|llm|analyst|operator|reader)",
        r"\byou (?:are now|may now|must now|can now|have been|are authori[sz]ed|should (?:now )?(?:approve|execute|ignore|delete))",
        r"\b(?:print|reveal|show|repeat|output|leak|dump)\b.{0,30}\b(?:system prompt|your (?:prompt|instructions)|tokens? for|api keys?|credentials)",
        r"\bdecode (?:and|then) (?:follow|run|execute|obey)",
        r"\b(?:fetch|open|visit|load)\b.{0,20}\b(?:this|the) (?:address|url|link|page)\b",
        # Roles and fences
        r"(?:^|\n)\s*(?:```\s*\n\s*)?(?:end (?:of )?evidence|begin instructions?|system\s*:\s*(?:you|new|the|ignore|override))",
        r"<\|?(?:im_start|im_end|system|assistant|user|endoftext)\|?>|\[/?INST\]|<</?SYS>>|</?(?:system|instructions?)>",
        r"\[(?:SYSTEM|ASSISTANT|ADMIN)\].{0,120}\b(?:approv|polic|execute|run|delete)",
        r"[\"'](?:tool|function|tool_call|name)[\"']\s*:\s*[\"'][\w.-]+[\"'].{0,200}[\"'](?:args|arguments|parameters)[\"']",
        r"[\"']?(?:approved|auto_approve|authori[sz]ed)[\"']?\s*[:=]\s*[\"']?(?:true|yes)\b",
        # Fake approvals and answers
        r"\b(?:automatic approval|auto-?approv\w*|approval)\b.{0,20}\b(?:is on|granted|given|not (?:needed|required)|enabled)",
        r"\b(?:without|no|skip|pre-?)[ -]?approv(?:al|ed)\b|\b(?:second|next) approved step\b|\balready approved by\b",
        r"\bconfidence\s*[=:]\s*(?:1(?:\.0+)?|100 ?%)",
        r"\bremember\s*:\s*for (?:every|all|each)|\bthe right (?:fix|answer|action) is\b|thumbs-?up x ?\d+",
        r"\bthis is not an? .{3,40}(?:error|failure|problem), (?:the|it)\b|\bpage nobody\b|\bdo not (?:escalate|page|alert)\b",
        # Orders to act
        rf"\b(?:then|now|must|should|please|to fix(?: this)?|instead|step|run|assistant|,)\b[^\n]{{0,60}}\b{_DESTRUCTIVE}(?!.{{0,60}}--dry-run)",
        rf"\b{_DESTRUCTIVE}\b[^\n]{{0,30}}\b(?:now|immediately|in the cluster|to (?:fix|continue|recover))\b",
        rf"(?:^|\n)\s*(?:step \d+\s*:\s*)?{_DESTRUCTIVE}\s*(?:in|from|of|\.|$)",
        r"\b(?:is|are) unhealthy, (?:delete|remove|restart|scale)\b",
        r"kubectl delete (?:ns|namespaces?)\b(?!.{0,60}--dry-run)",
        r"\bapply (?:the|this) (?:fix|change|action)s? (?:there|here) (?:as well|too|also)|\bsame fault exists in namespace\b",
        r"\binclude (?:their|the) (?:log lines|logs|names|data|secrets)\b|\bincident of (?:team|another)\b.{0,80}\binclude\b",
        r"\bset (?:the )?image to \S+.{0,40}\b(?:continue|fix|recover)",
        # Code where none belongs
        r"\$\(\s*(?:curl|wget|sh|bash|nc)\b|\|\s*(?:sh|bash)\b[\"')]|;\s*kubectl\s+(?:delete|apply|exec)\b",
        r"\$\{jndi:|\{\{\s*[\w.]*__\w+__|\{%\s*(?:raw|include|import)\b|\.__globals__",
        r"\]\(\s*https?://[^)\s]*\?[^)]*(?:base64|secret|token|log)",
    )
)
# Of a longer text the beginning and the end are searched.
_LONGEST, _TAIL = 400_000, 100_000


def injection_suspected(text: str) -> bool:
    """Whether `text` (as it came, before control characters are cleaned away) bears such a mark."""
    head = text if len(text) <= _LONGEST + _TAIL else f"{text[:_LONGEST]}\n{text[-_TAIL:]}"
    if _HIDDEN.search(head):
        return True
    plain = unicodedata.normalize("NFKC", head)
    if not plain.isascii():
        plain = plain.translate(_LOOKALIKES)
    may_match = {index for index, _, _ in _scanner().scan(plain.encode("ascii", "replace"))}
    return any(_EXPRESSIONS[index].search(plain) for index in sorted(may_match))


@cache
def _scanner() -> Scanner:
    """One pass says which expressions are worth a look; most texts need none."""
    return Scanner([f"(?i){one.pattern}" for one in _EXPRESSIONS], starts=False, prefilter=True)
