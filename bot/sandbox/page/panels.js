// The sidebar, the first-run hint and the "Break something" panel (world, scenarios, faults, what the bot asked for).

import { h } from "./dom.js";
import { get, post } from "./api.js";
import { glyph } from "./glyphs.js";

// -- sidebar ----------------------------------------------------------------------------------------------------

export function drawSidebar(node, state, go) {
  const signature = JSON.stringify([state.team, state.room, state.channels, state.users]);
  if (node.signature === signature) return;
  node.signature = signature;
  const entry = (id, label, extra = {}) =>
    h("li", {}, h("button", {
      type: "button", class: "room", "aria-current": state.room === id ? "page" : null, data: { room: id }, on: { click: () => go(id) },
    }, h("span", { class: "room-sign", "aria-hidden": "true" }, extra.sign ?? "#"), h("span", { class: "room-name", dir: "auto" }, label),
    extra.unread > 0 && state.room !== id && h("span", { class: "unread", "aria-label": `${extra.unread} unread` }, String(extra.unread))));
  const rooms = state.channels.filter((one) => !one.is_im);
  const ims = state.channels.filter((one) => one.is_im);
  const parts = [
    h("div", { class: "team" }, state.team),
    h("h2", {}, "Channels"),
    h("ul", {}, rooms.map((one) => entry(one.id, one.name, { unread: one.unread, sign: one.is_private ? glyph("lock", { decorative: true }) : "#" }))),
    ims.length > 0 && [h("h2", {}, "Direct messages"),
      h("ul", {}, ims.map((one) => entry(one.id, imName(one, state), { unread: one.unread, sign: "●" })))],
    h("h2", {}, "Apps"),
    h("ul", {}, entry("home", "CodeHealer home", { sign: "⌂" })),
  ];
  const focusRoom = node.contains(document.activeElement) ? document.activeElement.dataset.room : null;
  node.replaceChildren(...parts.flat().filter(Boolean));
  if (focusRoom) node.querySelector(`[data-room="${CSS.escape(focusRoom)}"]`)?.focus();
}

export function imName(channel, state) {
  const ids = (channel.members ?? []).map((one) => one.id ?? one);
  const other = channel.user ?? ids.find((id) => id !== state.me.id) ?? state.bot;
  return state.users.find((one) => one.id === other)?.name ?? channel.name ?? "codehealer";
}

// -- first-run hint ---------------------------------------------------------------------------------------------

const STEPS = [["break", "Break something"], ["watch", "Watch"], ["approve", "Approve"], ["thumb", "Thumbs-up"]];
const STEPS_KEY = "codehealer.steps";

export function createSteps(node) {
  const done = new Set(JSON.parse(localStorage.getItem(STEPS_KEY) ?? "[]"));
  const save = () => localStorage.setItem(STEPS_KEY, JSON.stringify([...done]));
  const draw = () => {
    node.hidden = done.has("hidden");
    const next = STEPS.find(([id]) => !done.has(id))?.[0];
    node.replaceChildren(...[
      h("ol", { "aria-label": "First steps" }, STEPS.map(([id, label], index) =>
        h("li", { class: done.has(id) ? "done" : id === next ? "next" : "", "aria-current": id === next ? "step" : null },
          h("span", { class: "step-number", "aria-hidden": "true" }, done.has(id) ? "✓" : String(index + 1)), h("span", {}, label)))),
      !next && h("p", {}, "That was the whole loop. Break something like it: codehealer remembers."),
      h("button", { type: "button", class: "btn icon", "aria-label": "Hide the first steps", on: { click: () => mark("hidden") } }, "✕"),
    ].filter(Boolean));
  };
  function mark(id) {
    if (done.has(id)) return;
    done.add(id);
    save();
    draw();
  }
  draw();
  return { mark, has: (id) => done.has(id) };
}

// -- world ------------------------------------------------------------------------------------------------------

const STATUS = { healthy: "healthy", degraded: "degraded", broken: "broken" };

/** `hooks` = {onBroken(scenario), onReset(), toast(text)} */
export function createWorld(node, hooks) {
  const services = h("div", { id: "services" });
  const scenarioList = h("div", { class: "scenarios" });
  const filter = h("input", { type: "search", placeholder: "Filter scenarios", "aria-label": "Filter scenarios", data: { testid: "scenario-filter" } });
  const overall = h("p", { class: "overall", role: "status", data: { testid: "world-status" } });
  const reset = h("button", { type: "button", class: "btn", data: { testid: "reset" } }, "Reset the world");
  let scenarios = [];
  let scenarioSignature = "";
  let snapshotSignature = "";

  filter.addEventListener("input", () => drawScenarios());
  reset.addEventListener("click", () => busy(reset, hooks, async () => {
    await post("reset");
    hooks.onReset();
  }));
  const tabs = createTabs([
    { id: "scenarios", title: "Scenarios", body: [overall, services, h("div", { class: "scenario-head" }, h("h3", {}, "Scenarios"), filter), scenarioList] },
    createFaults(hooks),
    createRequests(hooks),
  ]);
  node.replaceChildren(h("div", { class: "side-head" }, h("h2", { id: "world-title", tabindex: "-1" }, "Break something"), reset), ...tabs);

  function drawScenarios() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (one) => words.every((word) => [one.id, one.title, one.summary, one.service, one.environment, one.kind, one.group].join(" ").toLowerCase().includes(word));
    const groups = new Map();
    for (const one of scenarios.filter(matches)) groups.set(areaOf(one), [...(groups.get(areaOf(one)) ?? []), one]);
    const closed = new Set([...scenarioList.querySelectorAll("details.group:not([open])")].map((one) => one.dataset.group));
    scenarioList.replaceChildren(...[...groups].map(([name, list]) =>
      h("details", { class: "group", data: { group: name }, open: words.length > 0 || !closed.has(name) },
        h("summary", {}, h("span", {}, name), h("span", { class: "count" }, String(list.length))),
        h("ul", {}, list.map((one) => scenarioItem(one))))));
    if (!groups.size) scenarioList.replaceChildren(h("p", { class: "empty" }, scenarios.length ? "No scenario matches." : "No scenarios yet."));
  }

  function scenarioItem(one) {
    const button = h("button", {
      type: "button", class: "btn break", data: { testid: `break-${one.id}` }, "aria-label": `Break it: ${one.title}`,
      on: {
        click: () => busy(button, hooks, async () => {
          const answer = await post("break", { scenario: one.id });
          hooks.onBroken(one, answer);
        }),
      },
    }, "Break it");
    return h("li", { class: "scenario", data: { scenario: one.id } },
      h("div", { class: "scenario-top" }, h("div", { class: "scenario-title", dir: "auto" }, one.title), button),
      h("details", { class: "about" },
        h("summary", {}, one.service && h("span", { class: "chip" }, one.service), one.environment && h("span", { class: `chip env ${one.environment}` }, one.environment), h("span", {}, "about")),
        one.summary && h("p", { dir: "auto" }, one.summary),
        one.right_action && h("p", {}, "What should help: ", h("code", {}, String(one.right_action)), one.kind && ` (${one.kind})`)));
  }

  function draw(world) {
    const next = JSON.stringify(world.snapshot ?? {});
    if (next !== snapshotSignature) {
      snapshotSignature = next;
      drawSnapshot(services, overall, world.snapshot ?? {});
    }
    const ids = JSON.stringify(world.scenarios ?? []);
    if (ids !== scenarioSignature) {
      scenarioSignature = ids;
      scenarios = world.scenarios ?? [];
      drawScenarios();
    }
  }
  return { draw, toTop: () => node.querySelector(".scroller").scrollTo({ top: 0, behavior: "smooth" }) };
}

const AREAS = [
  ["Builds and pipelines", new Set(["buildfailure", "buildcacheerror", "test_failure", "dependency_resolution", "compile_lint", "githubaction_transient"])],
  ["Delivery", new Set(["argocd_sync", "argocd_degraded", "db_migration"])],
  ["False alarms", new Set(["healthy", "unknown"])],
];

/** A scenario's own group joins it with its look-alikes; people look for where it goes wrong. */
function areaOf(scenario) {
  return AREAS.find(([, kinds]) => kinds.has(scenario.kind))?.[0] ?? "Running services";
}

function drawSnapshot(node, overall, snapshot) {
  const list = snapshot.services ?? [];
  const ill = list.filter((one) => one.status !== "healthy");
  overall.className = `overall ${ill.some((one) => one.status === "broken") ? "broken" : ill.length ? "degraded" : "healthy"}`;
  overall.textContent = !list.length ? "The world is empty." : ill.length
    ? `${ill.length} of ${list.length} services ${ill.length === 1 ? "needs" : "need"} help`
    : `All ${list.length} services are healthy`;
  // The ill ones first: they are what one looks for.
  const rank = { broken: 0, degraded: 1, healthy: 2 };
  const sorted = [...list].sort((a, b) => (rank[a.status] ?? 0) - (rank[b.status] ?? 0));
  const opened = new Set([...node.querySelectorAll("details[open]")].map((one) => one.dataset.name));
  const more = (name, title, rows) => rows.length > 0 && h("details", { class: "more", data: { name }, open: opened.has(name) },
    h("summary", {}, h("span", {}, title), h("span", { class: "count" }, String(rows.length))), h("ul", {}, rows));
  node.replaceChildren(...[
    h("ul", { class: "services", "aria-label": "Services" }, sorted.map(service)),
    more("runs", "GitHub Actions runs", (snapshot.runs ?? []).map(run)),
    more("apps", "Argo CD applications", (snapshot.apps ?? []).map(app)),
  ].filter(Boolean));
}

function service(one) {
  const total = Math.min(12, Number(one.replicas) || 0);
  const ready = Math.min(total, Number(one.ready) || 0);
  const pips = h("span", { class: "pips", role: "img", "aria-label": `${one.ready ?? 0} of ${one.replicas ?? 0} replicas ready` },
    Array.from({ length: total }, (_, index) => h("i", { class: index < ready ? "on" : "" })));
  const well = one.status === "healthy";
  // A healthy service takes one line with its image's tag; one that needs help shows everything.
  const image = String(one.image ?? "");
  const tag = well ? image.slice(image.lastIndexOf(":") + 1) : image;
  const shown = h("code", { class: "image", title: image, dir: "ltr" }, tag);
  return h("li", { class: `service ${STATUS[one.status] ?? "broken"}`, data: { service: one.name, environment: one.environment, status: one.status } },
    h("div", { class: "service-head" }, h("span", { class: "dot", "aria-hidden": "true" }), h("strong", { dir: "auto", title: one.name }, one.name),
      h("span", { class: `chip env ${one.environment}` }, one.environment), h("span", { class: "service-gap" }), well && [shown, pips],
      h("span", { class: "service-status" }, one.status)),
    !well && h("div", { class: "service-body" }, pips, shown),
    one.reason && h("div", { class: "reason", dir: "auto" }, one.reason));
}

function run(one) {
  const bad = one.conclusion && !["success", "skipped", "neutral"].includes(one.conclusion);
  return h("li", { class: bad ? "line bad" : "line" }, h("span", { class: "line-name", dir: "auto" }, `${one.repository} · ${one.name}`),
    h("span", {}, `${one.conclusion ?? "running"}${one.attempt > 1 ? ` (attempt ${one.attempt})` : ""}`));
}

function app(one) {
  const health = one.health?.status ?? one.health ?? "";
  const sync = one.sync?.status ?? one.sync ?? one.status ?? "";
  const bad = /degraded|missing|failed|outofsync|unknown/i.test(`${health} ${sync}`);
  return h("li", { class: bad ? "line bad" : "line" }, h("span", { class: "line-name", dir: "auto" }, one.name), h("span", {}, [sync, health].filter(Boolean).join(" · ")));
}

async function busy(button, hooks, work) {
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    hooks.toast(error.message, true);
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
}

// -- tabs -------------------------------------------------------------------------------------------------------

/** One list of tabs and their panels; each of `kinds` = {id, title, body, shown()?}. Arrow keys move between tabs. */
function createTabs(kinds) {
  const tabs = kinds.map((one) => h("button", {
    type: "button", role: "tab", id: `tab-${one.id}`, "aria-controls": `panel-${one.id}`, data: { testid: `tab-${one.id}` }, on: { click: () => show(one) },
  }, one.title));
  const panels = kinds.map((one) => h("div", {
    class: "scroller", role: "tabpanel", tabindex: "0", id: `panel-${one.id}`, "aria-labelledby": `tab-${one.id}`, data: { testid: one.id },
  }, one.body));
  const list = h("div", { class: "tabs", role: "tablist", "aria-labelledby": "world-title" }, tabs);
  function show(chosen) {
    kinds.forEach((one, index) => {
      const here = one === chosen;
      tabs[index].setAttribute("aria-selected", String(here));
      tabs[index].tabIndex = here ? 0 : -1;
      panels[index].hidden = !here;
    });
    chosen.shown?.();
  }
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (tabs.indexOf(event.target) + step + tabs.length) % tabs.length;
    tabs[next].focus();
    show(kinds[next]);
  });
  show(kinds[0]);
  return [list, ...panels];
}

// -- faults -----------------------------------------------------------------------------------------------------

const SLACK_FAULTS = [
  ["duplicate_events", "Deliver every event twice", "switch"],
  ["reorder", "Deliver out of order", "switch"],
  ["no_pong", "Don't answer pings", "switch"],
  ["refuse_connections", "Refuse new connections", "switch"],
  ["black_hole", "Take everything, answer nothing", "switch"],
  ["hang_links", "Let new links hang", "switch"],
  ["stale_tickets_next", "Refuse the next … tickets", "number"],
  ["slow_ms", "Answer slowly (ms)", "number"],
  ["rate_limit_next", "429 for the next … calls", "number"],
  ["error_after_write_next", "500 after the write, next … calls", "number"],
  ["error_before_write_next", "500 before the write, next … calls", "number"],
  ["hang_after_write_next", "No answer after the write, next … calls", "number"],
  ["short_pages", "At most … messages a page", "number"],
  ["empty_pages", "An empty page before each page", "switch"],
  ["drop_socket", "Drop the socket now", "once", true],
  ["disconnect_reason", "Ask the bot to reconnect", "once", "refresh_requested"],
];
const SYSTEM_FAULTS = [
  ["slow_ms", "Answer slowly (ms)", "number"],
  ["error_next", "Fail the next … calls", "number"],
  ["status", "… with status", "number"],
  ["after_write", "Fail after the write took place", "switch"],
];
const SYSTEMS = [["slack", "Slack", SLACK_FAULTS], ["k8s", "Kubernetes", SYSTEM_FAULTS], ["github", "GitHub", SYSTEM_FAULTS], ["argocd", "Argo CD", SYSTEM_FAULTS], ["pagerduty", "PagerDuty", SYSTEM_FAULTS], ["prometheus", "Prometheus", SYSTEM_FAULTS], ["alertmanager", "Alertmanager", SYSTEM_FAULTS], ["status", "Status pages", SYSTEM_FAULTS]];

function createFaults(hooks) {
  const title = h("span", {}, "Faults");
  const clear = h("button", { type: "button", class: "btn", data: { testid: "faults-clear" }, on: { click: () => clearAll() } }, "End all faults");
  const count = h("p", { class: "fault-count", role: "status" });
  const fields = h("div", { class: "fault-body" });
  let now = {};

  /** What is in force, as [system, name] pairs; `… with status` and the like say how, not that. */
  const inForce = () => SYSTEMS.flatMap(([id, , list]) =>
    list.filter(([name, , kind]) => kind !== "once" && name !== "status" && name !== "after_write" && now[id]?.[name]).map(([name]) => [id, name]));

  function tell(faults) {
    now = faults;
    const number = inForce().length;
    title.textContent = number ? `Faults (${number})` : "Faults";
    count.textContent = number ? `${number} ${number === 1 ? "fault is" : "faults are"} in force.` : "Nothing is made to fail.";
    clear.hidden = !number;
  }

  async function change(changes, said) {
    try {
      tell(await post("faults", changes));
      hooks.toast(said);
      return true;
    } catch (error) {
      hooks.toast(error.message, true);
      return false;
    }
  }

  async function clearAll() {
    const changes = {};
    for (const [system, name] of inForce()) (changes[system] ??= {})[name] = typeof now[system][name] === "boolean" ? false : 0;
    if (await change(changes, "All faults have ended.")) draw();
  }

  const draw = () => fields.replaceChildren(
    ...SYSTEMS.map(([id, name, list]) => h("fieldset", {}, h("legend", {}, name), list.map((one) => faultField(id, one, now[id] ?? {}, change)))),
    h("fieldset", {}, h("legend", {}, "At once"),
      instant("burst", "A hundred messages in #alerts", () => post("burst", { count: 100 }), hooks),
      instant("clock", "Let an hour pass for Slack's deadlines", () => post("clock", { seconds: 3600 }), hooks)));

  const shown = async () => {
    try {
      tell(await get("faults"));
      draw();
    } catch (error) {
      fields.replaceChildren(h("p", { class: "empty" }, error.message));
    }
  };
  get("faults").then(tell, () => {});
  return { id: "faults", title, body: [h("div", { class: "fault-head" }, count, clear), fields], shown };
}

function instant(id, label, work, hooks) {
  const button = h("button", {
    type: "button", class: "btn", data: { testid: `fault-${id}` },
    on: { click: () => busy(button, hooks, async () => { await work(); hooks.toast(`${label}: done`); }) },
  }, label);
  return button;
}

/** `change(changes, said)` sets faults and tells of it. */
function faultField(system, [name, label, kind, value], now, change) {
  const send = (what) => change({ [system]: { [name]: what } }, `${label}: ${what === true ? "on" : what === false ? "off" : what}`);
  const testid = `fault-${system}-${name}`;
  if (kind === "once") return h("button", { type: "button", class: "btn", data: { testid }, on: { click: () => send(value) } }, label);
  const node = kind === "switch"
    ? h("input", { type: "checkbox", role: "switch", checked: Boolean(now[name]), data: { testid } })
    : h("input", { type: "number", min: "0", value: now[name] ?? 0, data: { testid } });
  node.addEventListener("change", () => send(kind === "switch" ? node.checked : Number(node.value) || 0));
  return h("label", { class: "fault" }, h("span", {}, label), node);
}

// -- requests ---------------------------------------------------------------------------------------------------

function createRequests(hooks) {
  const list = h("ol", { class: "requests", tabindex: "0", "aria-label": "Requests, newest first" });
  const system = h("select", { "aria-label": "System" }, ["k8s", "github", "argocd", "pagerduty", "prometheus", "alertmanager", "status", "slack"].map((one) => h("option", { value: one }, one)));
  const load = async () => {
    try {
      const answer = await get("requests", { system: system.value });
      const rows = (answer.requests ?? []).slice(-60).reverse();
      list.replaceChildren(...rows.map((one) => h("li", { class: one.status >= 400 ? "line bad" : "line" },
        h("code", { class: "line-name", title: one.path }, `${one.method ?? ""} ${one.path ?? ""}`), h("span", {}, String(one.status ?? "")))));
      if (!rows.length) list.replaceChildren(h("li", { class: "empty" }, "Nothing asked yet."));
    } catch (error) {
      hooks.toast(error.message, true);
    }
  };
  system.addEventListener("change", load);
  const head = h("div", { class: "request-head" }, system, h("button", { type: "button", class: "btn", on: { click: load } }, "Refresh"));
  return { id: "requests", title: "Requests", body: [h("p", {}, "What the bot asked for, newest first."), head, list], shown: load };
}
