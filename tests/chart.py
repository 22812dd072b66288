"""The shipped chart, rendered by Helm's own engine, in a process of its own: that is a Go runtime."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "deploy" / "chart"
PLAIN = Path(__file__).parents[1] / "deploy" / "kubernetes"
# What the plain manifests are an example of: one namespace, and the fixes of low and medium risk.
EXAMPLE = {"rbac": {"namespaces": ["shop"], "actions": ["restart", "scale", "rollback"]}}
KUSTOMIZATION = """\
# Made from the chart by `make manifests`; change it by patches of your own: `kubectl apply -k`.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [namespace.yaml, codehealer.yaml, rbac.yaml]
"""
NAME = "codehealer"
_RENDER = """
import json, sys
from helm_python import Chart, HelmError
from helm_python.chart import lint
path, name, values = json.load(sys.stdin)
try:
    with Chart.load(path) as chart:
        files = chart.render(values, name=name, namespace=name)
    print(json.dumps({"files": files, "lint": lint(path, values)}))
except HelmError as error:
    print(json.dumps({"error": str(error)}))
"""


@cache
def _answer(values: str) -> dict[str, Any]:
    asked = json.dumps([str(CHART), NAME, json.loads(values)])
    done = subprocess.run([sys.executable, "-c", _RENDER], input=asked, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def answer(values: dict[str, Any]) -> dict[str, Any]:
    """`files` by template and what `lint` says, or the `error` of the one who installs it so."""
    return _answer(json.dumps(values, sort_keys=True))


def objects(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object that an installation with these values makes."""
    found = answer(values)
    assert "error" not in found, found["error"]
    texts = [text for path, text in sorted(found["files"].items()) if path.endswith(".yaml")]
    return [body for text in texts for body in yaml.safe_load_all(text) if body]


def rules(values: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What the chart's roles grant, by namespace; "" for the whole cluster."""
    granted: dict[str, list[dict[str, Any]]] = {}
    for body in objects(values):
        if body["kind"] in {"Role", "ClusterRole"}:
            granted.setdefault(body["metadata"].get("namespace", ""), []).extend(body["rules"])
    return granted


def plain() -> dict[str, str]:
    """deploy/kubernetes by file: the example, for who does not use Helm."""
    made = objects(EXAMPLE)
    for body in made:
        inner = body.get("spec", {}).get("template", {"metadata": {"labels": {}}})
        for labels in (body["metadata"]["labels"], inner["metadata"]["labels"]):
            for name in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
                labels.pop(name, None)
    about_access = [body for body in made if body["apiVersion"].startswith("rbac.")]
    own = [body for body in made if body not in about_access]
    labelled = {"name": NAME, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": labelled}
    return {
        "kustomization.yaml": KUSTOMIZATION,
        "namespace.yaml": yaml.safe_dump(namespace, sort_keys=False),
        "codehealer.yaml": yaml.safe_dump_all(own, sort_keys=False),
        "rbac.yaml": yaml.safe_dump_all(about_access, sort_keys=False),
    }


if __name__ == "__main__":
    PLAIN.mkdir(exist_ok=True)
    for file, text in plain().items():
        (PLAIN / file).write_text(text)
