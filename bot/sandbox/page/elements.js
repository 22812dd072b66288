// Interactive Block Kit elements, as used in actions, accessories and inputs.
//
// ctx = {names, users, channels, form, act(action, node, confirm)}. `act` sends block_actions; an element inside an
// `input` block only sends when the block says dispatch_action, otherwise its value waits in `form` for the submit.

import { h, link, safeUrl } from "./dom.js";
import { glyph } from "./glyphs.js";
import { plain, plainNodes } from "./mrkdwn.js";

/** What has been entered, by block_id and action_id; survives a redraw of the same view, as in Slack. */
export class Form {
  constructor(earlier) {
    this.fields = new Map();
    this.earlier = earlier?.values() ?? {};
  }

  add(blockId, actionId, read) {
    this.fields.set(JSON.stringify([blockId, actionId]), read);
  }

  kept(blockId, actionId) {
    return this.earlier[blockId]?.[actionId];
  }

  values() {
    const out = {};
    for (const [key, read] of this.fields) {
      const [blockId, actionId] = JSON.parse(key);
      (out[blockId] ??= {})[actionId] = read();
    }
    return out;
  }
}

let sequence = 0;
const nextId = () => `field-${(sequence += 1)}`;

/** One element; `input` = {block, describedBy} when it sits in an input block. */
export function element(spec, block, ctx, input = null) {
  const draw = TABLE[spec?.type];
  if (!draw) return unsupported("element", spec?.type);
  if (Array.isArray(spec.visible_to_user_ids) && !spec.visible_to_user_ids.includes(ctx.names.me)) return null;
  return draw(spec, block, ctx, input);
}

export function unsupported(what, type) {
  return h("div", { class: "unsupported" }, `unsupported ${what}: ${type ?? "no type"}`);
}

function mark(spec, block) {
  return { "action-id": spec.action_id, "block-id": block.block_id };
}

function send(ctx, spec, block, node, extra) {
  return ctx.act({ type: spec.type, block_id: block.block_id, action_id: spec.action_id, ...extra }, node, spec.confirm);
}

function button(spec, block, ctx) {
  const style = { primary: "primary", danger: "danger" }[spec.style] ?? "";
  const props = {
    class: `btn ${style}`,
    data: { ...mark(spec, block), value: spec.value },
    "aria-label": spec.accessibility_label,
    on: { click: (event) => send(ctx, spec, block, event.currentTarget, { value: spec.value }) },
  };
  const label = h("span", { class: "btn-label", dir: "auto" }, plainNodes(spec.text?.text));
  if (spec.url && safeUrl(spec.url)) {
    return h("a", { ...props, href: safeUrl(spec.url), target: "_blank", rel: "noopener noreferrer nofollow" }, label, h("span", { "aria-hidden": "true" }, " ↗"));
  }
  return h("button", { type: "button", ...props }, label);
}

function feedbackButtons(spec, block, ctx) {
  const side = (one, sign, kind) =>
    one && h("button", {
      type: "button", class: "btn icon", data: { ...mark(spec, block), value: one.value, feedback: kind },
      title: plain(one.text?.text), "aria-label": one.accessibility_label ?? plain(one.text?.text) ?? kind,
      on: { click: (event) => send(ctx, spec, block, event.currentTarget, { value: one.value }) },
    }, glyph(sign, { decorative: true }));
  return h("span", { class: "feedback" }, side(spec.positive_button, "+1", "positive"), side(spec.negative_button, "-1", "negative"));
}

function iconButton(spec, block, ctx) {
  return h("button", {
    type: "button", class: "btn icon", data: { ...mark(spec, block), value: spec.value },
    title: plain(spec.text?.text), "aria-label": spec.accessibility_label ?? plain(spec.text?.text),
    on: { click: (event) => send(ctx, spec, block, event.currentTarget, { value: spec.value }) },
  }, glyph(spec.icon === "trash" ? "wastebasket" : String(spec.icon), { decorative: true }) ?? String(spec.icon));
}

/** Opens a menu's entries where the pane that scrolls shows them whole: below, else above, and never past its edge. */
function place(menu) {
  const items = menu.querySelector(".menu-items");
  const button = menu.getBoundingClientRect();
  const frame = menu.closest(".scroller")?.getBoundingClientRect() ?? { bottom: innerHeight, right: innerWidth };
  const { width, height } = items.getBoundingClientRect();
  const below = button.bottom + 4;
  const top = below + height > Math.min(frame.bottom, innerHeight) ? Math.max(4, button.top - 4 - height) : below;
  const left = Math.max(4, Math.min(button.left, frame.right - width - 8));
  Object.assign(items.style, { position: "fixed", inset: `${top}px auto auto ${left}px` });
}

function overflow(spec, block, ctx) {
  const menu = h("details", { class: "menu" },
    h("summary", { class: "btn icon", "aria-label": "More actions", data: mark(spec, block) }, "⋯"),
    h("div", { class: "menu-items" }, (spec.options ?? []).map((option) =>
      h("button", {
        type: "button", data: { value: option.value },
        on: {
          click: () => {
            menu.open = false;
            if (option.url && safeUrl(option.url)) window.open(safeUrl(option.url), "_blank", "noopener");
            send(ctx, spec, block, menu.querySelector("summary"), { selected_option: option });
          },
        },
      }, plainNodes(option.text?.text)))));
  menu.addEventListener("toggle", () => menu.open && place(menu));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation();
    event.preventDefault();
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  return menu;
}

// -- fields -----------------------------------------------------------------------------------------------------

function register(spec, block, ctx, node, read) {
  const value = () => ({ type: spec.type, ...read() });
  ctx.form?.add(block.block_id, spec.action_id, value);
  return { node, value };
}

function field(spec, block, ctx, input, node, read) {
  const { value } = register(spec, block, ctx, node, read);
  if (input) {
    node.id = nextId();
    input.label?.setAttribute("for", node.id);
    if (!block.optional) node.setAttribute("aria-required", "true");
  } else if (!node.hasAttribute("aria-label")) {
    node.setAttribute("aria-label", plain(spec.placeholder?.text) || plain(block.label?.text) || spec.action_id || spec.type);
  }
  for (const [name, text] of Object.entries(mark(spec, block))) if (text) node.setAttribute(`data-${name}`, text);
  if (!input || block.dispatch_action) {
    node.addEventListener("change", () => send(ctx, spec, block, node, read()));
  }
  return node;
}

function textInput(spec, block, ctx, input) {
  const kept = ctx.form?.kept(block.block_id, spec.action_id)?.value;
  const multiline = spec.type === "plain_text_input" && spec.multiline;
  const kinds = { number_input: "number", email_text_input: "email", url_text_input: "url" };
  const node = h(multiline ? "textarea" : "input", {
    type: multiline ? null : (kinds[spec.type] ?? "text"), rows: multiline ? 5 : null, dir: "auto",
    placeholder: plain(spec.placeholder?.text) || null, autocomplete: "off", maxlength: spec.max_length ?? 3000,
    step: spec.type === "number_input" ? (spec.is_decimal_allowed ? "any" : "1") : null, min: spec.min_value, max: spec.max_value,
    "data-min-length": spec.min_length,
  });
  node.value = kept ?? spec.initial_value ?? "";
  return field(spec, block, ctx, input, node, () => ({ value: node.value === "" ? null : node.value }));
}

/** Options of a static select, flat or in groups, as [{label|null, options}]. */
function groups(spec) {
  if (spec.option_groups) return spec.option_groups.map((one) => ({ label: plain(one.label?.text), options: one.options ?? [] }));
  return [{ label: null, options: spec.options ?? [] }];
}

function staticSelect(spec, block, ctx, input) {
  const all = groups(spec).flatMap((one) => one.options);
  const first = ctx.form?.kept(block.block_id, spec.action_id)?.selected_option ?? spec.initial_option;
  const choice = (option) => h("option", { value: option.value, selected: option.value === first?.value }, plain(option.text?.text));
  const node = h("select", {},
    h("option", { value: "", selected: !first }, plain(spec.placeholder?.text) || "Choose…"),
    groups(spec).map((one) => (one.label === null ? one.options.map(choice) : h("optgroup", { label: one.label }, one.options.map(choice)))));
  return field(spec, block, ctx, input, node, () => ({ selected_option: all.find((one) => one.value === node.value) ?? null }));
}

function multiStaticSelect(spec, block, ctx, input) {
  const all = groups(spec).flatMap((one) => one.options);
  return choices({ ...spec, options: all, initial_options: spec.initial_options }, block, ctx, input, "checkbox", "selected_options");
}

/** Selects whose options are the workspace's own people or channels; `key` is the name of the value on the wire. */
function listSelect(key, rows) {
  return (spec, block, ctx, input) => {
    const first = ctx.form?.kept(block.block_id, spec.action_id)?.[key] ?? spec[key.replace("selected", "initial")];
    const node = h("select", {},
      h("option", { value: "" }, plain(spec.placeholder?.text) || "Choose…"),
      rows(ctx).map((row) => h("option", { value: row.id, selected: row.id === first }, row.label)));
    return field(spec, block, ctx, input, node, () => ({ [key]: node.value || null }));
  };
}

const people = (ctx) => ctx.users.filter((one) => !one.deleted).map((one) => ({ id: one.id, label: `@${one.name}` }));
const rooms = (ctx) => ctx.channels.filter((one) => !one.is_im).map((one) => ({ id: one.id, label: `#${one.name}` }));

function choices(spec, block, ctx, input, type, key) {
  const kept = ctx.form?.kept(block.block_id, spec.action_id)?.[key];
  const first = [kept ?? spec.initial_options ?? spec.initial_option ?? []].flat().map((one) => one?.value);
  const name = nextId();
  const boxes = (spec.options ?? []).map((option) => ({
    option,
    node: h("input", { type, name, value: option.value, checked: first.includes(option.value) }),
  }));
  const group = h("div", {
    class: "choices", role: type === "radio" ? "radiogroup" : "group", data: mark(spec, block),
    "aria-label": plain(block.label?.text) || plain(spec.placeholder?.text) || spec.action_id || "Options",
  }, boxes.map(({ option, node }) => h("label", {}, node, h("span", {}, plainNodes(option.text?.text),
    option.description && h("small", {}, plain(option.description.text))))));
  const read = () => {
    const chosen = boxes.filter((one) => one.node.checked).map((one) => one.option);
    return { [key]: key === "selected_option" ? (chosen[0] ?? null) : chosen };
  };
  register(spec, block, ctx, group, read);
  if (!input || block.dispatch_action) group.addEventListener("change", () => send(ctx, spec, block, group, read()));
  return group;
}

/** Date, time and both; the last one is unix seconds on the wire. */
function picker(type, key, initial) {
  return (spec, block, ctx, input) => {
    const first = ctx.form?.kept(block.block_id, spec.action_id)?.[key] ?? spec[initial];
    const node = h("input", { type });
    node.value = type === "datetime-local" ? localStamp(first) : (first ?? "");
    const read = () => (type === "datetime-local" ? (node.value ? Math.floor(new Date(node.value).getTime() / 1000) : null) : node.value || null);
    return field(spec, block, ctx, input, node, () => ({ [key]: read() }));
  };
}

function localStamp(seconds) {
  if (!seconds) return "";
  const date = new Date(seconds * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

function picture(spec) {
  return image(spec);
}

/** An image by address; when it can't be loaded its alternative text stands there instead. */
export function image(spec, className = "inline-image") {
  const address = spec.image_url ?? spec.slack_file?.url;
  const alt = String(spec.alt_text ?? "");
  const missing = () => h("span", { class: "image-missing" }, address ? link(address, alt || "image") : alt || "image");
  if (!safeUrl(address)) return missing();
  const node = h("img", { class: className, src: safeUrl(address), alt, loading: "lazy", referrerpolicy: "no-referrer" });
  node.addEventListener("error", () => node.replaceWith(missing()), { once: true });
  return node;
}

const TABLE = {
  button,
  feedback_buttons: feedbackButtons,
  icon_button: iconButton,
  overflow,
  image: picture,
  plain_text_input: textInput,
  number_input: textInput,
  email_text_input: textInput,
  url_text_input: textInput,
  static_select: staticSelect,
  multi_static_select: multiStaticSelect,
  users_select: listSelect("selected_user", people),
  channels_select: listSelect("selected_channel", rooms),
  conversations_select: listSelect("selected_conversation", rooms),
  radio_buttons: (spec, block, ctx, input) => choices(spec, block, ctx, input, "radio", "selected_option"),
  checkboxes: (spec, block, ctx, input) => choices(spec, block, ctx, input, "checkbox", "selected_options"),
  datepicker: picker("date", "selected_date", "initial_date"),
  timepicker: picker("time", "selected_time", "initial_time"),
  datetimepicker: picker("datetime-local", "selected_date_time", "initial_date_time"),
};
