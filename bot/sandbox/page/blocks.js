// Block Kit to nodes: one function per block type in a table. A type that is not in the table is shown as such,
// because a bot that sends it should see that people would not be able to read it.

import { append, fragment, h, link } from "./dom.js";
import { chart } from "./chart.js";
import { element, image, unsupported } from "./elements.js";
import { markdown } from "./markdown.js";
import { ago, broadcast, codeBlock, emojiNode, formatDate, mention, mrkdwn, plain, plainNodes, unescape } from "./mrkdwn.js";
import { glyph, withGlyphs } from "./glyphs.js";

export function renderBlocks(blocks, ctx) {
  return fragment((blocks ?? []).map((block) => renderBlock(block, ctx)));
}

function renderBlock(block, ctx) {
  const draw = BLOCKS[block?.type];
  const node = draw ? draw(block, ctx) : unsupported("block", block?.type);
  if (node instanceof Element && block?.block_id) node.setAttribute("data-block-id", block.block_id);
  return node;
}

/** A text object (or a bare string, which plan titles are). */
function text(object, ctx) {
  if (object === undefined || object === null) return null;
  if (typeof object === "string") return plainNodes(object);
  return object.type === "mrkdwn" ? mrkdwn(object.text, ctx.names, { verbatim: object.verbatim }) : plainNodes(object.text, object.emoji !== false);
}

function section(block, ctx) {
  return h("div", { class: "block section" },
    h("div", { class: "section-body" },
      block.text && h("div", { class: "text", dir: "auto" }, text(block.text, ctx)),
      block.fields && h("div", { class: "fields" }, block.fields.map((field) => h("div", { class: "text", dir: "auto" }, text(field, ctx))))),
    block.accessory && h("div", { class: "accessory" },
      block.accessory.type === "image" ? image(block.accessory, "accessory-image") : element(block.accessory, block, ctx)));
}

function header(block, ctx) {
  const level = Math.min(4, Math.max(1, Number(block.level) || 1));
  return h("div", { class: `block header h${level}`, role: "heading", "aria-level": String(level + 2), dir: "auto" }, text(block.text, ctx));
}

function context(block, ctx) {
  return h("div", { class: "block context" }, (block.elements ?? []).map((one) =>
    one.type === "image" ? image(one) : h("span", { class: "text", dir: "auto" }, text(one, ctx))));
}

function actions(block, ctx) {
  return h("div", { class: `block actions ${block.type === "context_actions" ? "quiet" : ""}` },
    (block.elements ?? []).map((one) => element(one, block, ctx)));
}

function imageBlock(block, ctx) {
  return h("figure", { class: "block image" }, block.title && h("figcaption", { dir: "auto" }, text(block.title, ctx)), image(block, "block-image"));
}

function input(block, ctx) {
  const grouped = ["radio_buttons", "checkboxes", "multi_static_select"].includes(block.element?.type);
  const label = h(grouped ? "div" : "label", { class: "input-label" }, plain(block.label?.text), block.optional && h("span", { class: "optional" }, " (optional)"));
  const node = element(block.element, block, ctx, { label });
  return h("div", { class: "block input", data: { "input-block": block.block_id } }, label, node,
    block.hint && h("div", { class: "hint" }, plain(block.hint.text)), h("div", { class: "field-error", role: "alert" }));
}

// -- rich text --------------------------------------------------------------------------------------------------

function richText(block, ctx) {
  return h("div", { class: "block rich-text" }, (block.elements ?? []).map((one) => richElement(one, ctx)));
}

function richElement(one, ctx) {
  const leaves = () => (one.elements ?? []).map((leaf) => richLeaf(leaf, ctx));
  switch (one?.type) {
    case "rich_text_section":
      return h("div", { class: "para", dir: "auto" }, leaves());
    case "rich_text_quote":
      return h("blockquote", { dir: "auto" }, leaves());
    case "rich_text_preformatted":
      return codeBlock(leaves());
    case "rich_text_list": {
      const start = Number(one.offset) ? Number(one.offset) + 1 : null;
      const indent = Math.min(8, Number(one.indent) || 0);
      return h(one.style === "ordered" ? "ol" : "ul", { start, class: `indent-${indent}${one.border ? " bordered" : ""}` },
        (one.elements ?? []).map((entry) => h("li", { dir: "auto" }, entry.type === "rich_text_section" ? (entry.elements ?? []).map((leaf) => richLeaf(leaf, ctx)) : richElement(entry, ctx))));
    }
    default:
      return unsupported("rich text", one?.type);
  }
}

function richLeaf(leaf, ctx) {
  const draw = LEAVES[leaf?.type];
  if (!draw) return unsupported("rich text", leaf?.type);
  return styled(draw(leaf, ctx), leaf.style ?? {});
}

const STYLES = { code: "code", bold: "strong", italic: "em", strike: "s", underline: "u" };

function styled(node, style) {
  return Object.entries(STYLES).reduce((inner, [name, tag]) => (style[name] ? h(tag, {}, inner) : inner), node);
}

function withBreaks(value) {
  return fragment(String(value ?? "").split("\n").map((line, index) => [index ? h("br") : null, withGlyphs(unescape(line))]));
}

const LEAVES = {
  text: (leaf) => withBreaks(leaf.text),
  link: (leaf) => link(leaf.url, unescape(leaf.text ?? leaf.url ?? "")),
  user: (leaf, ctx) => mention(leaf.user_id, ctx.names),
  usergroup: (leaf) => h("span", { class: "mention" }, `@${leaf.usergroup_id}`),
  team: (leaf) => h("span", { class: "mention" }, leaf.team_id),
  channel: (leaf, ctx) => h("span", { class: "mention" }, `#${ctx.names.channel(leaf.channel_id)}`),
  emoji: (leaf) => emojiNode(String(leaf.name)),
  broadcast: (leaf) => broadcast(String(leaf.range)),
  date: (leaf) => h("time", {}, leaf.format ? formatDate(Number(leaf.timestamp), leaf.format) : (leaf.fallback ?? "")),
  color: (leaf) => {
    const colour = /^#[0-9a-f]{6}$/i.test(leaf.value) ? leaf.value : null;
    const swatch = h("span", { class: "swatch" });
    if (colour) swatch.style.background = colour;
    return h("span", {}, swatch, String(leaf.value));
  },
};

// -- tables -----------------------------------------------------------------------------------------------------

function cell(one, tag, settings, ctx) {
  const numeric = one?.type === "raw_number";
  const content = one?.type === "rich_text" ? richText(one, ctx) : plainNodes(one?.text ?? one?.value ?? "");
  const align = ["left", "center", "right"].includes(settings?.align) ? settings.align : numeric ? "right" : "left";
  return h(tag, { class: `align-${align}${settings?.is_wrapped ? " wrapped" : ""}`, scope: tag === "th" ? "col" : null, dir: "auto" }, content);
}

function table(block, ctx) {
  const [head, ...rows] = block.rows ?? [];
  const settings = block.column_settings ?? [];
  return tableBox("Table, scrolls", h("table", {},
    head && h("thead", {}, h("tr", {}, head.map((one, index) => cell(one, "th", settings[index], ctx)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((one, index) => cell(one, "td", settings[index], ctx)))))));
}

function tableBox(label, ...children) {
  return h("div", { class: "block table-wrap", tabindex: "0", role: "group", "aria-label": label }, ...children);
}

function dataTable(block, ctx) {
  const [head = [], ...rows] = block.rows ?? [];
  const size = Math.min(100, Math.max(1, Number(block.page_size) || 5));
  const pages = Math.max(1, Math.ceil(rows.length / size));
  const body = h("tbody");
  const count = h("span", { "aria-live": "polite" });
  let page = 0;
  const turn = (by) => {
    page = Math.min(pages - 1, Math.max(0, page + by));
    body.replaceChildren(...rows.slice(page * size, (page + 1) * size).map((row) => h("tr", {}, row.map((one, index) => {
      const node = cell(one, index === block.row_header_column_index ? "th" : "td", null, ctx);
      if (node.tagName === "TH") node.setAttribute("scope", "row");
      return node;
    }))));
    count.textContent = `${page + 1} of ${pages}`;
  };
  turn(0);
  const caption = plain(block.caption?.text ?? block.caption);
  return h("div", { class: "block" },
    tableBox(`${caption}, scrolls`, h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, head.map((one) => cell(one, "th", null, ctx)))), body)),
    pages > 1 && h("div", { class: "pager" },
      h("button", { type: "button", class: "btn", on: { click: () => turn(-1) }, "aria-label": "Earlier rows" }, "‹"), count,
      h("button", { type: "button", class: "btn", on: { click: () => turn(1) }, "aria-label": "Later rows" }, "›")));
}

// -- cards, plans, alerts ---------------------------------------------------------------------------------------

function card(block, ctx) {
  const icon = block.slack_icon ? glyph(String(block.slack_icon.name), { decorative: true }) ?? "◆" : null;
  return h("div", { class: "block card" },
    block.hero_image && image(block.hero_image, "card-hero"),
    h("div", { class: "card-head" }, icon && h("span", { class: "emoji", "aria-hidden": "true" }, icon), block.icon && image(block.icon),
      h("div", {}, block.title && h("div", { class: "card-title", dir: "auto" }, text(block.title, ctx)),
        block.subtitle && h("div", { class: "card-subtitle", dir: "auto" }, text(block.subtitle, ctx)))),
    block.body && h("div", { class: "text", dir: "auto" }, text(block.body, ctx)),
    block.subtext && h("div", { class: "card-subtext", dir: "auto" }, text(block.subtext, ctx)),
    block.actions && h("div", { class: "actions" }, block.actions.map((one) => element(one, block, ctx))));
}

function carousel(block, ctx) {
  return h("div", { class: "block carousel", tabindex: "0", role: "group", "aria-label": "Cards, scroll sideways" }, (block.elements ?? []).map((one) => card(one, ctx)));
}

function container(block, ctx) {
  const heading = [h("strong", { dir: "auto" }, block.rich_text_title ? richText(block.rich_text_title, ctx) : text(block.title, ctx)),
    block.subtitle && h("span", { class: "card-subtitle" }, text(block.subtitle, ctx))];
  const children = renderBlocks(block.child_blocks, ctx);
  if (!block.is_collapsible) return h("div", { class: "block card" }, heading, children);
  return h("details", { class: "block card", open: !block.default_collapsed }, h("summary", {}, heading), children);
}

const LEVELS = { info: "information_source", warning: "warning", error: "no_entry", success: "white_check_mark", default: "pushpin" };

function alert(block, ctx) {
  const level = block.level in LEVELS ? block.level : "default";
  return h("div", { class: `block alert ${level}`, role: "note" }, glyph(LEVELS[level], { decorative: true }), h("div", { class: "text", dir: "auto" }, text(block.text, ctx)));
}

const TASKS = { pending: ["○", "pending"], in_progress: ["◔", "in progress"], complete: ["✓", "complete"], error: ["✕", "failed"] };

function task(block, ctx) {
  const [sign, word] = TASKS[block.status] ?? ["•", String(block.status)];
  const detail = [block.details && richOrText(block.details, ctx), block.output && richOrText(block.output, ctx),
    block.sources?.length > 0 && h("div", { class: "sources" }, block.sources.map((one) => link(one.url, one.text ?? one.url)))].filter(Boolean);
  const head = [h("span", { class: "task-sign", "aria-hidden": "true" }, sign), h("span", { class: "sr-only" }, `${word}: `), h("span", { dir: "auto" }, plainNodes(block.title?.text ?? block.title))];
  const props = { class: `block task ${block.status}` };
  return detail.length ? h("details", { ...props, open: block.status === "in_progress" }, h("summary", {}, head), detail) : h("div", props, head);
}

function richOrText(value, ctx) {
  return value?.type === "rich_text" ? richText(value, ctx) : h("div", { class: "text" }, text(value, ctx));
}

function plan(block, ctx) {
  const tasks = block.tasks ?? [];
  const done = tasks.filter((one) => one.status === "complete").length;
  return h("div", { class: "block plan" },
    h("div", { class: "plan-title", dir: "auto" }, plainNodes(block.title?.text ?? block.title), h("span", { class: "plan-count" }, ` ${done}/${tasks.length}`)),
    tasks.map((one) => task(one, ctx)));
}

function file(block) {
  return h("div", { class: "block context" }, `Remote file ${block.external_id ?? ""}`);
}

const BLOCKS = {
  section,
  header,
  divider: () => h("hr", { class: "block" }),
  context,
  actions,
  context_actions: actions,
  image: imageBlock,
  input,
  rich_text: richText,
  markdown: (block, ctx) => h("div", { class: "block markdown", dir: "auto" }, markdown(block.text, ctx.names)),
  table,
  data_table: dataTable,
  data_visualization: (block) => append(h("div", { class: "block" }), [chart(block)]),
  card,
  carousel,
  container,
  alert,
  task_card: task,
  plan,
  file,
};

// -- legacy attachments -----------------------------------------------------------------------------------------

const COLOURS = { good: "#2a9d62", warning: "#d39a1f", danger: "#c8443a" };

export function attachment(spec, ctx) {
  const markdownIn = spec.mrkdwn_in ?? ["pretext", "text", "fields"];
  const written = (value, where) => (markdownIn.includes(where) ? mrkdwn(value, ctx.names) : plainNodes(value));
  const colour = COLOURS[spec.color] ?? (/^#?[0-9a-f]{6}$/i.test(spec.color ?? "") ? `#${spec.color.replace("#", "")}` : null);
  const bar = h("span", { class: "bar", "aria-hidden": "true" });
  if (colour) bar.style.background = colour;
  const body = h("div", { class: "attachment-body" },
    spec.author_name && h("div", { class: "attachment-author" }, spec.author_link ? link(spec.author_link, plain(spec.author_name)) : plain(spec.author_name)),
    spec.title && h("div", { class: "attachment-title", dir: "auto" }, spec.title_link ? link(spec.title_link, plainNodes(spec.title)) : plainNodes(spec.title)),
    spec.text && !spec.blocks && h("div", { class: "text", dir: "auto" }, written(spec.text, "text")),
    spec.fields && h("div", { class: "fields" }, spec.fields.map((field) =>
      h("div", { class: field.short ? "text" : "text wide", dir: "auto" }, h("strong", {}, plain(field.title)), h("div", {}, written(field.value, "fields"))))),
    spec.blocks && renderBlocks(spec.blocks, ctx),
    spec.actions && h("div", { class: "actions" }, spec.actions.map((one) => one.url && link(one.url, plain(one.text)))),
    spec.image_url && image({ image_url: spec.image_url, alt_text: spec.fallback ?? "" }, "block-image"),
    (spec.footer || spec.ts) && h("div", { class: "attachment-footer" }, plain(spec.footer ?? ""), spec.ts ? ` · ${ago(Number(spec.ts))}` : null));
  return h("div", { class: "attachment" }, spec.pretext && h("div", { class: "text", dir: "auto" }, written(spec.pretext, "pretext")),
    h("div", { class: "attachment-row" }, bar, body));
}
