"""How fast the world goes: durations in seconds of world time, all multiplied by one scale so that tests are quick."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations in seconds at scale 1, chosen so that a person at the page sees each step happen and never waits long.

    A real kubelet backs off for 10 s, 20 s, 40 s … up to 5 minutes; here the same ladder is shorter.
    None of these heals anything: they only say how long a cause takes to show and a change takes to land.
    """

    scale: float = 1.0
    tick: float = 0.15
    schedule: float = 0.2
    start: float = 1.2
    ready: float = 0.8
    crash_after: float = 1.0
    backoff: tuple[float, ...] = (2.0, 4.0, 8.0, 15.0, 20.0)
    terminate: float = 0.6
    probe_event: float = 3.0
    progress_deadline: float = 45.0
    job_queue: float = 1.0
    job_run: float = 4.0
    sync: float = 2.0
    alert_for: float = 3.0
    alert_repeat: float = 30.0
    alert_resolve: float = 5.0
    scrape: float = 5.0

    def of(self, name: str) -> float:
        """The named duration in seconds of the process's clock."""
        value: float = getattr(self, name)
        return value * self.scale

    def backoff_after(self, restarts: int) -> float:
        """Seconds until the container is started again after its `restarts`-th end (1-based)."""
        return self.backoff[min(max(restarts, 1), len(self.backoff)) - 1] * self.scale


def rfc3339(at: float) -> str:
    """Unix seconds as Kubernetes and GitHub write them: UTC, whole seconds, Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(at: float) -> str:
    """Unix seconds with seven decimals, as the runner stamps each log line of GitHub Actions."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def parse_time(text: str) -> float:
    """The Unix seconds of an RFC 3339 stamp."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
