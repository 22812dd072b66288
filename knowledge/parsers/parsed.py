"""What a parser makes of a text."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Parsed:
    """`tool` is the tool that reported the failure, `format` the outermost form that was recognised.

    `error_lines` are (1-based number, text) in order. `entities` lists distinct values by name, in order of appearance:
    image, registry, pod, container, secret, configmap, key, test, file (`path:line`), host, namespace, deployment, job,
    node, user, resource, quota, claim, storage_class, package, module, revision, probe, port, application, hook, crd,
    variable, executable, reason, condition, exception, target, task, workflow, action.
    `job` is a CI job's name with its matrix; `nested` the form that was followed inside the step (a Docker build in a
    CI log) and `nested_step` its step.
    """

    format: str
    tool: str = ""
    step: str = ""
    command: str = ""
    exit_code: int | None = None
    error_lines: tuple[tuple[int, str], ...] = ()
    entities: dict[str, tuple[str, ...]] = field(default_factory=dict)
    job: str = ""
    nested: str = ""
    nested_step: str = ""

    def first(self, *names: str) -> str:
        """The first value of the first of these entities that has one, else ""."""
        for name in names:
            if values := self.entities.get(name):
                return values[0]
        return ""
