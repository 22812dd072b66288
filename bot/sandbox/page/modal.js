// Modals opened by the bot (views.open, update, push) and the confirmation of a button, both as native dialogs:
// the browser keeps focus inside, gives it back afterwards and reports Esc as "cancel".

import { h } from "./dom.js";
import { renderBlocks } from "./blocks.js";
import { Form } from "./elements.js";
import { mrkdwn, plain } from "./mrkdwn.js";

/** actions = {submit(viewId, values), close(viewId), act(view, form, action, node, confirm), context()} */
export function createModal(dialog, actions) {
  let current = null;
  const forms = new Map(); // view id -> Form, so that values survive views.update and coming back from a pushed view

  const close = async () => {
    const view = current;
    if (!view) return;
    show(null);
    await actions.close(view.id);
  };

  const submit = async (form, button) => {
    const view = current;
    clearErrors(dialog);
    const missing = incomplete(view, form);
    if (showErrors(dialog, missing)) return;
    button.disabled = true;
    dialog.setAttribute("aria-busy", "true");
    try {
      const answer = await actions.submit(view.id, form.values());
      const refused = showErrors(dialog, answer.errors ?? {});
      if (!refused && answer.acknowledged === false) problem(dialog, "The app did not answer in time. Your input is kept; try again.");
    } catch (error) {
      problem(dialog, error.message);
    } finally {
      button.disabled = false;
      dialog.removeAttribute("aria-busy");
    }
  };

  const draw = (view) => {
    const form = new Form(forms.get(view.id));
    forms.set(view.id, form);
    const context = actions.context();
    const ctx = { ...context, form, act: (action, node, confirm) => actions.act(view, form, action, node, confirm) };
    const send = view.submit && h("button", { type: "submit", class: "btn primary", data: { testid: "modal-submit" } }, plain(view.submit.text));
    return h("form", { novalidate: true, data: { "view-id": view.id }, on: { submit: (event) => (event.preventDefault(), submit(form, send)) } },
      h("div", { class: "modal-head" }, h("h2", { id: "modal-title", dir: "auto" }, plain(view.title?.text)),
        h("button", { type: "button", class: "btn icon", "aria-label": "Close", on: { click: close } }, "✕")),
      h("div", { class: "modal-body", tabindex: "0", role: "group", "aria-labelledby": "modal-title" }, h("div", { class: "modal-problem", role: "alert" }), renderBlocks(view.blocks, ctx)),
      h("div", { class: "modal-foot" },
        h("button", { type: "button", class: "btn", data: { testid: "modal-close" }, on: { click: close } }, plain(view.close?.text) || "Close"), send));
  };

  function show(view) {
    if (!view) {
      current = null;
      if (dialog.open) dialog.close();
      return;
    }
    if (current && JSON.stringify(current) === JSON.stringify(view)) return;
    const focusId = document.activeElement?.dataset?.actionId;
    const fresh = current?.id !== view.id;
    current = view;
    dialog.replaceChildren(draw(view));
    if (!dialog.open) dialog.showModal();
    const target = (!fresh && focusId && dialog.querySelector(`[data-action-id="${CSS.escape(focusId)}"]`)) || dialog.querySelector(".modal-body :is(input, textarea, select)") || dialog.querySelector(".modal-foot .btn");
    target?.focus();
  }

  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    close();
  });
  // A second Esc in a row closes a dialog without "cancel"; the bot must hear of that too.
  dialog.addEventListener("close", () => close());
  return { show, current: () => current };
}

/** What Slack's client checks before it sends: required fields and lengths. */
function incomplete(view, form) {
  const values = form.values();
  const errors = {};
  for (const block of view.blocks ?? []) {
    if (block.type !== "input") continue;
    const given = values[block.block_id]?.[block.element?.action_id] ?? {};
    const value = Object.entries(given).find(([key]) => key !== "type")?.[1];
    const empty = value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length);
    if (empty && !block.optional) errors[block.block_id] = "Please complete this required field.";
    else if (!empty && typeof value === "string") {
      const { min_length: min, max_length: max, min_value: low, max_value: high, type } = block.element;
      if (min && value.length < min) errors[block.block_id] = `Please enter at least ${min} characters.`;
      if (max && value.length > max) errors[block.block_id] = `Please enter at most ${max} characters.`;
      if (type === "number_input" && Number.isNaN(Number(value))) errors[block.block_id] = "Please enter a number.";
      if (type === "number_input" && low !== undefined && Number(value) < Number(low)) errors[block.block_id] = `Please enter ${low} or more.`;
      if (type === "number_input" && high !== undefined && Number(value) > Number(high)) errors[block.block_id] = `Please enter ${high} or less.`;
    }
  }
  return errors;
}

function clearErrors(dialog) {
  for (const node of dialog.querySelectorAll(".field-error, .modal-problem")) node.textContent = "";
  for (const node of dialog.querySelectorAll("[aria-invalid]")) node.removeAttribute("aria-invalid");
}

function showErrors(dialog, errors) {
  const entries = Object.entries(errors);
  for (const [blockId, message] of entries) {
    const block = dialog.querySelector(`[data-input-block="${CSS.escape(blockId)}"]`);
    if (!block) {
      problem(dialog, String(message));
      continue;
    }
    block.querySelector(".field-error").textContent = String(message);
    block.querySelector("input, textarea, select")?.setAttribute("aria-invalid", "true");
  }
  dialog.querySelector("[aria-invalid]")?.focus();
  return entries.length > 0;
}

function problem(dialog, message) {
  const node = dialog.querySelector(".modal-problem");
  if (node) node.textContent = message;
}

/** Asks as Slack's confirm object says; resolves to true only on the confirming button. */
export function ask(dialog, spec, names) {
  return new Promise((resolve) => {
    let answer = false;
    const finish = (value) => {
      answer = value;
      dialog.close();
    };
    dialog.replaceChildren(h("div", { class: "modal-frame" },
      h("div", { class: "modal-head" }, h("h2", { id: "confirm-title", dir: "auto" }, plain(spec.title?.text) || "Are you sure?")),
      h("div", { class: "modal-body" }, spec.text?.type === "mrkdwn" ? mrkdwn(spec.text.text, names) : plain(spec.text?.text)),
      h("div", { class: "modal-foot" },
        h("button", { type: "button", class: "btn", data: { testid: "confirm-deny" }, on: { click: () => finish(false) } }, plain(spec.deny?.text) || "Cancel"),
        h("button", {
          type: "button", class: `btn ${spec.style === "danger" ? "danger" : "primary"}`, data: { testid: "confirm-yes" }, on: { click: () => finish(true) },
        }, plain(spec.confirm?.text) || "Yes"))));
    dialog.addEventListener("close", () => resolve(answer), { once: true });
    dialog.showModal();
    dialog.querySelector('[data-testid="confirm-yes"]').focus();
  });
}
