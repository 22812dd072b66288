"""Amazon's services on this machine: moto's server, from packages of its own (`make install-dev` puts them there).

They stand apart because moto needs botocore, which needs an older python-dateutil than kubernetes' client does.
"""

import os
import re
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from remediation.aws import AwsClient
from remediation.aws.sqs import SqsQueue
from tests.programs import MISSING

PACKAGES = Path(sys.prefix) / "moto"
# Not secret: moto takes any.
ACCESS = {"AWS_ACCESS_KEY_ID": "AKIA" + "TEST" * 4, "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-west-1"}


@contextmanager
def moto_server() -> Iterator[dict[str, str]]:
    """The AWS_* that lead to a server of its own."""
    if not PACKAGES.is_dir():
        pytest.skip(f"{MISSING}moto")
    command = [sys.executable, "-S", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    env = {**os.environ, "PYTHONPATH": str(PACKAGES), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            found = next(match for line in server.stderr if (match := re.search(r"Running on (http://[^\s]+)", line)))
            # It writes a line for each request, and would wait for somebody to read it.
            threading.Thread(target=deque, args=(server.stderr, 0), daemon=True).start()
            yield {**ACCESS, "AWS_ENDPOINT_URL": found[1]}
        finally:
            server.terminate()


async def new_queue(http: httpx.AsyncClient, env: Mapping[str, str], *, fifo: bool = False) -> SqsQueue:
    """An empty queue of the test's own."""
    aws = AwsClient.from_environment(http, env)
    name = f"test-{uuid.uuid4().hex}" + (".fifo" if fifo else "")
    attributes = {"FifoQueue": "true"} if fifo else {}
    made = await aws.call("sqs", "CreateQueue", {"QueueName": name, "Attributes": attributes})
    return SqsQueue(aws, str(made["QueueUrl"]))
