"""diagnose, normalize, correlate and redact: the contract's shapes, and input that is none."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from handlers.sources import SOURCES
from knowledge.model import FailureKind
from tests.bot.conftest import Command
from tests.bot.edge import COMMAND_S, ROOT, codehealer

SHARED = ROOT.parent / "shared" / "data"
PAYLOADS = ROOT / "tests" / "payloads"
OOM = "Last State: Terminated\n  Reason: OOMKilled\n  Exit Code: 137\n"
ANSWER = {
    "id", "kind", "healthy", "confidence", "cause", "summary", "fixability", "quotes", "action", "candidates",
    "affected", "precedents", "answered_by", "ms",
}  # fmt: skip
ALERT = {
    "status", "actionable", "severity", "title", "namespace", "workload", "owner", "service", "environment",
    "fingerprint", "identity", "target", "repository", "branch", "commit", "run_id", "labels",
}  # fmt: skip


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no sample data at {path}")
    return path


def check_answer(answer: dict[str, Any]) -> None:
    """What CLI.md says of every answer, whatever it is about."""
    assert set(answer) == ANSWER
    assert answer["kind"] in list(FailureKind)
    assert answer["healthy"] is (answer["kind"] == "healthy")
    assert (answer["action"] is None) is answer["healthy"]
    if answer["kind"] == "unknown":
        assert answer["action"] == "escalate"
    assert 0 <= answer["confidence"] <= 1
    assert set(answer["affected"]) == {"kind", "namespace", "name"}
    assert all(candidate in list(FailureKind) for candidate in answer["candidates"])
    assert isinstance(answer["ms"], int)
    assert answer["precedents"] == []
    assert all(set(quote) == {"evidence", "line", "text"} for quote in answer["quotes"])


# --- diagnose -----------------------------------------------------------------------------------------------------


def test_a_log_gets_one_object(command: Command, tmp_path: Path) -> None:
    log = tmp_path / "pod.log"
    log.write_text(OOM)
    ended = command("diagnose", log, "--json")
    assert ended.status == 0
    assert ended.words == ""
    check_answer(ended.json)
    assert ended.json["kind"] == "oomkilled"
    assert {"evidence": 0, "line": 2, "text": "Reason: OOMKilled"} in ended.json["quotes"]


def test_people_get_a_card(command: Command, tmp_path: Path) -> None:
    log = tmp_path / "pod.log"
    log.write_text(OOM)
    ended = command("diagnose", log)
    assert ended.status == 0
    assert "sure)" in ended.out.splitlines()[0]
    assert "Reason: OOMKilled" in ended.out
    assert "answered by built-in" in ended.out
    assert "{" not in ended.out


def test_standard_input_is_read_with_and_without_a_dash() -> None:
    for arguments in ([], ["-"]):
        ended = codehealer("diagnose", *arguments, "--json", given=OOM.encode())
        assert ended.status == 0
        assert (ended.json["id"], ended.json["kind"]) == ("-", "oomkilled")


def test_the_prompt_is_shown_as_a_model_would_get_it(command: Command, tmp_path: Path) -> None:
    secret = "gh" + "p_" + "Zk3" * 12
    log = tmp_path / "pod.log"
    log.write_text(f"{OOM}login with {secret}\n")
    ended = command("diagnose", log, "--show-prompt")
    assert ended.status == 0
    assert "OOMKilled" in ended.out
    assert "k8s_restart_pod" in ended.out
    assert secret not in ended.out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (bytes(range(256)) * 400, "binary"),
        (b"\x7fELF" + b"\0" * 50_000, "binary"),
        (OOM.encode("utf-16"), "binary"),
    ],
    ids=["empty", "white space", "bytes", "ELF", "UTF-16"],
)
def test_what_is_no_log_is_unknown_and_said(command: Command, tmp_path: Path, content: bytes, said: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(content)
    ended = command("diagnose", log, "--json")
    assert ended.status == 0
    check_answer(ended.json)
    assert ended.json["kind"] == "unknown"
    assert said in ended.json["cause"]


def test_what_is_shown_is_what_was_read(command: Command, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"{OOM}main.go:100:5: undefined: x :id: :ok:\n")
    words = command("diagnose", log).out
    policy = tmp_path / "policy.yaml"
    policy.write_text("\n" * 99 + "mode: everything\n")
    assert f"{policy}:100: " in command("policy", "check", policy).out
    assert "\U0001f4af" not in words


def test_lines_of_any_length_are_read(command: Command, tmp_path: Path) -> None:
    log = tmp_path / "log"
    noise = "\n".join("request " + "x" * 10_000 for _ in range(200))
    log.write_text(f"{noise}\n{OOM}{noise}")
    answer = command("diagnose", log, "--json").json
    check_answer(answer)
    assert answer["kind"] == "oomkilled"
    assert 202 in [quote["line"] for quote in answer["quotes"]]


def test_a_log_of_100_mb_adds_less_than_100_mb_to_the_process(tmp_path: Path) -> None:
    log = tmp_path / "big.log"
    calm = "".join(
        f"2026-01-01T00:00:{i % 60:02d}Z INFO request {i} användare handled in {i % 900} ms\n" for i in range(9_000)
    )
    with log.open("w") as stream:
        written = 0
        while written < 50_000_000:
            written += stream.write(calm)
        stream.write("FATAL java.lang.OutOfMemoryError: Java heap space\nContainer api was OOMKilled, exit code 137\n")
        while written < 100_000_000:
            written += stream.write(calm)
    small = tmp_path / "small.log"
    small.write_text(calm + OOM)
    measured = (
        "import contextlib, resource, runpy, sys\n"
        "for path in sys.argv[1:]:\n"
        "    sys.argv = ['codehealer', 'diagnose', path, '--json']\n"
        "    with contextlib.suppress(SystemExit): runpy.run_module('bot', run_name='__main__')\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measured, small, log],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=True,
        cwd=ROOT,
    )
    assert json.loads(done.stdout.splitlines()[1])["kind"] == "oomkilled"
    before, after = (int(kib) * 1024 for kib in done.stderr.split())
    assert after - before < 100_000_000


def test_more_than_the_limit_is_left_out_and_said(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.cli.texts.MAX_LOG_BYTES", 1_000)
    log = tmp_path / "log"
    log.write_text("calm\n" * 1_000 + OOM)
    ended = command("diagnose", log, "--json")
    assert "only the first 1,000 bytes are read" in ended.words
    assert ended.json["kind"] != "oomkilled"


@pytest.mark.parametrize("name", ["missing", ".", "a\0b"])
@pytest.mark.parametrize("how", [["diagnose"], ["diagnose", "--jsonl"], ["redact"], ["correlate", "--jsonl"]])
def test_a_file_that_cannot_be_read_is_wrong_use(command: Command, how: list[str], name: str) -> None:
    ended = command(*how, name)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.words.startswith(f"codehealer: {name}: ")
    assert len(ended.words.splitlines()) == 1


LINES: list[tuple[bytes, dict[str, str]]] = [
    (b'{"id":"a","text":"Reason: OOMKilled"}', {"id": "a", "kind": "oomkilled"}),
    (b'{"id":"b"', {"id": "line:2", "error": "not JSON"}),
    (b"[1]", {"id": "line:3", "error": "not a JSON object"}),
    (b'{"id":"c"}', {"id": "c", "error": "text"}),
    (b'{"id":"d","text":5}', {"id": "d", "error": "text"}),
    (b'{"text":"Failed to pull image: ErrImagePull"}', {"id": "line:6", "kind": "imagepullbackoff"}),
    (b'{"id":"e","alert":[],"evidence":[]}', {"id": "e", "error": "alert"}),
    (b'{"id":"f","alert":{},"evidence":"x"}', {"id": "f", "error": "evidence"}),
    (b'{"id":"g","evidence":[{"kind":"logs"}]}', {"id": "g", "error": "evidence[0].text"}),
    (b'{"id":"h","evidence":[{"kind":1,"text":"x"}]}', {"id": "h", "error": "evidence[0].kind"}),
    (b'{"id":{"x":1},"text":""}', {"id": "line:11", "kind": "unknown"}),
    (b'{"id":"nul","text":"\\ud800"}', {"id": "line:12", "error": "not JSON"}),
    (b"\xff\xfe", {"id": "line:13", "error": "not JSON"}),
    (b'{"id":' * 20_000, {"id": "line:14", "error": "not JSON"}),
    (b'{"id":7,"text":"Reason: OOMKilled"}', {"id": "7", "kind": "oomkilled"}),
]


def test_unreadable_lines_are_named_and_the_rest_is_answered(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(line for line, _ in LINES) + b"\n\n")
    ended = command("diagnose", "--jsonl", path)
    assert ended.status == 2
    assert len(ended.lines) == len(LINES)
    for answer, (_, expected) in zip(ended.lines, LINES, strict=True):
        assert str(answer["id"]) == expected["id"]
        if "error" in expected:
            assert set(answer) == {"id", "error"}
            assert expected["error"] in answer["error"]
        else:
            check_answer(answer)
            assert answer["kind"] == expected["kind"]
    assert len(ended.words.splitlines()) == sum("error" in expected for _, expected in LINES)


def test_a_line_beyond_the_limit_is_passed_over(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.cli.texts.MAX_LINE_BYTES", 100)
    path = tmp_path / "cases.jsonl"
    path.write_text(json.dumps({"id": "a", "text": "x" * 1_000}) + "\n" + json.dumps({"id": "b", "text": OOM}) + "\n")
    ended = command("diagnose", "--jsonl", path)
    assert ended.status == 2
    assert ended.lines[0] == {"id": "line:1", "error": "line 1: longer than 100 bytes"}
    assert ended.lines[1]["kind"] == "oomkilled"


def test_nothing_in_nothing_out(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    ended = command("diagnose", "--jsonl", tmp_path / "empty")
    assert (ended.status, ended.out) == (0, "")


def test_a_log_beside_jsonl_is_wrong_use(command: Command, tmp_path: Path) -> None:
    ended = command("diagnose", "some.log", "--jsonl", "cases.jsonl")
    assert ended.status == 2
    assert "--jsonl stands alone" in ended.words


@pytest.mark.shared
@pytest.mark.parametrize("name", ["diagnosis/cases.jsonl", "failures-dev.jsonl"])
def test_every_sample_case_is_answered(command: Command, name: str) -> None:
    path = shared(name)
    ended = command("diagnose", "--jsonl", path)
    assert ended.status == 0
    assert ended.words == ""
    given = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert [answer["id"] for answer in ended.lines] == given
    for answer in ended.lines:
        check_answer(answer)


def test_precedents_come_from_the_database(
    command: Command, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    log = tmp_path / "log"
    log.write_text(OOM)
    ended = command("diagnose", log, "--precedents", "--json")
    assert ended.status == 0
    assert ended.json["precedents"] == []


# --- normalize ----------------------------------------------------------------------------------------------------


def test_a_body_becomes_alerts(command: Command) -> None:
    ended = command("normalize", "--json", "--source", "alertmanager", PAYLOADS / "alertmanager_crashloop.json")
    assert ended.status == 0
    assert ended.words == ""
    assert {name: ended.json[name] for name in ("accepted", "truncated")} == {"accepted": True, "truncated": 0}
    (alert,) = ended.json["alerts"]
    assert set(alert) == ALERT
    assert (alert["status"], alert["actionable"], alert["severity"]) == ("firing", True, "warning")
    assert alert["workload"] == "checkout-7d9f6c5b84-x2kqp"


def test_people_get_a_line_an_alert(command: Command) -> None:
    ended = command("normalize", "--source", "alertmanager", PAYLOADS / "alertmanager_crashloop.json")
    assert ended.status == 0
    assert ended.out == "firing  KubePodCrashLooping  store/checkout-7d9f6c5b84-x2kqp\n"


def test_headers_and_secret_are_checked(command: Command, tmp_path: Path) -> None:
    body = PAYLOADS / "github_workflow_run_failure.json"
    headers = tmp_path / "headers.json"
    headers.write_text('{"X-GitHub-Event": "workflow_run"}')
    asked = ["normalize", "--json", "--source", "github", "--headers", headers, body]
    assert command(*asked).json["accepted"] is True
    ended = command(*asked, "--secret", "s")
    assert ended.status == 2
    assert ended.json["accepted"] is False
    assert "X-Hub-Signature-256" in ended.json["error"]
    assert command(*asked, "--secret", "").status == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"\0", b'{"a":' * 6_000, b'{"alerts": 1}'])
def test_a_body_that_is_refused_says_so_twice(command: Command, tmp_path: Path, content: bytes) -> None:
    body = tmp_path / "body"
    body.write_bytes(content)
    ended = command("normalize", "--json", "--source", "alertmanager", body)
    assert ended.status == 2
    assert set(ended.json) == {"accepted", "error"}
    assert ended.json["accepted"] is False
    assert ended.words.strip() == f"Refused: {ended.json['error']}"


@pytest.mark.parametrize(
    "change", [{"source": "nagios"}, {"body": "missing"}, {"headers": "missing"}, {"headers": "."}]
)
def test_what_is_missing_is_refused_in_the_same_shape(command: Command, change: dict[str, str]) -> None:
    body = change.get("body", str(PAYLOADS / "alertmanager_crashloop.json"))
    headers = ["--headers", change["headers"]] if "headers" in change else []
    ended = command("normalize", "--json", "--source", change.get("source", "alertmanager"), *headers, body)
    assert ended.status == 2
    assert ended.json["accepted"] is False


@pytest.mark.shared
def test_every_sample_body_is_accepted_or_refused_as_expected(command: Command, tmp_path: Path) -> None:
    headers = tmp_path / "headers.json"
    wrong = []
    for line in shared("alerts/index.jsonl").read_text().splitlines():
        row = json.loads(line)
        sender = "alertmanager" if row["source"] == "hostile" else row["source"]
        source = sender if sender in SOURCES else "generic"
        headers.write_text(json.dumps(row["headers"]))
        asked = ["normalize", "--json", "--source", source, "--headers", headers, SHARED / "alerts" / row["file"]]
        ended = command(*asked)
        accepted = ended.json["accepted"]
        assert ended.status == (0 if accepted else 2)
        if row["expect"]["accept"] not in {accepted, "either"}:
            wrong.append(row["id"])
    assert wrong == []


# --- correlate ----------------------------------------------------------------------------------------------------


def post(name: str, at: float) -> bytes:
    return json.dumps({"seq": at, "at": at, "body": json.loads((PAYLOADS / name).read_bytes())}).encode()


def test_posts_become_incidents(command: Command, tmp_path: Path) -> None:
    stream = tmp_path / "stream.jsonl"
    stream.write_bytes(b"\n".join([post("alertmanager_crashloop.json", 0), post("alertmanager_crashloop.json", 60)]))
    ended = command("correlate", "--json", "--jsonl", stream)
    assert ended.status == 0
    assert ended.words == ""
    assert ended.json == {"incidents": 1, "fingerprints": {"5f1d0c6a7b2e9d34": 1}}
    assert command("correlate", "--jsonl", stream).out == "1 incidents of 1 alerts\n"


def test_unreadable_posts_are_named_and_the_rest_correlated(command: Command, tmp_path: Path) -> None:
    stream = tmp_path / "stream.jsonl"
    bad = [b"{", b"5", b'{"at": 1}', b'{"body": []}', b'{"source": "nagios", "body": {}}', b'{"body": {"alerts": 5}}',
           b'{"source": ["nagios"], "body": {}}']  # fmt: skip
    stream.write_bytes(b"\n".join([*bad, post("alertmanager_crashloop.json", 0)]))
    ended = command("correlate", "--json", "--jsonl", stream)
    assert ended.status == 2
    assert (ended.json["incidents"], list(ended.json["fingerprints"])) == (1, ["5f1d0c6a7b2e9d34"])
    assert [error["id"] for error in ended.json["errors"]] == [f"line:{number}" for number in range(1, 8)]
    assert len(ended.words.splitlines()) == 7


# --- redact -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_redact_prints_text_and_changes_nothing_but_secrets(tmp_path: Path, json_option: list[str]) -> None:
    secret = "gh" + "p_" + "Zk3" * 12
    text = f"one\r\n\ttwo {secret} three\n\nåäö 🚀 no newline at the end"
    ended = codehealer("redact", *json_option, given=text.encode())
    assert ended.status == 0
    assert ended.words == ""
    before, _, after = text.partition(secret)
    assert ended.out.startswith(before + "[redacted:")
    assert ended.out.endswith("]" + after)


def test_bytes_that_are_no_text_pass_redact_unchanged(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1_000
    given = tmp_path / "bytes"
    given.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "bot", "redact", given], capture_output=True, timeout=COMMAND_S, check=True, cwd=ROOT
    )
    assert done.stdout == content


# --- the terminal -------------------------------------------------------------------------------------------------


def big(tmp_path: Path) -> Path:
    path = tmp_path / "many.log"
    path.write_text("a calm line of a long log\n" * 2_000_000)
    return path


def test_a_reader_that_leaves_ends_the_writer_quietly(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "bot", "redact", big(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a calm line of a long log\n"
        process.stdout.close()
        words = process.stderr.read()
        assert process.wait(COMMAND_S) == 1
    assert words == b""


@pytest.mark.parametrize("how", [["redact"], ["diagnose", "--json"]])
def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path, how: list[str]) -> None:
    (tmp_path / "log").write_text(OOM)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bot", *how, tmp_path / "log"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=COMMAND_S, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "codehealer: No space left on device\n"


def test_ctrl_c_ends_a_command_at_once_and_quietly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(
        [sys.executable, "-m", "bot", "diagnose", "--jsonl", pipe],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
    ) as process:  # fmt: skip
        with pipe.open("wb", buffering=0) as writer:
            writer.write(b'{"id":"a","text":"calm"}\n')
            assert process.stdout is not None
            assert b'"id": "a"' in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(COMMAND_S) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
