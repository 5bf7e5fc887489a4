// Elements, made without HTML: whatever is text becomes text that is seen, whoever has written it.

import { visible } from "./format.js";

const asParts = (children) => children.flat(Infinity)
  .filter((each) => each !== null && each !== undefined)
  .map((each) => (typeof each === "string" ? visible(each) : each));

/** h("a", {class: "x", href: "#/", onclick: f}, "text", child, [more], null) */
export function h(name, facts, ...children) {
  const made = document.createElement(name);
  for (const [fact, value] of Object.entries(facts ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (fact.startsWith("on")) made.addEventListener(fact.slice(2), value);
    else made.setAttribute(fact, value === true ? "" : value);
  }
  made.append(...asParts(children));
  return made;
}

/** Only what has changed is written: a selection, a focus and a screen reader stay where they are. */
export function setText(element, text) {
  const seen = visible(text);
  if (element.textContent !== seen) element.textContent = seen;
}

export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

/** What is shown from now on in place of whatever was there. */
export function show(element, ...children) {
  element.replaceChildren(...asParts(children));
}

/** Rows that stay the same elements while what they show changes. `update(row, item)`; `make(item)`. */
export function keyed(container, keyOf, make, update) {
  const known = new Map();
  return (items) => {
    const seen = new Set();
    let at = container.firstElementChild;
    for (const item of items) {
      const key = keyOf(item);
      seen.add(key);
      let row = known.get(key);
      if (!row) known.set(key, (row = make(item)));
      if (row.element === at) at = at.nextElementSibling;
      else container.insertBefore(row.element, at);
      update(row, item);
    }
    for (const [key, row] of known) {
      if (seen.has(key)) continue;
      row.element.remove();
      known.delete(key);
    }
  };
}

/** Terms and numbers; the answer writes them anew. */
export function figure(list, entries) {
  const cells = entries.map(([title, text]) => {
    const value = h("dd", null, "–");
    list.append(h("div", null, h("dt", null, title), value));
    return [value, text];
  });
  return (of) => cells.forEach(([value, text]) => setText(value, text(of)));
}
