// What would a change of a pool move? Nothing is changed by asking.

import { get, problemOf } from "./api.js";
import { h, show } from "./dom.js";
import { count, percent } from "./format.js";

const DISTRIBUTIONS = ["ketama", "modula", "consistent", "magent-ketama", "jump", "rendezvous"];
const CHANGES = [["remove", "remove the server"], ["add", "add a server at"], ["distribution", "change the distribution to"]];

const options = (pairs) => pairs.map(([value, text]) => h("option", { value }, text));

export function whatIf(root, live) {
  const pool = h("select", { id: "pool" });
  const what = h("select", { id: "what" }, options(CHANGES));
  const place = h("span");
  // Until it is known which servers there are.
  const button = h("button", { class: "main", disabled: true }, "Count");
  const result = h("div", { "aria-live": "polite" });
  const form = h(
    "form",
    { class: "line" },
    h("label", { for: "pool" }, "In pool"), pool,
    h("label", { for: "what", class: "sr" }, "Change"), what,
    place,
    button,
  );
  let pools = [];
  let value = null;

  function offer() {
    const servers = pools.find((each) => each.name === pool.value)?.servers.filter((each) => !each.backup) ?? [];
    const facts = { id: "value", "aria-label": "Which", required: true };
    if (what.value === "add") value = h("input", { ...facts, placeholder: "host:port", autocomplete: "off" });
    else if (what.value === "remove") value = h("select", facts, options(servers.map((each) => [each.name, each.name])));
    else value = h("select", facts, options(DISTRIBUTIONS.map((each) => [each, each])));
    show(place, value);
  }

  pool.addEventListener("change", offer);
  what.addEventListener("change", offer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    show(result, h("p", { class: "soft" }, "The servers are asked which keys they have…"));
    try {
      const wish = new URLSearchParams({ pool: pool.value, what: what.value, value: value.value });
      show(result, shown(await get(`v1/what-if?${wish}`)));
    } catch (error) {
      show(result, h("p", { class: "health bad" }, problemOf(error)));
    }
  });
  show(
    root,
    h("h1", null, "What if"),
    h("p", { class: "soft" }, "Counted on a sample of the keys that the servers have. Nothing is changed."),
    form,
    result,
  );
  return live.listen((frame) => {
    if (!frame || pools.length) return;
    pools = frame.pools;
    pool.append(...options(pools.map((each) => [each.name, each.name])));
    offer();
    button.disabled = false;
  });
}

function shown(found) {
  const notAsked = found.not_asked.length
    ? h("p", { class: "soft" }, `Not asked, as they are not up or refuse to list keys: ${found.not_asked.join(", ")}.`)
    : null;
  if (!found.keys) return [h("p", { class: "health plain" }, "There are no keys to count."), notAsked];
  const share = (keys) => percent(keys / found.keys);
  return [
    h("p", { class: `health ${found.moved ? "busy" : "good"}` },
      found.moved ? `${share(found.moved)} of the keys would have another owner.` : "No key would have another owner."),
    h("p", null, `Of ${count(found.keys)} keys ${count(found.moved)} would move; of ${count(found.copies_moved)} the copy would be elsewhere; ` +
      `${count(found.lost)} would miss until they are written anew.`),
    notAsked,
    found.ways.length ? h("div", { class: "wide" }, waysTable(found, share)) : null,
  ];
}

function waysTable(found, share) {
  const cells = (way) => [way.came_from, way.to, count(way.keys), share(way.keys)];
  const kind = (at) => (at > 1 ? "number" : null);
  return h(
    "table",
    { class: "requests" },
    h("thead", null, h("tr", null, ["From", "To", "Keys of the sample", "Of all"].map((title, at) => h("th", { scope: "col", class: kind(at) }, title)))),
    h("tbody", null, found.ways.map((way) => h("tr", null, cells(way).map((each, at) => h("td", { class: kind(at) }, each))))),
  );
}
