# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""Secrets beside a telling name: environment, YAML, TOML, INI, properties, JSON in JSON, XML, form data, source code."""

import re
from collections.abc import Iterator

from knowledge.redaction.judging import PLACEHOLDER, VALUE, is_mask, is_secret, looks_random
from knowledge.redaction.names import TELLING, is_innocent, is_telling, kind_of, name_at, name_before
from knowledge.redaction.spans import Span, closing, to_space

_QUOTE = re.compile(rb"""(\\{0,8})(["'`])""")
_BARE = re.compile(rb"""[^\s"'`,;&<>(){}\[\]|\\]{1,4096}""")
_LINE_START = re.compile(
    rb"""[ \t+<>-]*(?:-[ \t]+|export[ \t]+|declare[ \t]+-[a-z]+[ \t]+|set[ \t]+|ENV[ \t]+)?["']?\Z"""
)


# Source code in a trace: a call, an index, a type, an attribute before a comma.
_CODE = re.compile(
    rb"""[A-Za-z_][A-Za-z_.]{0,80}[(\[][^\n]{0,200}[)\]]|[a-z_]\w{0,40}(?:\.[a-z_]\w{0,40}){1,6}[,)}]\s*(?:\n|\Z)"""
)


def assigned(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`NAME=value`, `name: value`, `"name": "value"`, `name => value`, `x["name"] = value`."""
    sign, name_end, position = _separator(data, end)
    name = name_at(data, name_end)
    if sign and is_telling(name) and not is_innocent(data, name_end, name):
        yield from _value_at(data, position, name, sign, name_end)


def _separator(data: bytes, end: int) -> tuple[bytes, int, int]:
    """The sign around `end`, where the name before it ends, and where the value begins; no sign for a second look."""
    sign = data[end - 1 : end]
    if sign == b"=" and data[end - 2 : end - 1] == b":":
        return b"", end, end  # found already, at its colon
    begin = end - 1
    if data[end : end + 1] == (b"=" if sign == b":" else b">"):
        sign += data[end : end + 1]
        end += 1
    window = data[max(0, begin - 24) : begin]
    name_end = begin - len(window) + len(window.rstrip(b" \t\r\n\"'\\]"))
    position = end
    while position < len(data) and position - end < 40 and data[position] in b" \t":
        position += 1
    return sign, name_end, position


def _value_at(data: bytes, position: int, name: bytes, sign: bytes, name_end: int) -> Iterator[Span]:
    kind = kind_of(name)
    if quote := _QUOTE.match(data, position):
        begin = quote.end()
        stop = closing(data, begin, quote.group())
        if stop > begin and is_secret(data[begin:stop], kind, quoted=True, assigned=True):
            yield begin, stop, kind
        return
    if PLACEHOLDER.match(data, position):
        return
    line_start = _begins_line(data, name_end - len(name))
    wide = line_start and ((sign == b"=" and name == name.upper()) or sign == b":")
    stop = to_space(data, position) if wide else _bare(data, position)
    value = data[position:stop]
    if value.lower() in {b"bearer", b"basic", b"token"}:
        return
    assigned_ = sign in {b"=", b":="} or (line_start and _stands_alone(data, stop))
    if not wide:
        value = value.rstrip(b".:!?") if sign != b"=" else value
    if _CODE.match(data, position) and not (sign == b"=" and name == name.upper()):
        return
    if name.lower() == b"pass" and value.isdigit():
        return  # a count of tests
    if is_secret(value, kind, quoted=False, assigned=assigned_):
        yield position, position + len(value), kind


def _bare(data: bytes, position: int) -> int:
    match = _BARE.match(data, position, position + VALUE)
    return match.end() if match else position


def _begins_line(data: bytes, start: int) -> bool:
    """Whether the name that begins at `start` is the first thing on its line."""
    if start and data[start - 1] in b"\"'":
        start -= 1
    line = data.rfind(b"\n", max(0, start - 200), start) + 1
    if not line and start > 200:
        return False
    return _LINE_START.match(data, line, start) is not None


def _stands_alone(data: bytes, stop: int) -> bool:
    rest = data[stop : stop + 2]
    return rest[:1] in {b"", b"\n", b"\r", b"#", b'"', b"'"} or rest in {b" ", b" #", b" \n"}


def named_value(data: bytes, start: int, end: int) -> Iterator[Span]:
    """`name: DB_PASSWORD, value: …` of a container's environment, an XML property, a Terraform variable."""
    window = data[max(0, start - 100) : start]
    name_end = start - len(window) + len(window.rstrip(b"\"'\\, \t\r\n/>-"))
    name = name_before(data, name_end)
    if name_end < start and is_telling(name) and not is_innocent(data, name_end, name):
        sign, _, position = _separator(data, end)
        yield from _value_at(data, position, name, sign, start)


def listed_value(data: bytes, start: int, end: int) -> Iterator[Span]:
    """`define('DB_PASSWORD', 'value')`: only what no word is, as a list of names looks the same."""
    name_end = start + len(data[start:end].rstrip(b"\"', "))
    name = name_at(data, name_end)
    stop = closing(data, end, data[end - 1 : end])
    value = data[end:stop]
    if is_innocent(data, name_end, name) or not re.search(rb"\d", value) or b" " in value:
        return
    if is_secret(value, kind_of(name), quoted=True, assigned=True):
        yield end, stop, kind_of(name)


def form_value(data: bytes, start: int, end: int) -> Iterator[Span]:
    """A part of a multipart form: the value stands two line ends below its name."""
    named = re.compile(rb"[^A-Za-z]{1,6}([\w.-]+)").match(data, start + 4)
    kind = kind_of(named.group(1)) if named else "credential"
    value = re.split(rb"\\[rn]", data[end - 1 : to_space(data, end - 1)])[0]
    if is_secret(value, kind, quoted=False, assigned=True) and not value.startswith(b"--"):
        yield end - 1, end - 1 + len(value), kind


def element(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`<password>value</password>`, `<property name="password">value</property>`."""
    begin = end - 1
    stop = data.find(b"<", begin, begin + VALUE)
    if stop > begin and b"\n" not in data[begin:stop]:
        kind = kind_of(data[max(0, begin - 20) : begin].rstrip(b">\"'\\"))
        if is_secret(data[begin:stop], kind, quoted=True, assigned=True):
            yield begin, stop, kind


# Vendors whose keys have no form of their own, so that only the name beside them tells.
_VENDORS = (
    r"(?:adafruit|adobe|adyen|airtable|algolia|alibaba|aliyun|amplitude|asana|atlassian|confluence|jira|beamer|bitbucket"
    r"|bittrex|bugsnag|cloudflare|codecov|cohere|coinbase|confluent|contentful|coveralls|datadog|digitalocean|discord"
    r"|docker_?hub|droneci|dropbox|elastic_?cloud|etsy|facebook|fastly|finicity|finnhub|firebase|flickr|freshbooks|gitter"
    r"|heroku|honeycomb|hubspot|intercom|jfrog|artifactory|bintray|kraken|kucoin|launch_?darkly|linked[_-]?in|loggly"
    r"|logz|mailchimp|mailgun|mailjet|mapbox|mattermost|maxmind|meraki|message[_-]?bird|mixpanel|netlify|new[_-]?relic"
    r"|nytimes|okta|opsgenie|pagerduty|paypal|plaid|posthog|private[_-]?ai|quay|rapid_?api|rollbar|segment|sendbird"
    r"|sendgrid|sentry|snyk|sonar|sourcegraph|splunk|squarespace|statuspage|stripe|sumo_?logic|telegram|travis|twilio"
    r"|twitch|twitter|typeform|vonage|yandex|zendesk|contribsys__com)"
)
_INNOCENT_VENDOR_TAIL = re.compile(
    rb"(?i)(?:release|commit|sha|rev|revision|version|build|trace|span|request|ray|run|job|event|error|issue|digest"
    rb"|checksum|hash|tag|image|url|uri|host|hostname|path|channel|dashboard|project|org|user|username|name|email|status"
    rb"|file|dir|cache|etag|site|region|zone|bucket|index|uid|dsn|query|package)s?\Z|(?<!access)(?<!key)(?<!client)[_. -]id\Z"
)


_BESIDE_VENDOR = re.compile(
    rb"""([a-z0-9_. -]{0,40})["'\\]{0,4}\s{0,3}(?::=|=>|[:=])["'\\\s]{0,5}([A-Za-z0-9_+/][A-Za-z0-9_=+/.:%|-]{13,400})""",
    re.IGNORECASE,
)
_BLAND = re.compile(rb"[0-9a-f:]{16,20}\Z|[\w+/=-]{24,}\Z")


def vendor_value(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`FASTLY_API=…`: a random value of 14 characters or more beside a vendor's name."""
    match = _BESIDE_VENDOR.match(data, end)
    if match is None or _INNOCENT_VENDOR_TAIL.search(match.group(1).rstrip()) or is_mask(match.group(2)):
        return
    value = match.group(2).rstrip(b".:")
    mixed = re.search(rb"\d", value) and re.search(rb"[A-Za-z]", value)
    if mixed and (looks_random(value) or _BLAND.match(value)):
        yield match.start(2), match.start(2) + len(value), "api_key"


_GAP = r"""["'\\]{0,6}\]?[ \t]{0,4}[:=]"""
# Found by their end alone, which is cheaper; these rules are given 0 for the start.
END_RULES = {
    rf"(?i)(?:passw(?:or)?d|passphrase|passcode|pwd|pass|masterauth|[_-]pat){_GAP}": assigned,
    rf"(?i)(?:secrets?|token|credentials?|pepper|salt|key|base|key[_-]data|sonar\.login){_GAP}": assigned,
    rf"(?i){_VENDORS}": vendor_value,
}
RULES = {
    r"""(?i)\bvalue["'\\]{0,6}\s{0,4}[:=]""": named_value,
    rf"""(?i)(?:{TELLING})["'],[ ]{{0,4}}["']""": listed_value,
    rf"""(?i)name=\\{{0,4}}["'](?:[a-z0-9_.-]{{0,40}})(?:{TELLING})\\{{0,4}}["']["'\\rn\r\n]{{2,10}}[^\s"'\\]""": form_value,
    rf"""(?i)(?:{TELLING})\\{{0,2}}["']?>[^\s<]""": element,
}
