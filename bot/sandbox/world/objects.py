"""Kubernetes objects as the sandbox makes them: pure functions from values to JSON."""

import hashlib
import json
import random
from typing import Any

from bot.sandbox.world.services import Service

Json = dict[str, Any]
SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # the letters of Kubernetes' own generated names
REVISION = "deployment.kubernetes.io/revision"
HASH_LABEL = "pod-template-hash"
PASSWORD_KEY = "password"  # noqa: S105  the name of a key


def template(service: Service, version: str, commit: str) -> Json:
    """The pod template of one version of a service."""
    container: Json = {
        "name": service.name,
        "image": service.image(version),
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": [{"name": "APP_ENV", "value": service.environment}, {"name": "APP_VERSION", "value": version}],
        "envFrom": [{"configMapRef": {"name": f"{service.name}-settings"}}],
        "resources": {
            "requests": {"cpu": "250m", "memory": f"{service.memory_limit // 2}Mi"},
            "limits": {"cpu": "1", "memory": f"{service.memory_limit}Mi"},
        },
        "readinessProbe": probe("/readyz", 5),
        "livenessProbe": probe("/healthz", 10),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [{"name": "scratch", "mountPath": "/var/lib/app"}],
    }
    if service.database:
        reference = {"secretKeyRef": {"name": service.secret, "key": PASSWORD_KEY}}
        container["env"].append({"name": "DATABASE_PASSWORD", "valueFrom": reference})
    labels = {"app": service.name, "app.kubernetes.io/name": service.name, "app.kubernetes.io/version": version}
    return {
        "metadata": {"labels": labels, "annotations": {"org.opencontainers.image.revision": commit}},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "nodeSelector": {"pool": service.pool},
            "serviceAccountName": service.name,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
        },
    }


def probe(path: str, period: int) -> Json:
    return {
        "httpGet": {"path": path, "port": 8080, "scheme": "HTTP"},
        "initialDelaySeconds": 3,
        "periodSeconds": period,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def deployment(service: Service, version: str, commit: str) -> Json:
    """A Deployment as the API server would have it after defaulting."""
    return {
        "metadata": {
            "name": service.name,
            "namespace": service.namespace,
            "labels": {
                "app": service.name,
                "app.kubernetes.io/name": service.name,
                "app.kubernetes.io/managed-by": "argocd",
            },
            "annotations": {REVISION: "2"},
        },
        "spec": {
            "replicas": service.replicas,
            "selector": {"matchLabels": {"app": service.name}},
            "template": template(service, version, commit),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
        },
        "status": {},
    }


def template_hash(body: Json) -> str:
    """The ten characters that name the ReplicaSet of this template; equal templates give equal names."""
    meta = body.get("metadata") or {}
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH_LABEL}
    plain = {"labels": labels, "annotations": meta.get("annotations") or {}, "spec": body.get("spec")}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).digest()
    return "".join(SAFE_ALPHABET[b % len(SAFE_ALPHABET)] for b in digest[:10])


def owned_by(owner: Json) -> list[Json]:
    return [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def replica_set(owner: Json, revision: int, replicas: int) -> Json:
    """The ReplicaSet of the owner's present template."""
    body = owner["spec"]["template"]
    digest = template_hash(body)
    labels = {**body["metadata"].get("labels", {}), HASH_LABEL: digest}
    annotations = {
        REVISION: str(revision),
        "deployment.kubernetes.io/desired-replicas": str(owner["spec"].get("replicas", 1)),
    }
    cause = (owner["metadata"].get("annotations") or {}).get("kubernetes.io/change-cause")
    if cause:
        annotations["kubernetes.io/change-cause"] = cause
    return {
        "metadata": {
            "name": f"{owner['metadata']['name']}-{digest}",
            "namespace": owner["metadata"]["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": owned_by(owner),
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {**owner["spec"]["selector"]["matchLabels"], HASH_LABEL: digest}},
            "template": {**body, "metadata": {**body["metadata"], "labels": labels}},
        },
        "status": {"replicas": 0},
    }


def pod(owner: Json, rng: random.Random) -> Json:
    """A new pod of a ReplicaSet or Job, not yet scheduled."""
    body = owner["spec"]["template"]
    suffix = "".join(rng.choice(SAFE_ALPHABET) for _ in range(5))
    name = f"{owner['metadata']['name']}-{suffix}"
    return {
        "metadata": {
            "name": name,
            "generateName": f"{owner['metadata']['name']}-",
            "namespace": owner["metadata"]["namespace"],
            "labels": dict(body["metadata"].get("labels") or {}),
            "annotations": dict(body["metadata"].get("annotations") or {}),
            "ownerReferences": owned_by(owner),
        },
        "spec": {**body["spec"]},
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }


def image_of(body: Json) -> str:
    """The image of the first container of a pod or of anything with a pod template."""
    spec = body["spec"].get("template", body).get("spec", {})
    image: str = spec["containers"][0]["image"]
    return image


def owner_uid(body: Json) -> str:
    return next((o["uid"] for o in body["metadata"].get("ownerReferences", []) if o.get("controller")), "")


def is_ready(body: Json) -> bool:
    """Whether a pod is counted as ready."""
    if body["metadata"].get("deletionTimestamp"):
        return False
    conditions = body.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def quantity_cpu(text: str) -> int:
    """Thousandths of a core."""
    return int(text[:-1]) if text.endswith("m") else int(float(text) * 1000)


def quantity_mib(text: str) -> int:
    """Mebibytes; understands the suffixes that people write for memory."""
    factors = {
        "Ki": 1 / 1024,
        "Mi": 1,
        "Gi": 1024,
        "Ti": 1024 * 1024,
        "k": 1 / 1048.576,
        "M": 1 / 1.048576,
        "G": 953.674,
    }
    for suffix, factor in factors.items():
        if text.endswith(suffix):
            return int(float(text[: -len(suffix)]) * factor)
    return int(float(text) / 1048576)
