"""Runs the program that a kubeconfig names for its credentials."""

import asyncio
import contextlib
import json
import os
import signal
from typing import Any

from remediation.ports import Json


class CredentialProgram:
    """Stands in for the client library's `ExecProvider`, which leaves a program behind that is not waited for any more.

    `exec_config` is the library's node of the user's `exec`. Whatever `run` raises is logged by the library.
    """

    def __init__(self, exec_config: Any) -> None:
        self._given: Json = exec_config.value

    async def run(self) -> Json:
        """The `status` of the ExecCredential that the program prints."""
        given = self._given
        asked = {"apiVersion": given["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
        own = {one["name"]: one["value"] for one in given.get("env") or ()}
        process = await asyncio.create_subprocess_exec(
            given["command"],
            *(given.get("args") or ()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **own, "KUBERNETES_EXEC_INFO": json.dumps(asked)},
            start_new_session=True,
        )
        try:
            said, complaint = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if process.returncode:
            raise ValueError(f"exec: process returned {process.returncode}. {complaint.decode(errors='replace')}")
        answer: Json = json.loads(said)
        if answer["apiVersion"] != given["apiVersion"]:
            raise ValueError(f"exec: it answered as {answer['apiVersion']}, and {given['apiVersion']} was asked for")
        status: Json = answer["status"]
        return status
