// Live tables of keys and requests. Every cell is text, whoever has written it.

import { addressOfKey } from "./api.js";
import { h, keyed, setText } from "./dom.js";
import { clock, micros, visible } from "./format.js";

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

function keyOfItem(item) {
  const link = item.key_base64 ? h("a", { href: addressOfKey(item.key_base64) }, visible(item.key)) : "–";
  return [link, item.keys > 1 ? ` and ${item.keys - 1} more, ${item.found} found` : null];
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
