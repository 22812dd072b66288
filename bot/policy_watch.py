"""Reading the policy anew while the bot runs: when the file has changed, or at once on SIGHUP."""

import asyncio
import hashlib
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from handlers.services import Services
from knowledge.errors import SettingsError
from knowledge.store import audit
from remediation.policy import Policy, load_policy

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 5.0


@dataclass
class PolicyWatch:
    """The policy's file, as it was last read. `problem` says what is wrong with it; the last good one is in force.

    `on_hup` are told of a SIGHUP as well. `connect` makes anew what has its address in the policy, before that is in
    force; it raises SettingsError where it cannot.
    """

    path: Path | None
    problem: str = ""
    on_hup: list[Callable[[], None]] = field(default_factory=list)
    connect: Callable[[Policy], None] | None = None
    _digest: str = ""

    async def run(self, services: Services) -> None:
        """Look until cancelled."""
        hup = asyncio.Event()

        def on_hup() -> None:
            for tell in (hup.set, *self.on_hup):
                tell()

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hup)
        if self.path is None:
            return
        while True:
            await self.look(services)
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await hup.wait()
            except TimeoutError:
                continue
            hup.clear()

    async def look(self, services: Services) -> None:
        """Obey the file as it is now; where it has a mistake, keep what is in force and remember why.

        What is wrong may be outside the file, such as a token that it names, so while something is, it is read anew.
        """
        assert self.path is not None  # noqa: S101  looked at by run
        digest = await asyncio.to_thread(_digest_of, self.path)
        changed = digest != self._digest
        if not changed and not self.problem:
            return
        first, self._digest = not self._digest, digest
        try:
            policy = await asyncio.to_thread(load_policy, self.path)
            if self.connect and _places(policy) != _places(services.policy):
                self.connect(policy)
        except SettingsError as error:
            if changed or str(error) != self.problem:
                log.warning("policy_kept", problem=str(error)[:2000])
            self.problem = str(error)
            return
        self.problem = ""
        if first and policy == services.policy:
            return
        services.obey(policy)
        log.info("policy_read", file=str(self.path))
        try:
            async with services.engine.begin() as db:
                await audit.record(db, "policy.read", digest=digest, by=services.holder)
        except SQLAlchemyError as error:
            log.warning("policy_not_recorded", error=type(error).__name__)

    def lines(self) -> list[str]:
        """For people who ask for the status; nothing while all is well."""
        first = self.problem.splitlines()[0] if self.problem else ""
        return [f"policy: the last good one is in force; {first}"] if first else []


def _places(policy: Policy) -> tuple[object, object]:
    return policy.argocd_servers, policy.github_hosts


def _digest_of(path: Path) -> str:
    """The file's digest, or what stands for a file that cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"unreadable: {error.errno}"
