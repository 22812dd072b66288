// The sandbox page: a small Slack on this machine, and a world to break beside it.
//
// For browser tests, these stay stable:
//   rows            [data-ts="…"] in [data-testid=messages] and, inside [data-testid=thread], the thread
//   block elements  [data-action-id="…"] (with data-block-id, data-value; aria-busy while waiting; class "unacknowledged" after)
//   feedback        [data-feedback=positive|negative]; reactions [data-reaction=name] and, to add one, [data-react=name]
//   composer        [data-testid=composer], composer-send, composer-file; in a thread thread-composer, thread-composer-send
//   thread          [data-testid=thread], thread-close, thread-summary and reply-in-thread on a row
//   sidebar         [data-room=<channel id>] and [data-room=home]; [data-testid=home] holds the App Home
//   modal           [data-testid=modal], modal-submit, modal-close, [data-input-block=<block id>] .field-error; confirm, confirm-yes, confirm-deny
//   world           [data-testid=break-<scenario id>], reset, world-status, scenario-filter, [data-service][data-environment][data-status]
//   panel           [data-testid=tab-scenarios|tab-faults|tab-requests] and their panels scenarios, faults, requests
//   faults          fault-<system>-<name>, fault-burst, fault-clock, faults-clear
//   private         [data-testid=dismiss] on a message that one person sees
//   rest            [data-testid=user-switch], theme, bot-status, toasts, announcer, hint; html[data-theme]; body[data-ready] once drawn
// The address is /?user=<id>#<channel>[/<thread ts>] or #home.

import { get, listen, post } from "./api.js";
import { renderBlocks } from "./blocks.js";
import { createComposer } from "./composer.js";
import { h } from "./dom.js";
import { Form } from "./elements.js";
import { author, ensureTabStop, isGrouped, messageRow, reconcile, rowKeys, summary } from "./messages.js";
import { ask, createModal } from "./modal.js";
import { typedToWire } from "./mrkdwn.js";
import { createSteps, createWorld, drawSidebar, imName } from "./panels.js";

const $ = (id) => document.getElementById(id);
const POLL_MS = 4000; // only for the bot's connection, which nothing announces
const FEW = 200;

const state = {
  user: new URLSearchParams(location.search).get("user") ?? localStorage.getItem("codehealer.user") ?? "U0ONCALL",
  room: null, thread: null, team: "", me: {}, users: [], channels: [], commands: [], bot: null, connected: null,
  shortcuts: [], drafts: new Map(), marks: new Map(), seen: new Map(), local: [], ended: () => {},
};

// -- small things -----------------------------------------------------------------------------------------------

function toast(text, bad = false) {
  if ([...$("toasts").children].some((one) => one.textContent === String(text))) return;
  const node = h("div", { class: bad ? "toast bad" : "toast" }, String(text));
  $("toasts").append(node);
  setTimeout(() => node.remove(), bad ? 9000 : 5000);
}

/** Runs `work` at most once at a time; calls meanwhile make one more run afterwards. */
function coalesce(work) {
  let running = null;
  let again = false;
  const loop = async () => {
    do {
      again = false;
      try {
        await work();
      } catch (error) {
        if (state.online !== false) toast(error.message, true);
      }
    } while (again);
    running = null;
  };
  return () => {
    if (running) again = true;
    else running = loop();
    return running;
  };
}

const names = {
  user: (id) => state.users.find((one) => one.id === id)?.name ?? id,
  channel: (id) => state.channels.find((one) => one.id === id)?.name ?? id,
  get me() {
    return state.user;
  },
};

function blockContext() {
  return { names, users: state.users, channels: state.channels };
}

// -- clicking ---------------------------------------------------------------------------------------------------

/** Sends one block action and shows at the element whether the app acknowledged it. */
async function act(source, form, action, node, confirm) {
  if (confirm && !(await ask($("confirm"), confirm, names))) return;
  const key = [source.ts ?? source.view_id, action.block_id, action.action_id, action.value ?? ""].join("|");
  if (state.marks.get(key) === "busy") return;
  noteProgress(action, node);
  mark(key, "busy", node);
  try {
    const answer = await post("click", { user: state.user, ...source, ...action, values: form?.values() ?? {} });
    mark(key, answer.acknowledged ? null : "failed", node);
    if (!answer.acknowledged) toast(`${state.connected ? "The app did not answer the click" : "The app is not connected"}. Try again.`, true);
  } catch (error) {
    mark(key, "failed", node);
    toast(error.message, true);
  }
}

function noteProgress(action, node) {
  if (action.type === "feedback_buttons" && node?.dataset.feedback === "positive") steps.mark("thumb");
  else if (action.type === "button" && node?.classList.contains("primary")) steps.mark("approve");
}

function mark(key, value, node) {
  if (value) state.marks.set(key, value);
  else state.marks.delete(key);
  for (const one of [node, ...document.querySelectorAll("[data-action-id]")]) if (one && keyOf(one) === key) showMark(one, value);
}

function keyOf(node) {
  const source = node.closest("[data-ts]")?.dataset.ts ?? node.closest("[data-view-id]")?.dataset.viewId;
  return [source, node.dataset.blockId, node.dataset.actionId, node.dataset.value ?? ""].join("|");
}

function showMark(node, value) {
  node.classList.toggle("unacknowledged", value === "failed");
  if (value === "busy") node.setAttribute("aria-busy", "true");
  else node.removeAttribute("aria-busy");
  if (value === "failed") node.title = "The app did not acknowledge this click.";
}

function showMarks(root) {
  if (!state.marks.size) return;
  for (const node of root.querySelectorAll("[data-action-id]")) {
    const value = state.marks.get(keyOf(node));
    if (value) showMark(node, value);
  }
}

/** Runs something a person asked for; says so when it is refused. */
async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    toast(error.message, true);
    return null;
  }
}

async function react(message, name, remove) {
  await attempt(() => post("react", { user: state.user, channel: state.room, ts: message.ts, name, remove }));
  if (name === "+1" && !remove) steps.mark("thumb");
}

// -- messages ---------------------------------------------------------------------------------------------------

function rowContext(inThread) {
  return {
    ...blockContext(),
    inThread,
    act: (message, form, action, node, confirm) => act({ channel: state.room, ts: message.ts }, form, action, node, confirm),
    onReact: react,
    shortcuts: state.shortcuts.filter((one) => one.type === "message"),
    onShortcut: (message, shortcut) => attempt(() => post("shortcut", { user: state.user, channel: state.room, ts: message.ts, callback_id: shortcut.callback_id })),
    onThread: (message) => go(state.room, message.thread_ts ?? message.ts),
    onStop: (message) => attempt(() => post("stop", { user: state.user, channel: state.room, ts: message.ts })),
    onDismiss: (message) => attempt(async () => {
      state.local = state.local.filter((one) => one.ts !== message.ts);
      await post("dismiss", { user: state.user, channel: state.room, ts: message.ts });
      await Promise.all([refreshMessages(), refreshThread()]);
    }),
  };
}

function draw(list, messages, inThread) {
  const ctx = rowContext(inThread);
  const make = (message, before) => {
    const row = messageRow(message, before, ctx);
    showMarks(row);
    return row;
  };
  const signature = (message, before) =>
    JSON.stringify([message, state.user, state.users.length, state.shortcuts.length, !before || new Date(before.ts * 1000).getDate(), isGrouped(message, before, state.users)]);
  reconcile(list, messages, make, signature);
  ensureTabStop(list);
}

function announce(where, messages) {
  const before = state.seen.get(where);
  const now = new Set(messages.map((one) => one.ts));
  state.seen.set(where, now);
  if (!before) return;
  const fresh = messages.filter((one) => !before.has(one.ts));
  for (const one of fresh) if (one.user === state.bot || one.bot_profile?.name === "codehealer") steps.has("break") && steps.mark("watch");
  const told = fresh.filter((one) => one.user !== state.user).slice(-3);
  if (told.length) $("announcer").textContent = told.map((one) => `${author(one, state.users).name}: ${summary(one)}`).join(". ");
}

const refreshMessages = coalesce(async () => {
  const { room, user } = state;
  if (!room || room === "home") return;
  const answer = await get("messages", { user, channel: room, limit: FEW });
  if (room !== state.room || user !== state.user) return;
  const fresh = $("messages").dataset.room !== `${user} ${room}`;
  const messages = [...answer.messages, ...state.local.filter((one) => one.channel === room && one.for === user)].sort((a, b) => Number(a.ts) - Number(b.ts));
  draw($("messages"), messages, false);
  if (fresh) {
    $("messages").dataset.room = `${user} ${room}`;
    $("scroller").scrollTop = $("scroller").scrollHeight;
    state.seen.delete("main");
  }
  announce("main", messages);
  drawAround($("working"), $("prompts"), answer, refreshMessages);
  $("scroller").classList.toggle("nothing", messages.length === 0);
});

const refreshThread = coalesce(async () => {
  const { room, thread, user } = state;
  if (!thread || room === "home") return;
  const answer = await get("messages", { user, channel: room, thread_ts: thread, limit: FEW });
  if (thread !== state.thread || user !== state.user) return;
  const key = `${user} ${room} ${thread}`;
  const fresh = $("thread-messages").dataset.room !== key;
  draw($("thread-messages"), answer.messages, true);
  if (fresh) {
    $("thread-messages").dataset.room = key;
    $("thread-scroller").scrollTop = $("thread-scroller").scrollHeight;
    state.seen.delete("thread");
  }
  announce("thread", answer.messages);
  drawAround($("thread-working"), null, answer, refreshThread);
});

/** What an assistant's thread has beside messages: "is looking …" and suggested prompts. */
function drawAround(working, prompts, answer, refresh) {
  const text = answer.status ? `codehealer ${answer.status}` : "";
  if (working.textContent !== text) working.textContent = text;
  clearTimeout(working.timer);
  // A status ends by itself on the server, which tells nobody.
  if (text) working.timer = setTimeout(refresh, 3000);
  const list = answer.prompts?.prompts ?? [];
  prompts?.replaceChildren(...list.map((one) =>
    h("button", { type: "button", class: "btn", on: { click: () => send(one.message, null, null) } }, one.title)));
}

const refreshHome = coalesce(async () => {
  if (state.room !== "home") return;
  const { view } = await post("home", { user: state.user });
  drawHome(view);
});

let homeForm = null;
let homeSignature = "";

function drawHome(view) {
  const signature = JSON.stringify([view, state.user]);
  if (signature === homeSignature) return;
  homeSignature = signature;
  if (!view?.blocks?.length) {
    $("home").replaceChildren(h("p", { class: "empty" }, "The app has not published a home yet."));
    return;
  }
  const form = new Form(homeForm);
  homeForm = form;
  const ctx = { ...blockContext(), form, act: (action, node, confirm) => act({ view_id: view.id }, form, action, node, confirm) };
  $("home").dataset.viewId = view.id ?? "";
  $("home").replaceChildren(renderBlocks(view.blocks, ctx));
  showMarks($("home"));
}

const refreshWorld = coalesce(async () => world.draw(await get("world")));

// -- state, sidebar, users --------------------------------------------------------------------------------------

const ROLES = { U0ONCALL: "on-call approver", U0LEAD: "team lead, approver", U0DEV: "developer, not an approver", U0GUEST: "restricted guest" };

const refreshState = coalesce(async () => {
  const user = state.user;
  const answer = await get("state", { user });
  if (user !== state.user) return;
  Object.assign(state, {
    team: answer.team?.name ?? answer.team ?? "Sandbox", me: answer.me ?? { id: user }, users: answer.users ?? [], channels: answer.channels ?? [],
    bot: answer.bot_user?.id ?? answer.bot_user, connected: Boolean(answer.bot_connected), commands: (answer.commands ?? []).map(commandRow), shortcuts: answer.shortcuts ?? [],
  });
  drawSwitch();
  drawSidebar($("sidebar"), state, (id) => go(id));
  drawHead();
  drawStatus();
});

function commandRow(one) {
  return typeof one === "string" ? { command: one, hint: "" } : { command: one.command, hint: one.usage_hint ?? one.description ?? "" };
}

function drawSwitch() {
  const people = state.users.filter((one) => !one.is_bot && !one.deleted);
  const signature = JSON.stringify(people);
  const node = $("user-switch");
  if (node.signature !== signature) {
    node.signature = signature;
    node.replaceChildren(...people.map((one) => h("option", { value: one.id }, `${one.name} · ${ROLES[one.id] ?? one.role ?? "member"}`)));
  }
  node.value = state.user;
}

function drawStatus() {
  const node = $("bot-status");
  const word = state.online === false ? "lost" : state.connected ? "online" : "off";
  const text = { lost: "sandbox not reachable, trying again …", online: "codehealer is online", off: "codehealer is not connected" }[word];
  if (node.textContent !== text) node.textContent = text;
  node.className = `bot-status ${word}`;
}

function roomLabel(channel) {
  return channel.is_im ? `@${imName(channel, state)}` : `#${channel.name}`;
}

function drawHead() {
  const channel = state.channels.find((one) => one.id === state.room);
  const title = state.room === "home" ? "CodeHealer home" : channel ? roomLabel(channel) : "…";
  $("channel-title").textContent = title;
  const count = Array.isArray(channel?.members) ? channel.members.length : channel?.members;
  const botHere = !channel || channel.is_im || !Array.isArray(channel.members) || channel.members.some((one) => (one.id ?? one) === state.bot);
  const here = Array.isArray(channel?.members) && !channel.is_im ? channel.members.map((one) => names.user(one.id ?? one)) : [];
  $("channel-note").title = here.join(", ");
  $("channel-note").textContent = channel && !channel.is_im ? `${count ?? 0} members${botHere ? "" : " · codehealer is not in this channel"}` : "";
  $("invite").hidden = botHere;
  const unread = state.channels.reduce((sum, one) => sum + (one.id === state.room ? 0 : (one.unread ?? 0)), 0);
  document.title = `${unread ? `(${unread}) ` : ""}${title} · CodeHealer sandbox`;
  composer.relabel(`Message ${title}`);
}

// -- where we are -----------------------------------------------------------------------------------------------

/** The address decides what is shown, so that back, forward and reload work. */
function go(room, thread = null) {
  location.hash = thread ? `${room}/${thread}` : room;
  showPane(thread ? "side" : "main");
}

function showPane(name) {
  document.body.dataset.pane = name;
  for (const button of document.querySelectorAll("[data-show]")) {
    if (button.dataset.show === name) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

async function follow() {
  const [room, thread] = decodeURIComponent(location.hash.slice(1)).split("/");
  const known = room === "home" || state.channels.some((one) => one.id === room);
  const next = known ? room : (state.channels.find((one) => one.name === "deployments") ?? state.channels[0])?.id;
  if (next !== state.room) {
    if (state.room) state.drafts.set(state.room, composer.text());
    state.room = next;
    if (state.channels.find((one) => one.id === next)?.is_im) attempt(() => post("opened", { user: state.user }));
    composer.setText(state.drafts.get(next) ?? "");
  }
  const hadThread = state.thread;
  state.thread = known && thread && room !== "home" ? thread : null;
  const home = state.room === "home";
  $("home").hidden = !home;
  $("messages").hidden = home;
  composer.form.hidden = home;
  $("scroller").classList.toggle("nothing", false);
  $("thread").hidden = !state.thread;
  $("world").hidden = Boolean(state.thread);
  document.querySelector("[data-show=side]").textContent = state.thread ? "Thread" : "Break";
  drawSidebar($("sidebar"), state, (id) => go(id));
  drawHead();
  if (home) homeSignature = "";
  await Promise.all([home ? refreshHome() : refreshMessages(), refreshThread()]);
  if (state.thread && state.thread !== hadThread) threadComposer.box.focus({ preventScroll: true });
}

async function become(user) {
  state.user = user;
  localStorage.setItem("codehealer.user", user);
  const address = new URL(location.href);
  address.searchParams.set("user", user);
  history.replaceState(null, "", address);
  modal.show(null);
  homeForm = null;
  state.marks.clear();
  state.seen.clear();
  connect();
  await refreshState();
  await follow();
}

function connect() {
  state.ended();
  const user = state.user;
  state.ended = listen(
    user,
    (message) => receive(message),
    (again) => {
      state.online = true;
      drawStatus();
      if (again) Promise.all([refreshState(), refreshMessages(), refreshThread(), refreshWorld(), refreshView()]);
    },
    () => {
      state.online = false;
      drawStatus();
    },
  );
}

async function refreshView() {
  modal.show((await get("view", { user: state.user })).view ?? null);
}

/** Keeps a list at its end while it grows, as long as the reader is there; images and charts settle late. */
function stickToEnd(scroller, list) {
  let atEnd = true;
  scroller.addEventListener("scroll", () => (atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 90), { passive: true });
  new ResizeObserver(() => atEnd && (scroller.scrollTop = scroller.scrollHeight)).observe(list);
}

const RECEIVERS = {
  changed: (message) => {
    refreshState();
    if (message.channel === state.room) {
      refreshMessages();
      refreshThread();
    }
  },
  view: (message) => {
    if (message.view?.type === "home") state.room === "home" && drawHome(message.view);
    else modal.show(message.view ?? null);
  },
  home: (message) => state.room === "home" && drawHome(message.view),
  world: () => refreshWorld(),
  toast: (message) => toast(message.text, true),
};

function receive(message) {
  RECEIVERS[message?.type]?.(message);
}

// -- sending ----------------------------------------------------------------------------------------------------

async function send(text, file, thread) {
  try {
    if (text.startsWith("/") && !file && !thread) return await command(text);
    const body = { user: state.user, channel: state.room, text: typedToWire(text, state.users, state.channels) };
    await post("post", { ...body, ...(thread ? { thread_ts: thread } : {}), ...(file ? { file } : {}) });
    await (thread ? refreshThread() : refreshMessages());
    const scroller = $(thread ? "thread-scroller" : "scroller");
    scroller.scrollTop = scroller.scrollHeight;
    return true;
  } catch (error) {
    toast(error.message, true);
    return false;
  }
}

async function command(text) {
  const [name] = text.split(/\s/, 1);
  if (name !== "/invite" && state.commands.length && !state.commands.some((one) => one.command === name)) {
    toast(`${name} is not a command here. Known: ${state.commands.map((one) => one.command).join(", ")}`, true);
    return false;
  }
  const channel = state.room;
  const answer = await post("command", { user: state.user, channel, command: name, text: text.slice(name.length).trim() });
  // A time-out comes as a toast from the server.
  if (answer.response && !answer.response.ts) keepLocal(channel, answer.response);
  await refreshMessages();
  $("scroller").scrollTop = $("scroller").scrollHeight;
  return true;
}

/** An answer that came only with the acknowledgement, as an ephemeral of this page. */
function keepLocal(channel, response) {
  if (!response.text && !response.blocks && !response.attachments) return;
  state.local.push({ ...response, channel, for: state.user, user: state.bot, bot_id: "local", ts: (Date.now() / 1000).toFixed(6), is_ephemeral: true });
  state.local = state.local.slice(-50);
}

// -- start ------------------------------------------------------------------------------------------------------

function createTheme() {
  const button = $("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = localStorage.getItem("codehealer.theme");
    const now = chosen ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = now;
    button.setAttribute("aria-label", `Switch to ${now === "dark" ? "light" : "dark"} colours`);
    button.title = button.getAttribute("aria-label");
    button.textContent = now === "dark" ? "☀" : "☾";
  };
  button.addEventListener("click", () => {
    localStorage.setItem("codehealer.theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    apply();
  });
  dark.addEventListener("change", apply);
  apply();
}

const steps = createSteps($("steps"));
const named = { people: () => state.users.filter((one) => !one.deleted), channels: () => state.channels.filter((one) => !one.is_im) };
const composer = createComposer({ ...named, label: "Message", testid: "composer", id: "composer", commands: () => state.commands, onSend: (text, file) => send(text, file, null), toast });
const threadComposer = createComposer({ ...named, label: "Reply", testid: "thread-composer", id: "thread-composer", commands: () => [], onSend: (text, file) => send(text, file, state.thread), toast });
const modal = createModal($("modal"), {
  context: blockContext,
  act: (view, form, action, node, confirm) => act({ view_id: view.id }, form, action, node, confirm),
  submit: async (viewId, values) => {
    const answer = await post("submit", { user: state.user, view_id: viewId, values });
    if (answer.acknowledged && answer.response_action !== "errors") await refreshView();
    return answer;
  },
  close: async (viewId) => {
    await post("close", { user: state.user, view_id: viewId }).catch((error) => toast(error.message, true));
    await refreshView().catch(() => {});
  },
});
const world = createWorld($("world"), {
  toast,
  onBroken: (scenario) => {
    steps.mark("break");
    toast(`Broken: ${scenario.title}. Watch #deployments.`);
    refreshWorld();
    world.toTop();
    go((state.channels.find((one) => one.name === "deployments") ?? state.channels[0])?.id ?? state.room);
  },
  onReset: () => {
    toast("The world is healthy again.");
    refreshWorld();
  },
});

function wire() {
  $("composer-slot").replaceWith(composer.form);
  $("thread-composer-slot").replaceWith(threadComposer.form);
  $("user-switch").addEventListener("change", (event) => become(event.target.value));
  $("invite").addEventListener("click", () => attempt(async () => {
    await post("command", { user: state.user, channel: state.room, command: "/invite", text: "@codehealer" });
    await Promise.all([refreshState(), refreshMessages()]);
  }));
  $("thread-close").addEventListener("click", () => closeThread());
  for (const button of document.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => {
      if (button.dataset.show === "side" && state.thread && document.body.dataset.pane === "side") closeThread();
      showPane(button.dataset.show);
    });
  }
  stickToEnd($("scroller"), $("messages"));
  stickToEnd($("thread-scroller"), $("thread-messages"));
  rowKeys($("messages"));
  rowKeys($("thread-messages"));
  window.addEventListener("hashchange", () => follow().catch((error) => toast(error.message, true)));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.thread && !document.querySelector("dialog[open]") && $("thread").contains(event.target)) closeThread();
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    const anchor = event.target.closest?.("a[href]");
    const inside = anchor && /\/archives\/(\w+)(?:\/p(\d{10})(\d{6}))?/.exec(new URL(anchor.href).pathname);
    // A permalink names the workspace's own address on slack.com; its place is on this page.
    if (!inside || !state.channels.some((one) => one.id === inside[1])) return;
    event.preventDefault();
    go(inside[1], inside[2] ? `${inside[2]}.${inside[3]}` : null);
  });
}

function closeThread() {
  const ts = state.thread;
  go(state.room);
  document.querySelector(`#messages [data-ts="${CSS.escape(ts ?? "")}"]`)?.focus({ preventScroll: true });
}

async function start() {
  createTheme();
  wire();
  await refreshState();
  if (state.users.length && !state.users.some((one) => one.id === state.user && !one.is_bot)) state.user = state.users.find((one) => !one.is_bot).id;
  connect();
  await Promise.all([follow(), refreshWorld(), refreshView()]);
  document.body.dataset.ready = "true";
  setInterval(() => document.visibilityState === "visible" && refreshState(), POLL_MS);
}

start().catch((error) => toast(error.message, true));
