// One message as a list row, and lists that only redraw the rows that changed.

import { h, link, safeUrl } from "./dom.js";
import { attachment, renderBlocks } from "./blocks.js";
import { Form, image } from "./elements.js";
import { glyph } from "./glyphs.js";
import { codeBlock, mrkdwn, plain } from "./mrkdwn.js";

const QUICK = ["+1", "-1", "eyes", "white_check_mark"];
const GROUP_SECONDS = 300;

/** {name, app, colour}: who a message is from, whether by people or apps. */
export function author(message, users) {
  const user = users.find((one) => one.id === message.user);
  const app = Boolean(message.bot_id || user?.is_bot);
  const name = message.username ?? (message.bot_id && !user ? message.bot_profile?.name : null) ?? user?.name ?? message.bot_profile?.name ?? message.user ?? "unknown";
  let sum = 0;
  for (const char of name) sum = (sum * 31 + char.codePointAt(0)) % 997;
  return { name, app, colour: user?.is_bot ? 0 : (sum % 5) + 1, letter: [...name][0]?.toUpperCase() ?? "?" };
}

/** The short text of a message, for the announcer and for labels. */
export function summary(message) {
  const text = message.text || message.attachments?.[0]?.fallback || message.attachments?.[0]?.text || "";
  return plain(text).replace(/<[^|>]*\|([^>]*)>/g, "$1").replace(/\s+/g, " ").slice(0, 200);
}

/** Rows keyed by ts: unchanged ones stay as they are, so focus, scroll places and open menus survive. */
export function reconcile(list, messages, draw, signatureOf) {
  const old = new Map([...list.children].map((row) => [row.dataset.key, row]));
  const focused = document.activeElement;
  const focusKey = focused?.closest?.("[data-key]")?.dataset.key;
  let place = list.firstElementChild;
  messages.forEach((message, index) => {
    const key = message.is_ephemeral ? `e${message.ts}` : message.ts;
    const signature = signatureOf(message, messages[index - 1]);
    let row = old.get(key);
    old.delete(key);
    if (row?.signature !== signature) {
      const fresh = draw(message, messages[index - 1]);
      fresh.signature = signature;
      fresh.dataset.key = key;
      if (row) {
        if (place === row) place = fresh;
        row.replaceWith(fresh);
        reopen(fresh, row);
        if (focusKey === key) refocus(fresh, focused);
      }
      row = fresh;
    }
    if (row !== place) list.insertBefore(row, place);
    place = row.nextElementSibling;
  });
  for (const row of old.values()) row.remove();
}

/** A menu that somebody has open stays open when the message is edited meanwhile. */
function reopen(row, before) {
  const id = before.querySelector("details.menu[open] > summary")?.dataset.actionId;
  const same = id && [...row.querySelectorAll("details.menu > summary")].find((one) => one.dataset.actionId === id);
  if (same) same.parentElement.open = true;
}

function refocus(row, before) {
  const id = before.dataset.actionId;
  const same = id && [...row.querySelectorAll("[data-action-id]")].find((one) => one.dataset.actionId === id && one.dataset.value === before.dataset.value);
  (same ?? row).focus({ preventScroll: true });
}

function time(ts, options) {
  return new Date(Number(ts) * 1000).toLocaleTimeString(undefined, options);
}

export function dayOf(ts) {
  return new Date(Number(ts) * 1000).toDateString();
}

function dayLabel(ts) {
  const today = new Date().toDateString();
  return dayOf(ts) === today ? "Today" : new Date(Number(ts) * 1000).toLocaleDateString(undefined, { weekday: "long", month: "long", day: "numeric" });
}

export function isGrouped(message, before, users) {
  return Boolean(before && !before.subtype && !message.subtype && !message.is_ephemeral && !before.is_ephemeral && dayOf(before.ts) === dayOf(message.ts)
    && Number(message.ts) - Number(before.ts) < GROUP_SECONDS && !before.reply_count && author(before, users).name === author(message, users).name);
}

const QUIET = new Set(["channel_join", "channel_leave", "channel_topic", "channel_purpose", "channel_name", "tombstone", "pinned_item"]);

/**
 * One <li>. ctx adds to the blocks' ctx: onReact(message, name, remove), onThread(message), inThread, shortcuts,
 * onShortcut(message, shortcut) and onStop(message).
 * data-ts on the row is what tests look for.
 */
export function messageRow(message, before, ctx) {
  const newDay = !before || dayOf(before.ts) !== dayOf(message.ts);
  const grouped = !newDay && isGrouped(message, before, ctx.users);
  const who = author(message, ctx.users);
  const classes = ["message", grouped && "grouped", message.is_ephemeral && "ephemeral", QUIET.has(message.subtype) && "quiet"].filter(Boolean).join(" ");
  const row = h("li", { class: classes, tabindex: "-1", data: { ts: message.ts, "message-user": message.user } },
    newDay && !ctx.inThread && h("div", { class: "day" }, h("span", {}, dayLabel(message.ts))),
    h("div", { class: "message-row" },
      h("div", { class: `avatar c${who.colour}${who.app ? " app" : ""}`, "aria-hidden": "true" }, grouped ? "" : who.letter),
      h("div", { class: "message-main" },
        h("div", { class: grouped ? "sr-only" : "message-head" },
          h("strong", { class: "author", dir: "auto" }, who.name), who.app && h("span", { class: "app-badge" }, "APP"),
          h("time", { datetime: new Date(Number(message.ts) * 1000).toISOString(), title: new Date(Number(message.ts) * 1000).toLocaleString() },
            time(message.ts, { hour: "2-digit", minute: "2-digit" }))),
        message.subtype === "thread_broadcast" && h("div", { class: "broadcast" }, ctx.inThread ? "also sent to the channel" : [
          "replied to a ", h("button", { type: "button", class: "text-button", on: { click: () => ctx.onThread(message) } }, "thread")]),
        message.is_ephemeral && h("div", { class: "only-you" }, "Only visible to you · ",
          h("button", { type: "button", class: "text-button", data: { testid: "dismiss" }, on: { click: () => ctx.onDismiss(message) } }, "Dismiss")),
        body(message, ctx),
        reactions(message, ctx),
        !ctx.inThread && message.reply_count > 0 && threadSummary(message, ctx)),
      !message.is_ephemeral && toolbar(message, ctx)));
  return row;
}

function body(message, ctx) {
  const inner = { ...ctx, form: new Form(), message };
  const bare = { ...inner, act: (action, node, confirm) => ctx.act(message, inner.form, action, node, confirm) };
  // A person's rich_text only repeats the text as typed; drawing the text instead shows its fences and lists.
  const repeats = !message.bot_id && message.text && (message.blocks ?? []).every((one) => one.type === "rich_text");
  const hasBlocks = message.blocks?.length > 0 && !repeats;
  const attachments = (message.attachments ?? []).map((one) => attachment(one, bare));
  return h("div", { class: "message-body" },
    hasBlocks ? renderBlocks(message.blocks, bare) : message.text && h("div", { class: "text", dir: "auto" }, mrkdwn(message.text, ctx.names)),
    attachments, (message.files ?? []).map(fileNode),
    message.streaming_state === "in_progress" && h("div", { class: "streaming" }, h("span", { class: "cursor", "aria-hidden": "true" }), h("button", {
      type: "button", class: "text-button", data: { testid: "stop-stream" }, on: { click: () => ctx.onStop(message) },
    }, "Stop")),
    message.edited && h("span", { class: "edited" }, "(edited)"));
}

function fileNode(file) {
  const name = String(file.title || file.name || file.id || "file");
  const address = safeUrl(file.permalink ?? file.url_private ?? "");
  if (/^image\//.test(file.mimetype ?? "") && address) return image({ image_url: file.url_private ?? address, alt_text: name }, "block-image");
  const content = file.preview ?? file.content;
  const head = h("span", { class: "file-name", dir: "auto" }, glyph("page_facing_up", { decorative: true }), " ", address ? link(address, name) : name);
  const size = Number.isFinite(file.size) ? h("span", { class: "file-size" }, ` ${bytes(file.size)}`) : null;
  return h("div", { class: "file" }, head, size, content && codeBlock(String(content)));
}

function bytes(size) {
  return size < 1024 ? `${size} B` : size < 1048576 ? `${(size / 1024).toFixed(1)} kB` : `${(size / 1048576).toFixed(1)} MB`;
}

function names(ids, users) {
  return (ids ?? []).map((id) => users.find((one) => one.id === id)?.name ?? id).join(", ");
}

function reactions(message, ctx) {
  if (!message.reactions?.length) return null;
  return h("div", { class: "reactions" }, message.reactions.map((one) => {
    const mine = (one.users ?? []).includes(ctx.names.me);
    const label = `${one.name.replaceAll("_", " ")}, ${one.count ?? one.users?.length ?? 0}: ${names(one.users, ctx.users)}${mine ? "; press to take yours back" : ""}`;
    return h("button", {
      type: "button", class: mine ? "pill mine" : "pill", "aria-pressed": String(mine), "aria-label": label, title: names(one.users, ctx.users),
      data: { reaction: one.name }, on: { click: () => ctx.onReact(message, one.name, mine) },
    }, h("span", { "aria-hidden": "true" }, glyph(one.name, { decorative: true }) ?? `:${one.name}:`), " ", String(one.count ?? one.users?.length ?? 0));
  }));
}

function threadSummary(message, ctx) {
  const people = (message.reply_users ?? []).slice(0, 3).map((id) => author({ user: id }, ctx.users));
  return h("button", { type: "button", class: "thread-summary", data: { testid: "thread-summary" }, on: { click: () => ctx.onThread(message) } },
    people.map((one) => h("span", { class: `avatar mini c${one.colour}`, "aria-hidden": "true" }, one.letter)),
    h("span", {}, `${message.reply_count} ${message.reply_count === 1 ? "reply" : "replies"}`),
    message.latest_reply && h("span", { class: "latest" }, `last at ${time(message.latest_reply, { hour: "2-digit", minute: "2-digit" })}`));
}

function toolbar(message, ctx) {
  const mine = (name) => (message.reactions ?? []).some((one) => one.name === name && (one.users ?? []).includes(ctx.names.me));
  return h("div", { class: "toolbar", role: "group", "aria-label": "Message actions" },
    QUICK.map((name) => h("button", {
      type: "button", title: `:${name}:`, "aria-label": `React with ${name.replaceAll("_", " ")}`, data: { react: name },
      on: { click: () => ctx.onReact(message, name, mine(name)) },
    }, glyph(name, { decorative: true }))),
    (ctx.shortcuts ?? []).map((one) => h("button", {
      type: "button", title: one.name, "aria-label": one.name, data: { shortcut: one.callback_id }, on: { click: () => ctx.onShortcut(message, one) },
    }, glyph(one.callback_id.startsWith("diagnose") ? "stethoscope" : "bulb", { decorative: true }))),
    !ctx.inThread && h("button", { type: "button", "aria-label": "Reply in thread", title: "Reply in thread", data: { testid: "reply-in-thread" }, on: { click: () => ctx.onThread(message) } }, glyph("speech_balloon", { decorative: true })));
}

/** Arrow keys move between rows, Enter opens the thread; only one row is a tab stop. */
export function rowKeys(list) {
  list.addEventListener("keydown", (event) => {
    const row = event.target.closest?.("[data-ts]");
    if (!row || event.target !== row) return;
    if (event.key === "Enter") row.querySelector("[data-testid=reply-in-thread]")?.click();
    const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling, Home: list.firstElementChild, End: list.lastElementChild }[event.key];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  list.addEventListener("focusin", (event) => {
    const row = event.target.closest("[data-ts]");
    for (const other of list.querySelectorAll(':scope > [tabindex="0"]')) if (other !== row) other.tabIndex = -1;
    if (row) row.tabIndex = 0;
  });
}

export function ensureTabStop(list) {
  if (list.lastElementChild && !list.querySelector(':scope > [tabindex="0"]')) list.lastElementChild.tabIndex = 0;
}
