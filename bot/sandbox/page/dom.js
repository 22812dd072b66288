// The only place that makes elements. Message text is untrusted, so children are always text nodes or elements
// made here; nothing in the page parses markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "on") for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    else if (key === "data") for (const [name, text] of Object.entries(value)) setData(node, name, text);
    else if (key in PROPERTIES) node[key] = value;
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  append(node, children);
  return node;
}

const PROPERTIES = { value: 1, checked: 1, selected: 1, disabled: 1, textContent: 1, multiple: 1, open: 1 };

function setData(node, name, text) {
  if (text !== undefined && text !== null) node.setAttribute(`data-${name}`, String(text));
}

export function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** h("button", {class, data: {}, on: {click}}, ...children) */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

export function fragment(...children) {
  return append(document.createDocumentFragment(), children);
}

/** The address when it is http(s), else null: nothing else may become a link or an image. */
export function safeUrl(text) {
  try {
    const url = new URL(String(text));
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

// A permalink of this workspace, which exists on this page only.
const HERE = /^https:\/\/sandbox\.slack\.com\/archives\/(\w+)\/p(\d{10})(\d{6})(?:\?thread_ts=(\d+\.\d+))?/;

export function link(href, ...children) {
  const url = safeUrl(href);
  const here = HERE.exec(url ?? "");
  if (here) return h("a", { href: `#${here[1]}/${here[4] ?? `${here[2]}.${here[3]}`}` }, ...children);
  if (!url) return h("span", { class: "not-a-link" }, ...children);
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow", title: url }, ...children);
}
