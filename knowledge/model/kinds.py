"""The closed set of failure kinds. Identifiers are stored; display names are free to change."""

from enum import StrEnum


class FailureKind(StrEnum):
    IMAGEPULLBACKOFF = "imagepullbackoff"
    OOMKILLED = "oomkilled"
    CRASHLOOP = "crashloop"
    PROBE_FAILURE = "probe_failure"
    SCHEDULING = "scheduling"
    CONFIG_ERROR = "config_error"
    CREDENTIALS = "credentials"
    RBAC_DENIED = "rbac_denied"
    QUOTA_EXCEEDED = "quota_exceeded"
    DISK_PRESSURE = "disk_pressure"
    STORAGE_VOLUME = "storage_volume"
    NETWORK = "network"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    PERFORMANCE = "performance"
    ARGOCD_SYNC = "argocd_sync"
    ARGOCD_DEGRADED = "argocd_degraded"
    DB_MIGRATION = "db_migration"
    BUILDFAILURE = "buildfailure"
    BUILDCACHEERROR = "buildcacheerror"
    TEST_FAILURE = "test_failure"
    DEPENDENCY_RESOLUTION = "dependency_resolution"
    COMPILE_LINT = "compile_lint"
    GITHUBACTION_TRANSIENT = "githubaction_transient"
    HEALTHY = "healthy"
    UNKNOWN = "unknown"


KIND_NAMES: dict[FailureKind, str] = {
    FailureKind.IMAGEPULLBACKOFF: "Image cannot be pulled",
    FailureKind.OOMKILLED: "Out of memory",
    FailureKind.CRASHLOOP: "Crash loop",
    FailureKind.PROBE_FAILURE: "Failing probe",
    FailureKind.SCHEDULING: "Pod cannot be scheduled",
    FailureKind.CONFIG_ERROR: "Configuration error",
    FailureKind.CREDENTIALS: "Credentials refused",
    FailureKind.RBAC_DENIED: "Permission denied (RBAC)",
    FailureKind.QUOTA_EXCEEDED: "Quota exceeded",
    FailureKind.DISK_PRESSURE: "Disk pressure",
    FailureKind.STORAGE_VOLUME: "Volume problem",
    FailureKind.NETWORK: "Network (DNS, TLS, policy)",
    FailureKind.UPSTREAM_UNAVAILABLE: "Dependency unavailable",
    FailureKind.PERFORMANCE: "Overload or latency",
    FailureKind.ARGOCD_SYNC: "Argo CD sync failed",
    FailureKind.ARGOCD_DEGRADED: "Argo CD application degraded",
    FailureKind.DB_MIGRATION: "Database migration failed",
    FailureKind.BUILDFAILURE: "Build failed",
    FailureKind.BUILDCACHEERROR: "Build cache error",
    FailureKind.TEST_FAILURE: "Tests failed",
    FailureKind.DEPENDENCY_RESOLUTION: "Dependencies cannot be resolved",
    FailureKind.COMPILE_LINT: "Compiler or linter error",
    FailureKind.GITHUBACTION_TRANSIENT: "Transient CI failure",
    FailureKind.HEALTHY: "Nothing is wrong",
    FailureKind.UNKNOWN: "Cause not known",
}

BUILD_KINDS: frozenset[FailureKind] = frozenset(
    {
        FailureKind.BUILDFAILURE,
        FailureKind.BUILDCACHEERROR,
        FailureKind.TEST_FAILURE,
        FailureKind.DEPENDENCY_RESOLUTION,
        FailureKind.COMPILE_LINT,
        FailureKind.GITHUBACTION_TRANSIENT,
    }
)
