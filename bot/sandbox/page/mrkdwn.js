// Slack's mrkdwn and plain_text to nodes. One pass over the text; entities are unescaped last, on text nodes only,
// so that an escaped "<" can never become markup.
//
// names = {user(id) -> string, channel(id) -> string, me: id}

import { append, fragment, h, link } from "./dom.js";
import { emoji } from "./emoji.js";
import { glyph, withGlyphs } from "./glyphs.js";

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">" };
const MARKS = { "*": "strong", _: "em", "~": "s" };
const DEPTH = 6;

export function unescape(text) {
  return text.replace(/&(?:amp|lt|gt);/g, (entity) => ENTITIES[entity]);
}

/** What a person types becomes what Slack sends: entities, then mentions of people, channels and groups. */
export function typedToWire(text, users, channels) {
  const escaped = text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  return escaped.replace(/(^|[\s(,:;])([@#])([\w.-]*\w)/g, (whole, before, sign, name) => {
    if (sign === "#") {
      const channel = channels.find((one) => !one.is_im && one.name === name);
      return channel ? `${before}<#${channel.id}|${channel.name}>` : whole;
    }
    if (["here", "channel", "everyone"].includes(name)) return `${before}<!${name}>`;
    const user = users.find((one) => one.name === name.toLowerCase());
    return user ? `${before}<@${user.id}>` : whole;
  });
}

/** plain_text as a string, for labels and titles: emoji names become characters. */
export function plain(text, withEmoji = true) {
  const value = unescape(String(text ?? ""));
  return withEmoji ? value.replace(/:([a-z0-9_+'-]+)(?:::skin-tone-\d)?:/gi, (whole, name) => emoji(name) ?? whole) : value;
}

/** plain_text as nodes, with drawn emoji. */
export function plainNodes(text, withEmoji = true) {
  return withGlyphs(plain(text, withEmoji));
}

export function emojiNode(name) {
  return glyph(name) ?? h("span", { class: "emoji" }, `:${name}:`);
}

export function mrkdwn(text, names, { verbatim = false } = {}) {
  const out = fragment();
  const parts = String(text ?? "").split("```");
  // A fence that is never closed is text, as in Slack.
  const closed = parts.length % 2 === 1 ? parts.length : parts.length - 1;
  for (let index = 0; index < closed; index += 1) {
    if (index % 2) out.append(fence(parts[index], names));
    else lines(trimAroundFence(parts[index], index, closed), names, verbatim, out);
  }
  if (closed < parts.length) lines("```" + parts[closed], names, verbatim, out);
  return out;
}

function trimAroundFence(text, index, count) {
  let value = text;
  if (index > 0) value = value.replace(/^\n/, "");
  if (index < count - 1) value = value.replace(/\n$/, "");
  return value;
}

/** A code block; a long one scrolls inside its own box and can be reached with the keyboard. */
export function codeBlock(...children) {
  const node = h("pre", { class: "code" }, h("code", {}, ...children));
  const text = node.textContent;
  if (text.length > 900 || text.split("\n").length > 12) {
    node.tabIndex = 0;
    node.setAttribute("role", "group");
    node.setAttribute("aria-label", "Code, scrolls");
  }
  return node;
}

function fence(text, names) {
  const parts = text.replace(/^\n/, "").replace(/\n$/, "").split(/(<[^<>\n]+>)/);
  return codeBlock(parts.map((part, index) => (index % 2 ? angle(part, names) : unescape(part))));
}

const QUOTE = /^(?:&gt;|>)(?!(?:&gt;|>){2}) ?/;
const BULLET = /^(\s*)(?:[•◦▪]|-)\s+/;
const NUMBER = /^(\s*)(\d{1,3})\.\s+/;

function lines(text, names, verbatim, out) {
  if (!text) return;
  const all = text.split("\n");
  const put = (line) => inline(line, names, verbatim, 0);
  let at = 0;
  let plainLines = [];
  const flush = () => {
    if (!plainLines.length) return;
    const block = h("div", { class: "para", dir: "auto" });
    plainLines.forEach((line, index) => block.append(...(index ? [h("br")] : []), put(line)));
    out.append(block);
    plainLines = [];
  };
  const take = (pattern, make) => {
    flush();
    const taken = [];
    while (at < all.length && pattern.test(all[at])) taken.push(all[at++]);
    out.append(make(taken));
  };
  while (at < all.length) {
    const line = all[at];
    if (/^(?:&gt;|>){3}/.test(line)) {
      flush();
      const rest = [line.replace(/^(?:&gt;|>){3} ?/, ""), ...all.slice(at + 1)];
      const quote = h("blockquote", { dir: "auto" });
      lines(rest.join("\n"), names, verbatim, quote);
      out.append(quote);
      return;
    }
    if (QUOTE.test(line)) {
      take(QUOTE, (taken) => {
        const quote = h("blockquote", { dir: "auto" });
        lines(taken.map((one) => one.replace(QUOTE, "")).join("\n"), names, verbatim, quote);
        return quote;
      });
    } else if (BULLET.test(line)) {
      take(BULLET, (taken) => h("ul", {}, taken.map((one) => item(one, BULLET, put))));
    } else if (NUMBER.test(line)) {
      take(NUMBER, (taken) => h("ol", { start: NUMBER.exec(taken[0])[2] }, taken.map((one) => item(one, NUMBER, put))));
    } else {
      plainLines.push(line);
      at += 1;
    }
  }
  flush();
}

function item(line, pattern, put) {
  const indent = Math.min(4, Math.floor(pattern.exec(line)[1].length / 2));
  return h("li", { class: indent ? `indent-${indent}` : null, dir: "auto" }, put(line.replace(pattern, "")));
}

function inline(text, names, verbatim, depth) {
  const out = fragment();
  const noClose = new Set(); // marks with no closing partner in the rest of this line: keeps the pass linear
  let start = 0;
  let at = 0;
  const flush = (end) => {
    if (end > start) append(out, [withGlyphs(unescape(text.slice(start, end)))]);
  };
  const put = (node, end) => {
    flush(at);
    out.append(node);
    at = start = end;
  };
  while (at < text.length) {
    const char = text[at];
    if (char === "<") {
      const end = text.indexOf(">", at);
      if (end > at + 1) put(angle(text.slice(at, end + 1), names), end + 1);
      else at += 1;
    } else if (char === "`" && !noClose.has("`")) {
      const end = text.indexOf("`", at + 1);
      if (end > at + 1) put(h("code", {}, unescape(text.slice(at + 1, end))), end + 1);
      else {
        if (end < 0) noClose.add("`");
        at += 1;
      }
    } else if (char === ":") {
      const name = /^:([a-z0-9_+'-]{1,60})(?:::skin-tone-\d)?:/i.exec(text.slice(at, at + 90));
      if (name && emoji(name[1])) put(emojiNode(name[1]), at + name[0].length);
      else at += 1;
    } else if (MARKS[char] && depth < DEPTH && !noClose.has(char) && opens(text, at)) {
      const end = closing(text, at, char);
      if (end > 0) put(h(MARKS[char], {}, inline(text.slice(at + 1, end), names, verbatim, depth + 1)), end + 1);
      else {
        noClose.add(char);
        at += 1;
      }
    } else if (char === "h" && !verbatim && /^https?:\/\//.test(text.slice(at, at + 8)) && !/\w/.test(text[at - 1] ?? " ")) {
      const url = /^https?:\/\/[^\s<>|"'`]+/.exec(text.slice(at, at + 3000))?.[0].replace(/[.,;:!?)\]*_~]+$/, "");
      if (url && url.length > 8) put(link(unescape(url), unescape(url)), at + url.length);
      else at += 1;
    } else at += 1;
  }
  flush(at);
  return out;
}

const WORD = /[\p{L}\p{N}]/u;

function opens(text, at) {
  const before = text[at - 1];
  const after = text[at + 1];
  return (before === undefined || !WORD.test(before)) && after !== undefined && !/\s/.test(after) && after !== text[at];
}

function closing(text, from, mark) {
  for (let at = text.indexOf(mark, from + 2); at > 0; at = text.indexOf(mark, at + 1)) {
    const after = text[at + 1];
    if (!/\s/.test(text[at - 1]) && (after === undefined || !WORD.test(after))) return at;
  }
  return -1;
}

function angle(token, names) {
  const body = token.slice(1, -1);
  const bar = body.indexOf("|");
  const target = bar < 0 ? body : body.slice(0, bar);
  const label = bar < 0 ? null : body.slice(bar + 1);
  if (target.startsWith("@")) return mention(target.slice(1), names, label);
  if (target.startsWith("#")) return h("span", { class: "mention" }, `#${unescape(label || names.channel(target.slice(1)))}`);
  if (target.startsWith("!date^")) return dateNode(target, label);
  if (target.startsWith("!subteam^")) return broadcast(target.split("^")[1], label);
  if (target.startsWith("!")) return broadcast(target.slice(1).split("^")[0], label);
  return link(unescape(target), plain(label ?? target.replace(/^mailto:/, "")));
}

export function mention(id, names, label) {
  const text = label || names.user(id);
  return h("span", { class: id === names.me ? "mention me" : "mention" }, `@${unescape(text)}`);
}

export function broadcast(range, label) {
  return h("span", { class: "mention me" }, unescape(label || `@${range}`).replace(/^@?/, "@"));
}

function dateNode(target, label) {
  const [, stamp, format, url] = target.split("^");
  const seconds = Number(stamp);
  const text = Number.isFinite(seconds) && format ? formatDate(seconds, format) : unescape(label ?? stamp ?? "");
  const node = h("time", { datetime: Number.isFinite(seconds) ? new Date(seconds * 1000).toISOString() : null, title: unescape(label ?? "") }, text);
  return url ? link(unescape(url), node) : node;
}

/** Slack's {date} tokens in the reader's own zone. */
export function formatDate(seconds, format) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return format;
  const day = (options) => date.toLocaleDateString(undefined, options);
  const pretty = (options) => {
    const days = Math.round((new Date(date).setHours(0, 0, 0, 0) - new Date().setHours(0, 0, 0, 0)) / 86400000);
    return { 0: "today", 1: "tomorrow", [-1]: "yesterday" }[days] ?? day(options);
  };
  const short = { month: "short", day: "numeric", year: "numeric" };
  const long = { weekday: "long", month: "long", day: "numeric", year: "numeric" };
  const usual = { month: "long", day: "numeric", year: "numeric" };
  const iso = `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;
  const table = {
    date_num: () => iso,
    date: () => day(usual),
    date_short: () => day(short),
    date_long: () => day(long),
    date_pretty: () => pretty(usual),
    date_short_pretty: () => pretty(short),
    date_long_pretty: () => pretty(long),
    time: () => date.toLocaleTimeString(undefined, { hour: "numeric", minute: "2-digit" }),
    time_secs: () => date.toLocaleTimeString(undefined, { hour: "numeric", minute: "2-digit", second: "2-digit" }),
    ago: () => ago(seconds),
  };
  return unescape(format).replace(/\{(\w+)\}/g, (whole, name) => table[name]?.() ?? whole);
}

export function ago(seconds) {
  const delta = Math.round(Date.now() / 1000 - seconds);
  const [size, unit] = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]].find(([one]) => Math.abs(delta) >= one) ?? [1, "second"];
  return new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }).format(-Math.round(delta / size), unit);
}
