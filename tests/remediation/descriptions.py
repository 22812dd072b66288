"""Checks recorded requests against the official API descriptions, where these lie beside the project."""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

FACTS = Path(__file__).parents[3] / "shared" / "facts"
GITHUB, ARGOCD = "github.openapi.trimmed.json", "argocd.swagger.json"
PAGERDUTY = "pagerduty.rest.openapi.json"
# What GitHub describes and the trimmed description leaves out; nothing else may be missing there.
NOT_IN_THE_TRIMMED_ONE = re.compile(
    r"/orgs/[^/]+/actions/secrets/.+|/app-manifests/.*|/user|(?:/repos/[^/]+/[^/]+|/app)/hooks?(?:/.*)?"
)
Json = dict[str, Any]


@cache
def description(name: str) -> Json | None:
    """None where the description is not there."""
    path = FACTS / name
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


@cache
def _patterns(name: str) -> list[tuple[int, str, re.Pattern[str]]]:
    """(number of parameters, template, expression): a literal path describes better than one with a parameter."""
    paths = (description(name) or {"paths": {}})["paths"]
    return sorted((t.count("{"), t, re.compile(_expression(t))) for t in paths)


def _expression(template: str) -> str:
    """Paths of files and names of branches have slashes of their own, and so has Argo CD's project/application."""
    long = {"{path}", "{subresource}"} | ({"{ref}"} if "/git/ref" in template else set())
    parts = re.split(r"(\{[^}]+\})", template)
    return "".join((".+" if p in long else "[^/]+") if p.startswith("{") else re.escape(p) for p in parts)


def operation(name: str, method: str, path: str) -> tuple[str, Json]:
    """The template and the operation of a request; fails when there is none."""
    document = description(name)
    assert document is not None
    for _, template, pattern in _patterns(name):
        operations = document["paths"][template]
        if pattern.fullmatch(path) and method.lower() in operations:
            return template, {**operations[method.lower()], "shared": operations.get("parameters", [])}
    raise AssertionError(f"{method} {path} is not described in {name}")


def check_github(requests: Iterable[Json]) -> set[tuple[str, str]]:
    """Path, query and body of each request; the (method, template) pairs that were seen."""
    document, seen = description(GITHUB), set()
    for request in requests:
        path = request["path"].removeprefix("/github")
        apart = "/job-logs/" in path or path.startswith("/html/") or NOT_IN_THE_TRIMMED_ONE.fullmatch(path)
        if document is None or request["system"] != "github" or apart:
            continue
        template, described = operation(GITHUB, request["method"], path)
        assert set(request["query"]) <= _query_names(document, described), (template, request["query"])
        wanted = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if request["body"]:
            assert wanted, f"{template} takes no body"
            assert set(request["body"]) <= set(wanted["properties"]), (template, request["body"])
            problems = [e.message for e in _validator(wanted).iter_errors(request["body"])]
            assert not problems, (template, problems)
        seen.add((request["method"], template))
    return seen


def check_argocd(requests: Iterable[Json]) -> set[tuple[str, str]]:
    document, seen = description(ARGOCD), set()
    for request in requests:
        if document is None or request["system"] != "argocd":
            continue
        template, described = operation(ARGOCD, request["method"], request["path"].removeprefix("/argocd"))
        assert request["query"] == {}
        if request["method"] == "POST":
            body = next(p["schema"] for p in described["parameters"] if p["in"] == "body")
            definitions = document["definitions"]
            schema = {**definitions[body["$ref"].rsplit("/", 1)[-1]], "definitions": definitions}
            assert set(request["body"]) <= set(schema["properties"]), (template, request["body"])
            assert list(Draft202012Validator(schema).iter_errors(request["body"])) == []
        seen.add((request["method"], template))
    return seen


def _query_names(document: Json, described: Json) -> set[str]:
    names = set()
    for stated in [*described.get("parameters", []), *described["shared"]]:
        reference = stated.get("$ref", "").rsplit("/", 1)[-1]
        parameter = document["components"]["parameters"][reference] if reference else stated
        if parameter.get("in") == "query":
            names.add(parameter["name"])
    return names


@cache
def _registry() -> Registry[Any]:
    return Registry().with_resource("urn:github", Resource(description(GITHUB), DRAFT202012))


def _validator(schema: Json) -> Any:
    text = json.dumps(schema).replace('"#/components', '"urn:github#/components')
    return OAS30Validator(json.loads(text), registry=_registry())
