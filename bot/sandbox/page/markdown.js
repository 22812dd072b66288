// The `markdown` block: the common part of Markdown (headings, lists, quotes, fences, tables, rules, inline marks).
// Unlike mrkdwn its text is not entity-escaped by the sender, but Slack stores it escaped, so entities are undone too.

import { append, fragment, h, link } from "./dom.js";
import { codeBlock, emojiNode, mention, unescape } from "./mrkdwn.js";
import { emoji } from "./emoji.js";
import { withGlyphs } from "./glyphs.js";

const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}(?:>|&gt;) ?/;
const ITEM = /^(\s*)([-*+]|\d{1,3}[.)])\s+(.*)$/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;

export function markdown(text, names) {
  const out = fragment();
  blocks(String(text ?? "").split("\n"), names, out, 0);
  return out;
}

function blocks(all, names, out, depth) {
  let at = 0;
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) out.append(h("p", { dir: "auto" }, inline(paragraph.join("\n"), names, 0)));
    paragraph = [];
  };
  while (at < all.length) {
    const line = all[at];
    const fence = /^ {0,3}(```+|~~~+)/.exec(line);
    const heading = HEADING.exec(line);
    if (fence) {
      flush();
      const taken = [];
      for (at += 1; at < all.length && !all[at].trim().startsWith(fence[1]); at += 1) taken.push(all[at]);
      at += 1;
      out.append(codeBlock(unescape(taken.join("\n"))));
    } else if (heading) {
      flush();
      // Headings inside a message must not compete with the page's own outline.
      out.append(h("p", { class: `md-heading md-h${heading[1].length}`, dir: "auto" }, inline(heading[2], names, 0)));
      at += 1;
    } else if (RULE.test(line)) {
      flush();
      out.append(h("hr"));
      at += 1;
    } else if (QUOTE.test(line) && depth < 5) {
      flush();
      const taken = [];
      while (at < all.length && QUOTE.test(all[at])) taken.push(all[at++].replace(QUOTE, ""));
      const quote = h("blockquote");
      blocks(taken, names, quote, depth + 1);
      out.append(quote);
    } else if (ITEM.test(line)) {
      flush();
      const taken = [];
      while (at < all.length && (ITEM.test(all[at]) || (/^\s{2,}\S/.test(all[at]) && taken.length))) taken.push(all[at++]);
      out.append(list(taken, names));
    } else if (line.includes("|") && DIVIDER.test(all[at + 1] ?? "") && all[at + 1].includes("-")) {
      flush();
      const taken = [line];
      for (at += 2; at < all.length && all[at].includes("|"); at += 1) taken.push(all[at]);
      out.append(table(taken, names));
    } else {
      if (line.trim()) paragraph.push(line);
      else flush();
      at += 1;
    }
  }
  flush();
}

function list(taken, names) {
  const ordered = /^\s*\d/.test(taken[0]);
  const node = h(ordered ? "ol" : "ul", ordered ? { start: Number(/\d+/.exec(taken[0])[0]) } : {});
  for (const line of taken) {
    const match = ITEM.exec(line);
    if (!match) {
      node.lastElementChild?.append(" ", inline(line.trim(), names, 0));
      continue;
    }
    const indent = Math.min(4, Math.floor(match[1].length / 2));
    const task = /^\[([ xX])\]\s+/.exec(match[3]);
    const body = task ? match[3].slice(task[0].length) : match[3];
    const mark = task ? (task[1] === " " ? "☐ " : "☑ ") : null;
    node.append(h("li", { class: indent ? `indent-${indent}` : null, dir: "auto" }, mark, inline(body, names, 0)));
  }
  return node;
}

function table(taken, names) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const [head, ...rows] = taken;
  return h("div", { class: "table-wrap", tabindex: "0", role: "group", "aria-label": "Table, scrolls" },
    h("table", {},
      h("thead", {}, h("tr", {}, cells(head).map((cell) => h("th", { scope: "col" }, inline(cell, names, 0))))),
      h("tbody", {}, rows.map((row) => h("tr", {}, cells(row).map((cell) => h("td", {}, inline(cell, names, 0))))))));
}

// One alternative per inline form, in order of precedence. Every quantifier is bounded or excludes its own end mark.
const INLINE = new RegExp(
  [
    "`([^`\\n]+)`",
    "!?\\[([^\\]\\n]{0,2000})\\]\\(([^()\\s]{1,3000})\\)",
    "\\*\\*([^*\\n][^\\n]{0,2000}?)\\*\\*",
    "__([^_\\n][^\\n]{0,2000}?)__",
    "~~([^~\\n]{1,2000})~~",
    "(?<![\\w*])\\*([^*\\s\\n](?:[^*\\n]{0,2000}[^*\\s\\n])?)\\*(?!\\w)",
    "(?<!\\w)_([^_\\s\\n](?:[^_\\n]{0,2000}[^_\\s\\n])?)_(?!\\w)",
    "<@([UW][A-Z0-9]+)(?:\\|[^>]*)?>",
    "<(https?:[^<>|\\s]+)(?:\\|([^<>]*))?>",
    "(?<![\\w\"'])(https?://[^\\s<>\"'`|]+[^\\s<>\"'`|.,;:!?)\\]*_~])",
    ":([a-z0-9_+'-]{1,60}):",
    "(\\n)",
  ].join("|"),
  "g",
);

function inline(text, names, depth) {
  const out = fragment();
  let start = 0;
  const put = (piece) => append(out, [withGlyphs(unescape(piece.replace(/\\([\\`*_{}[\]()#+\-.!~|>])/g, "$1")))]);
  for (const match of text.matchAll(INLINE)) {
    if (match.index > start) put(text.slice(start, match.index));
    start = match.index + match[0].length;
    out.append(form(match, names, depth));
  }
  if (start < text.length) put(text.slice(start));
  return out;
}

function form(match, names, depth) {
  const [whole, code, label, href, bold, under, strike, star, underscore, user, angled, angledLabel, bare, name, newline] = match;
  const inner = (text) => (depth < 5 ? inline(text, names, depth + 1) : unescape(text));
  if (code !== undefined) return h("code", {}, unescape(code));
  if (href !== undefined) return link(unescape(href), unescape(label || href));
  if (bold !== undefined) return h("strong", {}, inner(bold));
  if (under !== undefined) return h("strong", {}, inner(under));
  if (strike !== undefined) return h("s", {}, inner(strike));
  if (star !== undefined) return h("em", {}, inner(star));
  if (underscore !== undefined) return h("em", {}, inner(underscore));
  if (user !== undefined) return mention(user, names);
  if (angled !== undefined) return link(unescape(angled), unescape(angledLabel || angled));
  if (bare !== undefined) return link(unescape(bare), unescape(bare));
  if (name !== undefined) return emoji(name) ? emojiNode(name) : document.createTextNode(whole);
  return newline !== undefined ? h("br") : document.createTextNode(whole);
}
