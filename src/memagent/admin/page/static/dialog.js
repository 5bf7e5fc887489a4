// A question before anything is done: what it will do, then yes or no. Escape is no.

import { problemOf } from "./api.js";
import { h, setText } from "./dom.js";

/**
 * Ask, do it, and show what came of it. `act(values)` gives a sentence, or throws what is said in the dialog.
 * `fields`: [{name, label, value, required}]; a boolean value makes a box to tick. `back`: what has the focus
 * afterwards if the button that asked is there no longer.
 */
export function ask({ title, text, label, act, fields = [], isDanger = false, back = () => document.getElementById("view") }) {
  const asker = document.activeElement;
  const said = h("p", { class: "error", role: "alert" });
  const inputs = fields.map(makeField);
  const yes = h("button", { class: isDanger ? "danger" : "main" }, label);
  const no = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const done = h("p", { role: "status" });
  const buttons = h("div", { class: "buttons" }, yes, no);
  const form = h(
    "form",
    null,
    h("h2", { id: "question" }, title),
    h("p", null, text),
    inputs.map((each) => each.element),
    said,
    done,
    buttons,
  );
  const dialog = h("dialog", { "aria-labelledby": "question" }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (done.textContent) {
      dialog.close();
      return;
    }
    setText(said, "");
    yes.disabled = true;
    try {
      const values = Object.fromEntries(inputs.map((each) => [each.name, each.value()]));
      setText(done, await act(values));
      buttons.replaceChildren(h("button", { class: "main" }, "Close"));
      buttons.firstElementChild.focus();
    } catch (error) {
      setText(said, problemOf(error));
      if (error.canForce) {
        setText(yes, `${label} nevertheless`);
        yes.className = "danger";
        inputs.push({ name: "force", value: () => true });
      }
    } finally {
      yes.disabled = false;
    }
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (!asker.isConnected) back()?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}

function makeField({ name, label, value, required }) {
  const id = `field-${name}`;
  if (typeof value === "boolean") {
    const box = h("input", { type: "checkbox", id, checked: value });
    return { name, value: () => box.checked, element: h("p", null, box, " ", h("label", { for: id }, label)) };
  }
  const input = h("input", { id, value, required, autocomplete: "off" });
  return { name, value: () => input.value, element: h("p", null, h("label", { for: id }, label), input) };
}
