// Tables, live ones and those that are shown once. Every cell is text, whoever has written it.

import { addressOfKey } from "./api.js";
import { h, keyed, setText } from "./dom.js";
import { clock, micros } from "./format.js";

/** Of this item the key, which leads to its view. */
export const KEY = ["Key", null, "key"];

/** `columns`: [title, text(item), class], or KEY. */
export function table(columns, keyOf, caption) {
  const body = h("tbody");
  const element = h(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      { class: "requests" },
      h("thead", null, h("tr", null, columns.map(([title, , kind]) => h("th", { scope: "col", class: kind }, title)))),
      body,
    ),
  );
  const make = (item) => {
    const cells = columns.map(([, text, kind]) => h("td", { class: kind }, text ? null : keyOfItem(item)));
    return { cells, element: h("tr", null, cells) };
  };
  const write = (row, item) => columns.forEach(([, text], at) => text && setText(row.cells[at], text(item)));
  return { element, update: keyed(body, keyOf, make, write) };
}

/** `item`: {key, key_base64}. Its view is of `pool`, or of the pool that its prefix names. */
export const keyLink = (item, pool = "") =>
  h("a", { href: addressOfKey(item.key_base64, pool) }, item.key);

function keyOfItem(item) {
  const link = item.key_base64 ? keyLink(item) : "–";
  return [link, item.keys > 1 ? ` and ${item.keys - 1} more, ${item.found} found` : null];
}

/** Shown once; on a phone every row becomes a card. `columns`: [title, cell(item), class]; the first names the row. */
export function sheet(columns, items, caption) {
  // Roles, because as cards they are no table's boxes any more.
  const cell = (item, [title, text, kind], at) => at === 0
    ? h("th", { scope: "row", role: "rowheader", class: kind }, text(item))
    : h("td", { role: "cell", class: kind, "data-title": title }, text(item));
  const titles = columns.map(([title, , kind]) => h("th", { scope: "col", role: "columnheader", class: kind }, title));
  const rows = items.map((item) => h("tr", { role: "row" }, columns.map((column, at) => cell(item, column, at))));
  return h(
    "div",
    { class: "wide" },
    h(
      "table",
      { class: "cards sheet", role: "table", "aria-label": caption },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, titles)),
      h("tbody", { role: "rowgroup" }, rows),
    ),
  );
}

/** A share of the most that is drawn, beside its number. `chance`: [low, high], what would be no surprise. */
export function bar(part, most, chance = null) {
  if (part === null) return null;
  const across = (ratio) => `${most > 0 ? Math.min(100, (100 * ratio) / most) : 0}%`;
  const filled = h("span", { class: "filled" });
  filled.style.width = across(part);
  const element = h("div", { class: "bar", "aria-hidden": "true" }, filled);
  if (chance === null) return element;
  const [low, high] = chance;
  const band = h("span", { class: "chance" });
  band.style.left = across(low);
  band.style.width = across(high - low);
  element.append(band);
  return element;
}

/** What slow requests and tapped ones have in common. */
export const REQUEST_COLUMNS = [
  ["When", (each) => clock(each.ended_s)],
  ["Took", (each) => micros(each.us), "number"],
  KEY,
  ["Verb", (each) => each.verb],
  ["Result", (each) => each.result],
  ["Where the time went", (each) => each.phases.map((phase) => phaseText(phase, each.phases.length > 1)).join(", ")],
  ["Client", (each) => each.client || "–"],
];

function phaseText(phase, isOneOfSome) {
  const where = phase.server ?? "–";
  if (!isOneOfSome) return where;
  return `${phase.what === "first" ? "" : `${phase.what} `}${where} ${micros(phase.us)}`;
}
