"""policy check, explain and replay."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.cli.opening import Number, in_database, moment
from bot.cli.printing import JsonOption, Verbs, plain, put
from bot.settings import load_settings
from bot.team_files import read_policy
from handlers.blocks.mrkdwn import counted
from knowledge.errors import BadInput, NotFound
from knowledge.model import Ask, Blocked
from knowledge.store import answers, incidents
from knowledge.store.answers import StoredPlan
from remediation import routes
from remediation.policy import DEFAULT_POLICY, Finding, Policy, check_policy
from remediation.policy_check import doubts
from remediation.policy_file import MAX_BYTES
from remediation.remediators import REMEDIATORS
from remediation.replay import decided_again, why_otherwise


def check(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="By default the policy in force.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Check a policy file; says which line, what is wrong and what to do."""
    path = Path(file or load_settings().policy or DEFAULT_POLICY)
    text = _read(path)
    policy, errors = check_policy(text, file=str(path))
    warnings = doubts(text, policy, tuple(REMEDIATORS), file=str(path)) if policy else []
    if as_json:
        found = [*(_as_data(one, "error") for one in errors), *(_as_data(one, "warning") for one in warnings)]
        put({"file": str(path), "valid": policy is not None, "findings": found})
    else:
        for one in (*errors, *warnings):
            plain.print(str(one), markup=False)
        if policy:
            services = counted(len(policy.services), "service")
            doubtful = f", with {counted(len(warnings), 'warning')} above" if warnings else ""
            plain.print(f"{path} is valid{doubtful}: mode {policy.mode}, {services}.", markup=False)
    raise typer.Exit(0 if policy else 2)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            # One byte more than is taken, so that what is too long is told and never read whole.
            return stream.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}. Give a policy file that can be read.") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8. Save it as UTF-8 text.") from None


def _as_data(one: Finding, severity: str) -> dict[str, Any]:
    return {
        "severity": severity,
        "line": one.line,
        "field": one.field,
        "problem": one.problem,
        "remedy": one.remedy,
    }


def explain(number: Number, as_json: JsonOption = False) -> None:
    """Show the decision about an incident's fix, with every rule's limit and actual value."""
    values = in_database(lambda db: _explain(db, number))
    if as_json:
        put(values)
        return
    plain.print(f"Incident {number}: {values['action'] or 'no action'} → {values['verdict']}", markup=False)
    for name in ("why", "override", "no_action_because"):
        if values[name]:
            plain.print(f"  {name.replace('_', ' ')}: {values[name]}", markup=False)
    plain.print(f"  mode {values['mode']}, strategy {values['strategy']}", markup=False)
    plain.print(f"  route {values['route']}", markup=False)
    for rule in values["rules"]:
        sign = "✓" if rule["passed"] else "✗"
        failing = "" if rule["passed"] else f" → {rule['otherwise']}"
        plain.print(f"  {sign} {rule['rule']}: limit {rule['limit']}, actual {rule['actual']}{failing}", markup=False)


async def _explain(db: AsyncConnection, number: int) -> dict[str, Any]:
    incident = await incidents.get(db, number)
    if incident is None:
        raise BadInput(f"There is no incident {number}; `codehealer incidents list` shows them.")
    planned = await answers.latest_plan(db, number)
    if planned is None:
        raise NotFound(f"Nothing was decided about incident {number} yet. Look again when it is diagnosed.")
    policy = read_policy(load_settings())
    route = routes.words(routes.route_of(policy, routes.subject_of(policy, incident)))
    return {"incident": number, **_decided(planned), "route": route}


def _decided(planned: StoredPlan) -> dict[str, Any]:
    plan, decision = planned.plan, planned.decision
    verdict = decision.verdict
    asked = verdict if isinstance(verdict, Ask) else None
    blocked = verdict if isinstance(verdict, Blocked) else None
    return {
        "action": plan.action.name if plan.action else None,
        "target": plan.action.target.key if plan.action else None,
        "parameters": dict(plan.action.parameters) if plan.action else {},
        "no_action_because": plan.no_action_because,
        "verdict": decision.name,
        "mode": decision.mode,
        "strategy": decision.strategy,
        "who": list(asked.who) if asked else [],
        "how_many": asked.how_many if asked else 0,
        "until": asked.until.isoformat() if asked else None,
        "why": blocked.why if blocked else "",
        "override": blocked.override if blocked else "",
        "rules": [
            {
                "rule": rule.rule,
                "limit": rule.limit,
                "actual": rule.actual,
                "passed": rule.passed,
                "otherwise": rule.otherwise,
                "override": rule.override,
            }
            for rule in decision.rules
        ],
    }


def replay(
    file: Annotated[str, typer.Argument(metavar="NEW.yaml")],
    since: Annotated[str, typer.Option(help="How long ago, as 90d or 12h, or a time.")] = "90d",
    as_json: JsonOption = False,
) -> None:
    """Show which past decisions another policy would have made otherwise, and why."""
    policy, errors = check_policy(_read(Path(file)), file=file)
    if policy is None:
        raise BadInput("\n".join(map(str, errors)))
    begin = moment("--since", since)
    found = in_database(lambda db: _replayed(db, policy, begin or datetime.min.replace(tzinfo=UTC)))
    if as_json:
        put(found)
        return
    for one in found["flips"]:
        head = f"Incident {one['incident']} ({one['at'][:16]}): {one['action']} in {one['environment']}"
        plain.print(f"{head}: {one['before']} → {one['after']}", markup=False)
        for line in one["because"]:
            plain.print(f"  {line}", markup=False)
    counts = f"{len(found['flips'])} of {counted(found['decisions'], 'decision')} would flip"
    old = f"; {found['not_kept']} were made before their facts were kept" if found["not_kept"] else ""
    plain.print(f"{counts}{old}.", markup=False)


async def _replayed(db: AsyncConnection, policy: Policy, since: datetime) -> dict[str, Any]:
    flips, decisions, not_kept = [], 0, 0
    async for past in answers.decided_since(db, since):
        if past.facts is None:
            not_kept += 1
            continue
        decisions += 1
        after = decided_again(past.plan, past.answer, past.facts, policy)
        if after.name != past.decision.name and past.plan.action:
            flips.append(
                {
                    "incident": past.incident_id,
                    "at": past.at.isoformat(),
                    "action": past.plan.action.name,
                    "target": past.plan.action.target.key,
                    "environment": past.plan.action.target.environment,
                    "before": past.decision.name,
                    "after": after.name,
                    "because": why_otherwise(past.decision, after),
                }
            )
    return {"decisions": decisions, "not_kept": not_kept, "flips": flips}


COMMANDS: Verbs = {"check": check, "explain": explain, "replay": replay}
