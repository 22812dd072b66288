"""The sample data beside the project: read in place, never copied; tests that need it skip without it."""

import json
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared_lines(name: str) -> list[dict[str, Any]]:
    """The JSON lines of one sample file; skips the test when the folder is not there."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"sample data {name} is not beside the project")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# CLI.md, "Labels in the sample data"
BUILD = {
    "buildfailure",
    "buildcacheerror",
    "test_failure",
    "dependency_resolution",
    "compile_lint",
    "githubaction_transient",
}
CATEGORIES: dict[str, set[str]] = {
    "ci_failure": BUILD,
    "image_pull": {"imagepullbackoff"},
    "oom_killed": {"oomkilled"},
    "service_config": {"config_error"},
    "rbac_permission": {"rbac_denied"},
    "quota": {"quota_exceeded"},
    "node_pressure": {"disk_pressure"},
    "storage_pvc": {"storage_volume"},
    "network_dns": {"network"},
    "network_policy": {"network"},
    "dependency_failure": {"upstream_unavailable"},
    "performance_latency": {"performance"},
    "cpu_throttling": {"performance"},
    "db_cpu": {"performance"},
    "db_connections": {"performance"},
    "crashloop_app_error": {"crashloop"},
    "app_errors_multi": {"crashloop"},
    "rollout_stuck": {"probe_failure", "argocd_degraded", "crashloop"},
    "db_replication": {"upstream_unavailable", "storage_volume"},
    "db_storage": {"storage_volume", "disk_pressure"},
    "ingress_config": {"config_error", "network"},
    "cert_expired": {"network", "credentials"},
    "rate_limit": {"upstream_unavailable", "performance", "quota_exceeded"},
    "hpa": {"config_error", "performance"},
    "node_not_ready": {"scheduling", "disk_pressure"},
    "no_issue": {"healthy"},
}


def kinds_of(category: str) -> set[str]:
    return CATEGORIES.get(category, {category})
