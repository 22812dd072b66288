# ruff: noqa: E501  samples of tools' output keep their lines
import json
import random
import string
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.redaction import clean, engine, redact, redact_stream, redact_value
from tests.knowledge.secret_lines import clean_lines, left_over, secret_lines
from tests.knowledge.shared_data import shared_lines


def random_text(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(random.Random(length).choices(alphabet, k=length))


SECRET = random_text(24)
HEX = random_text(32, "0123456789abcdef")

# The secret stands where {S} is; made in memory, so that no scanner finds a token in this file.
HIDDEN = {
    "url": "clone https://ci:{S}@git.example/x.git",
    "database url": "DATABASE_URL=postgres://app:{S}@db:5432/app",
    "password with at sign": "redis://:p@{S}@cache:6379/0",
    "libpq": "host=db user=app password={S} sslmode=require",
    "go dsn": "dsn: app:{S}@tcp(10.0.0.1:3306)/app",
    "ado": "Server=db;User Id=sa;Password={S};Encrypt=true",
    "header": "> Authorization: Bearer {S}",
    "api key header": "curl -H 'X-Api-Key: {S}' https://api.example",
    "cookie": "Cookie: theme=dark; session={S}",
    "environment": "export PAYMENT_API_KEY={S}",
    "environment with odd characters": "DB_PASSWORD={S},&;x",
    "describe": "      SMTP_PASSWORD:  {S}",
    "flag": "tool --token {S} --verbose",
    "flag with sign": "tool --client-secret={S}",
    "docker login": "docker login -u ci -p {S} registry.example",
    "mysql": "mysql -uroot -p{S} shop",
    "curl": "curl -u admin:{S} https://x.example",
    "yaml": "  clientSecret: '{S}'",
    "json": '{{"user": "a", "password": "{S}"}}',
    "json in json": '{{"body": "{{\\"api_key\\": \\"{S}\\"}}"}}',
    "xml": "<password>{S}</password>",
    "container environment": '{{"name": "DB_PASSWORD", "value": "{S}"}}',
    "container environment in yaml": "- name: DB_PASSWORD\n  value: {S}",
    "sql": "CREATE USER app IDENTIFIED BY '{S}'",
    "netrc": "machine git.example login ci password {S}",
    "query": "GET /x?access_token={S}&page=2",
    "slack": "using " + "xox" + "b-123456789012-{S}",
    "nvidia": "key " + "nv" + "api-{S}{S}{S}",
    "code host": "remote: " + "gh" + "p_{S}abcdefghijkl",
    "signed url": "https://b.s3.example/o?X-Amz-Date=1&X-Amz-Signature={S}",
}  # fmt: skip


@pytest.mark.parametrize("line", HIDDEN.values(), ids=HIDDEN.keys())
def test_secret_is_gone_and_the_rest_stays(line: str) -> None:
    text = line.replace("{{", "{").replace("}}", "}").replace("{S}", SECRET)
    result = redact(text)
    assert not [SECRET[i : i + 6] for i in range(len(SECRET) - 5) if SECRET[i : i + 6] in result]
    assert "[redacted:" in result
    assert result.split("[redacted:")[0] == text[: len(result.split("[redacted:")[0])]
    assert redact(result) == result


@pytest.mark.parametrize(
    "line",
    [
        "DB_PASSWORD=${DB_PASSWORD}",
        "password: {{ .Values.db.password }}",
        "token=$(cat /run/secrets/token)",
        "API_KEY=***",
        "MY_TOKEN: <set to the key 'token' in secret 'app'>",
        "TOKEN_FILE=/var/run/secrets/token",
        "password_file: /etc/app/password",
        "secretName: web-tls",
        "secret: db-credentials",
        "error: invalid token: signature mismatch",
        "password authentication failed for user",
        "max_tokens: 512",
        "nextPageToken: abcdef123456",
        "Authorization: basic ***",
        "uid: 063f9ce0-06ab-49d7-a184-a2d3910dd254",
        "image: web@sha256:" + HEX * 2,
        "HEAD is now at " + HEX[:32] + "01234567",
        "Can't locate revision identified by '" + HEX[:12] + "'",
        "docker run -p 8080:80 web",
        "http://proxy.example:3128/path?mail=a@b.example",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + HEX,
        "tests: pass: 41 fail: 0",
        "enable_password: true",
    ],
)
def test_look_alikes_stay(line: str) -> None:
    assert redact(line) == line


def test_secrets_of_every_documented_form_go() -> None:
    rows = secret_lines()
    kept = [
        template for _, template, secret in rows if left_over(template, secret, redact(template.replace("{S}", secret)))
    ]
    assert len(kept) <= 0.02 * len(rows), kept


def test_what_only_looks_like_a_secret_stays() -> None:
    rows = clean_lines()
    changed = [line for line in rows if redact(line) != line]
    assert len(changed) <= 0.01 * len(rows), changed


def test_lines_do_not_hide_or_change_each_other() -> None:
    lines = [template.replace("{S}", secret) for _, template, secret in secret_lines()]
    single = [text for text in lines + clean_lines() if "\n" not in text and "PRIVATE KEY" not in text]
    together = redact("\n".join(single)).split("\n")
    assert [a for a, b in zip(together, single, strict=True) if a != redact(b)] == []


def test_secret_manifest_in_a_log_with_time_stamps_loses_its_values() -> None:
    lines = ["apiVersion: v1", "kind: Secret", "data:", f"  user: {SECRET}", "metadata:", "  name: db"]
    for stamp in ("2026-03-01T10:00:04.0000000Z ", "deploy\tRun kubectl\t2026-03-01T10:00:04.0000000Z ", "+ "):
        result = redact("\n".join(stamp + line for line in ["diff of shop", *lines, "done"]))
        assert SECRET not in result
        assert f"{stamp}  name: db" in result


HOSTILE = [
    "password=", "api_key: ", 'password="', "http://a:b@", "://", "bearer aaaaaa1 ", "eyJhbGciOi", "eyJhbGciOi.eyJ",
    f"-----BEGIN {'PRIVATE'} KEY-----", "kind: Secret ", '{"kind":"Secret","data":{"a":"b"}}', '{"data":{"kind":"Secret",',
    " -p aaa", "value: ", "cookie: a=1234567;", "authorization: ", "[redacted:token]", "password=[redacted", "<password>",
    "login a password a ", "password '", "@tcp(", "\\", "{", "sentry=", "a", "0", "-", " ",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_line_is_not_looked_at_more_often_than_its_length_allows(
    piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def counted(rule: engine.Rule) -> engine.Rule:
        def count(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, str]]:
            nonlocal looks
            looks += 1
            return rule(data, start, end)

        return count

    expressions, rules, by_end = engine._table()
    monkeypatch.setattr(engine, "_table", lambda: (expressions, [counted(rule) for rule in rules], by_end))
    line = piece * (64_000 // len(piece))
    result = redact(f"before\n{line}\nafter")
    assert looks <= 300 + len(line) / 60
    assert result.startswith("before\n")
    assert result.endswith("\nafter")


def test_private_key_goes_and_lines_keep_their_numbers() -> None:
    body = "\n".join(random_text(64) for _ in range(4))
    text = f"before\n-----BEGIN RSA {'PRIVATE'} KEY-----\n{body}\n-----END RSA {'PRIVATE'} KEY-----\nafter"
    result = redact(text)
    assert body[:20] not in result
    assert result.split("\n")[0] == "before"
    assert result.split("\n")[-1] == "after"
    assert result.count("\n") == text.count("\n")


def test_key_without_an_end_goes_as_well() -> None:
    body = random_text(64)
    assert body not in redact(f"-----BEGIN {'PRIVATE'} KEY-----\n{body}\n{body}")


def test_secret_manifest_loses_values_and_keeps_names() -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  colour: green\n---\napiVersion: v1\ndata:\n  user: YWRtaW4=  # admin\n"
        f"  file: |\n    {SECRET}\n    second\nkind: Secret\nmetadata:\n  name: db\n"
    )
    result = redact(text)
    assert "colour: green" in result
    assert "YWRtaW4" not in result
    assert "# admin" not in result
    assert SECRET not in result
    assert "  name: db" in result
    assert redact(result) == result


def test_secret_in_json_list_loses_values_but_config_map_keeps_them() -> None:
    items = [
        {"kind": "ConfigMap", "data": {"colour": "green"}},
        {"data": {"user": "YWRtaW4="}, "kind": "Secret", "metadata": {"name": "db"}},
    ]
    result = redact(json.dumps({"kind": "List", "items": items}))
    assert "green" in result
    assert "YWRtaW4" not in result
    assert json.loads(result)["items"][1]["metadata"]["name"] == "db"


def test_nested_json_values_are_redacted_by_their_key() -> None:
    database = {"password": "swordfish", "port": 5432}
    value = {"user": "ann", "db": database, "urls": [f"amqp://u:{SECRET}@mq"], "token": None}
    result = redact_value(value)
    assert result["db"] == {"password": "[redacted:credential]", "port": 5432}
    assert SECRET not in json.dumps(result)
    assert result["user"] == "ann"
    assert result["token"] is None
    assert redact_value(result) == result


def test_stream_is_the_same_as_the_whole() -> None:
    line = f"GET /a 200 password={SECRET} https://u:{SECRET}@h/\n"
    key = (
        f"-----BEGIN {'PRIVATE'} KEY-----\n"
        + "".join(random_text(64) + "\n" for _ in range(3))
        + f"-----END {'PRIVATE'} KEY-----\n"
    )
    manifest = f"---\napiVersion: v1\ndata:\n  a: {SECRET}\nkind: Secret\n---\n"
    text = ("x" * 70 + "\n") * 3600 + key + line * 3000 + manifest + line * 4000 + manifest
    assert "".join(redact_stream(text.splitlines(keepends=True))) == redact(text)


def test_threads_share_the_rules() -> None:
    results: list[str] = []

    def work() -> None:
        results.extend(redact(f"password={SECRET}{n}") for n in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["password=[redacted:credential]"] * 200


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from([*HIDDEN.values(), '"', "\\", "\n", "kind: Secret\n", "data:\n"])).map("".join)
)
def test_any_text_is_survived_idempotent_and_keeps_its_lines(text: str) -> None:
    result = redact(text)
    assert redact(result) == result
    assert result.count("\n") == text.count("\n")


def test_clean_leaves_what_a_terminal_shows() -> None:
    assert clean("\x1b[31mError\x1b[0m: no\x00 way") == "Error: no way"
    assert clean("10%\r50%\r100%\r\ndone\r\n") == "100%\ndone\n"
    assert clean("a\u202eb\u200bc\ufeff") == "abc"
    assert clean("\x1b]0;title\x07x\x9b1my") == "xy"
    assert clean("tab\tstays é ✓") == "tab\tstays é ✓"


def test_clean_says_what_it_left_out() -> None:
    result = clean("a" * 5000 + "b" * 5000, max_chars=1000)
    assert "[9000 characters left out]" in result
    assert len(result) < 1100


@pytest.mark.shared
def test_sample_vectors_meet_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    leaks = changed = 0
    rows = shared_lines("redaction/vectors.jsonl")
    for row in rows:
        secret = "".join(row.get("secret_parts") or [])
        line = row["line_template"].replace("{S}", secret)
        result = redact(line)
        if row["label"] == "clean":
            changed += result != line
        else:
            # A piece that the line around the secret holds as well proves nothing.
            pieces = {secret[i : i + 6] for i in range(max(1, len(secret) - 5))}
            leak = any(piece in result and piece not in row["line_template"] for piece in pieces)
            leaks += leak or any(kept not in result for kept in row.get("must_keep") or [])
    secrets = sum(row["label"] == "secret" for row in rows)
    with capsys.disabled():
        sys.stdout.write(
            f"\nredaction: recall {1 - leaks / secrets:.3f}, clean untouched {1 - changed / (len(rows) - secrets):.3f}\n"
        )
    assert leaks / secrets <= 0.02
    assert changed / (len(rows) - secrets) <= 0.03
