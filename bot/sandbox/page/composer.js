// The message box: Enter sends, Shift+Enter makes a line, "/" lists commands, a text file can go along.

import { h } from "./dom.js";
import { glyph } from "./glyphs.js";

const FILE_LIMIT = 1_000_000; // bytes of a log that the page reads; the sandbox keeps it in memory

/** options = {label, testid, id, commands(), onSend(text, file) -> Promise<boolean>, toast(text)} */
export function createComposer(options) {
  let file = null;
  const box = h("textarea", { id: options.id, rows: 1, dir: "auto", "aria-label": options.label, placeholder: options.label, maxlength: 12000, data: { testid: options.testid } });
  const picker = h("input", { type: "file", class: "sr-only", tabindex: "-1", "aria-label": "Choose a text file", data: { testid: `${options.testid}-file` } });
  const attach = h("button", { type: "button", class: "btn icon", "aria-label": "Add a text file", title: "Add a text file", on: { click: () => picker.click() } }, glyph("paperclip", { decorative: true }));
  const send = h("button", { type: "submit", class: "btn primary", data: { testid: `${options.testid}-send` } }, "Send");
  const chosen = h("div", { class: "chosen", hidden: true });
  const suggestions = h("div", { class: "suggestions", hidden: true });
  const form = h("form", { class: "composer", on: { submit: (event) => (event.preventDefault(), submit()) } },
    suggestions, chosen, h("div", { class: "composer-row" }, attach, picker, box, send));

  const fit = () => {
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight + 2, 220)}px`;
  };

  const setFile = (next) => {
    file = next;
    chosen.hidden = !next;
    chosen.replaceChildren(...(next ? [h("span", {}, next.name), h("button", { type: "button", class: "text-button", on: { click: () => setFile(null) } }, "remove")] : []));
  };

  const suggest = () => {
    const text = box.value;
    const rows = /^\/\S*$/.test(text) ? options.commands().filter((one) => one.command.startsWith(text) && one.command !== text) : [];
    suggestions.hidden = !rows.length;
    suggestions.replaceChildren(...rows.map((one) => h("button", {
      type: "button",
      on: {
        click: () => {
          box.value = `${one.command} `;
          suggestions.hidden = true;
          box.focus();
        },
      },
    }, h("strong", {}, one.command), one.hint && h("span", {}, ` ${one.hint}`))));
  };

  async function submit() {
    const text = box.value.trim();
    if (!text && !file) return;
    const sent = file;
    box.value = "";
    setFile(null);
    suggestions.hidden = true;
    fit();
    if (await options.onSend(text, sent)) return;
    // What could not be sent comes back instead of being lost.
    if (!box.value) box.value = text;
    if (sent) setFile(sent);
    fit();
  }

  box.addEventListener("input", () => (fit(), suggest()));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape" && !suggestions.hidden) {
      event.stopPropagation();
      suggestions.hidden = true;
    }
  });
  picker.addEventListener("change", async () => {
    const [first] = picker.files;
    picker.value = "";
    if (!first) return;
    if (first.size > FILE_LIMIT) options.toast("That file is larger than 1 MB; the sandbox takes text files up to that size.");
    else setFile({ name: first.name, content: await first.text() });
  });
  const relabel = (label) => {
    box.placeholder = label;
    box.setAttribute("aria-label", label);
  };
  return { form, box, relabel, text: () => box.value, setText: (text) => ((box.value = text), fit()) };
}
