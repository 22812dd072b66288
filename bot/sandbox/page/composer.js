// The message box: Enter sends, Shift+Enter makes a line, a text file can go along. "/" lists commands, "@" people and
// "#" channels: arrow keys choose, Enter or Tab takes, Escape leaves them.

import { h } from "./dom.js";
import { glyph } from "./glyphs.js";

const FILE_LIMIT = 1_000_000; // bytes of a log that the page reads; the sandbox keeps it in memory

const MOST_SUGGESTIONS = 6;

/** options = {label, testid, id, commands(), people(), channels(), onSend(text, file) -> Promise<boolean>, toast(text)} */
export function createComposer(options) {
  let file = null;
  const box = h("textarea", { id: options.id, rows: 1, dir: "auto", "aria-label": options.label, placeholder: options.label, maxlength: 12000, "aria-controls": `${options.id}-suggestions`, "aria-autocomplete": "list", data: { testid: options.testid } });
  const picker = h("input", { type: "file", class: "sr-only", tabindex: "-1", "aria-label": "Choose a text file", data: { testid: `${options.testid}-file` } });
  const attach = h("button", { type: "button", class: "btn icon", "aria-label": "Add a text file", title: "Add a text file", on: { click: () => picker.click() } }, glyph("paperclip", { decorative: true }));
  const send = h("button", { type: "submit", class: "btn primary", data: { testid: `${options.testid}-send` } }, "Send");
  const chosen = h("div", { class: "chosen", hidden: true });
  const suggestions = h("div", { class: "suggestions", id: `${options.id}-suggestions`, role: "listbox", "aria-label": "Suggestions", hidden: true, data: { testid: `${options.testid}-suggestions` } });
  let offered = [];
  let active = 0;
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

  /** What could complete the word before the caret: [{word, hint}], and where that word begins. */
  const matching = () => {
    const before = box.value.slice(0, box.selectionStart);
    if (/^\/\S*$/.test(before)) return [options.commands().map((one) => ({ word: one.command, hint: one.hint })), 0];
    const named = /(?:^|\s)([@#][\w.-]*)$/.exec(before);
    if (!named) return [[], 0];
    const words = named[1][0] === "@" ? options.people().map((one) => ({ word: `@${one.name}`, hint: one.real_name })) : options.channels().map((one) => ({ word: `#${one.name}`, hint: "" }));
    return [words, before.length - named[1].length];
  };

  const suggest = () => {
    const [words, start] = matching();
    const typed = box.value.slice(start, box.selectionStart).toLowerCase();
    // A word that is complete needs no help, and Enter has to send it.
    offered = words.some((one) => one.word === typed) ? [] : words.filter((one) => one.word.startsWith(typed)).slice(0, MOST_SUGGESTIONS);
    active = 0;
    show();
  };

  const show = () => {
    suggestions.hidden = !offered.length;
    suggestions.replaceChildren(...offered.map((one, index) => h("div", {
      role: "option", id: `${options.id}-suggestion-${index}`, "aria-selected": String(index === active),
      // Before the box loses the focus, which a click would take.
      on: { mousedown: (event) => (event.preventDefault(), take(index)) },
    }, h("strong", {}, one.word), one.hint && h("span", {}, ` ${one.hint}`))));
    if (offered.length) box.setAttribute("aria-activedescendant", `${options.id}-suggestion-${active}`);
    else box.removeAttribute("aria-activedescendant");
  };

  const take = (index) => {
    const [, start] = matching();
    const { word } = offered[index];
    box.setRangeText(`${word} `, start, box.selectionStart, "end");
    leave();
    fit();
  };

  const leave = () => {
    offered = [];
    show();
  };

  /** Whether the key was for the suggestions. */
  const chose = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!offered.length || event.isComposing) return false;
    if (step) active = (active + step + offered.length) % offered.length;
    else if (event.key === "Enter" || event.key === "Tab") take(active);
    else if (event.key === "Escape") leave();
    else return false;
    event.preventDefault();
    event.stopPropagation();
    show();
    return true;
  };

  async function submit() {
    const text = box.value.trim();
    if (!text && !file) return;
    const sent = file;
    box.value = "";
    setFile(null);
    leave();
    fit();
    if (await options.onSend(text, sent)) return;
    // What could not be sent comes back instead of being lost.
    if (!box.value) box.value = text;
    if (sent) setFile(sent);
    fit();
  }

  box.addEventListener("input", () => (fit(), suggest()));
  box.addEventListener("keydown", (event) => {
    if (!chose(event) && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
  });
  box.addEventListener("blur", leave);
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
