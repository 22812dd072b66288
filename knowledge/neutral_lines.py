"""Lines that a healthy system writes, to drown a failure in: made up here, the same for the same seed."""

import random
import re
import string

_WORDS = """
    orders cart invoice ledger parcel session catalog mailer report search profile gateway worker billing stock media
    audit notify import export
""".split()  # noqa: SIM905  a list of words
_LINES = """\
Get:{n} http://deb.debian.org/debian bookworm/main amd64 lib{w}{n} amd64 {a}.{b}.{c}-{n} [{m} kB]
Selecting previously unselected package lib{w}-dev.
Unpacking lib{w}{n}:amd64 ({a}.{b}.{c}-1) ...
Setting up {w}-utils ({a}.{b}.{c}) ...
Processing triggers for libc-bin (2.36-9+deb12u{n}) ...
{t} INFO  [{w}] request served path=/{w}/{m} status=200 ms={n}
{t} DEBUG {w}.pool connection {m} returned, idle={n}
{t} INFO scheduler: {w} tick took {n} ms, 0 errors
{t} WARN {w} slow response after {n} ms, retry 1 of 3 was not needed
pod/{w}-{h}-{s}   1/1   Running   0   {n}d
deployment.apps/{w} configured
service/{w} unchanged
configmap/{w}-settings created
  Normal  Pulled  {n}m  kubelet  Container image "registry.local/{w}:{a}.{b}.{c}" already present on machine
  Normal  Started  {n}m  kubelet  Started container {w}
  Normal  Scheduled  {n}m  default-scheduler  Successfully assigned {w}/{w}-{h}-{s} to node-{n}
##[group]Run actions/checkout@v{a}
##[endgroup]
Run actions/setup-node@v{a}
Cache restored from key: {w}-{h}
Downloading {w}-{a}.{b}.{c}.tgz ({m} kB)
added {m} packages, and audited {m} packages in {n}s
Compiling {w} v{a}.{b}.{c}
    Checking {w}-core v{a}.{b}.{c}
ok  \texample.org/{w}/pkg\t0.{n}s
PASS: TestHandles{n}
tests/{w}/test_{w}.py .......... [ {n}%]
 ---> Using cache
 ---> {h}
#{n} [{a}/{b}] COPY {w}/ ./{w}/
#{n} DONE {a}.{b}s
Step {a}/{n} : WORKDIR /srv/{w}
{t} INFO {w}: 0 failed, {m} passed
{t} INFO metrics exported to {w}, errors=0
{"level":"info","msg":"{w} refreshed","took_ms":{n}}
uploading {w}.tar.gz: {n}%
Already up to date with '{w}' at {h}.
""".rstrip().split("\n")
# Lines with a telling word that tell nothing; about one in sixteen.
_HARMLESS = """\
{t} INFO error handler for {w} registered
{t} INFO retry policy: up to {a} attempts with back-off
{t} INFO no failures since {n} days
Warnings are treated as notes in {w}
""".rstrip().split("\n")
_FIELD = re.compile(r"\{([a-z])\}")


def around(text: str, seed: str, lines: int = 120) -> str:
    """`text` somewhere among so many neutral lines."""
    source = random.Random(seed)  # noqa: S311  made-up logs
    before = source.randint(10, lines - 10)
    made = [_line(source) for _ in range(lines)]
    return "\n".join([*made[:before], text, *made[before:]])


def _line(source: random.Random) -> str:
    form = source.choice(_HARMLESS if source.random() < 0.06 else _LINES)
    values = {
        "n": str(source.randint(1, 99)),
        "m": str(source.randint(100, 9999)),
        "a": str(source.randint(1, 9)),
        "b": str(source.randint(0, 30)),
        "c": str(source.randint(0, 20)),
        "w": source.choice(_WORDS),
        "h": "".join(source.choices("0123456789abcdef", k=9)),
        "s": "".join(source.choices(string.ascii_lowercase, k=5)),
        "t": f"2026-11-{source.randint(1, 28):02d}T{source.randint(0, 23):02d}:{source.randint(0, 59):02d}:17Z",
    }
    return _FIELD.sub(lambda found: values[found[1]], form)
