// One key: where it belongs, what is there now, its value; set or delete it.

import { addressOfKey, ask, bytesOf, fromTyped, get, problemOf, textToBase64, toBase64Url, typeable } from "./api.js";
import { ask as question } from "./dialog.js";
import { h, setText, show } from "./dom.js";
import { bytes, count, forHowLong } from "./format.js";
import { kindOf, shapes } from "./values.js";

const VERDICTS = {
  agree: ["good", "Owner and copy have the same."],
  differ: ["bad", "Owner and copy differ"],
  missing_copy: ["busy", "The owner has it, its copy does not."],
  missing_owner: ["busy", "The copy has it, its owner does not."],
  nowhere: ["plain", "It is nowhere: it was never set, or it has expired or been deleted."],
  no_copy: ["plain", "This pool has no copies."],
  not_known: ["bad", "A server did not answer, so what it has is not known."],
};
const FOREVER = -1;
// A request has 64 KiB, and base64 takes a third more.
const MOST_SET_BYTES = 48000;

export function key(root, live, session, base64 = "", pool = "") {
  const typed = h("input", { id: "key", value: typeable(base64), autocomplete: "off", spellcheck: "false", required: true });
  const pools = h("select", { id: "pool" }, h("option", { value: "" }, "by its prefix"));
  const choice = h("span", { hidden: true }, h("label", { for: "pool" }, "Pool"), " ", pools);
  const form = h(
    "form",
    { class: "line" },
    h("label", { for: "key" }, "Key"),
    typed,
    choice,
    h("button", { class: "main" }, "Look"),
  );
  const result = h("div", { "aria-live": "polite" });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const address = addressOfKey(fromTyped(typed.value, base64), pools.value);
    if (address === location.hash) look();
    else location.hash = address;
  });
  const unlisten = live.listen((frame) => {
    if (!frame || !choice.hidden || frame.pools.length < 2) return;
    // At the address of all pools the prefix decides, and no choice of ours.
    const named = frame.pools.map((each) => [each.name, each.has_address]).filter(([name, has]) => has || name === pool);
    if (!named.length) return;
    pools.append(...named.map(([name]) => h("option", { value: name }, name)));
    pools.value = pool;
    choice.hidden = false;
  });
  show(root, h("h1", null, "Key"), form, result);

  const path = `v1/keys/${toBase64Url(base64)}?base64=true${pool ? `&pool=${encodeURIComponent(pool)}` : ""}`;
  async function look() {
    try {
      show(result, shown(await get(`${path}&value=true`)));
    } catch (error) {
      show(result, h("p", { class: "health bad" }, problemOf(error)));
    }
  }

  function shown(found) {
    const holders = [found.owner, found.copy].filter(Boolean);
    const first = holders.find((each) => each.value);
    const [how, verdict] = VERDICTS[found.verdict];
    const differs = found.differs_in.length ? ` in ${found.differs_in.join(", ")}.` : "";
    return [
      h("h2", { class: "key-name", tabindex: "-1" }, found.key),
      h("p", { class: `health ${how}` }, verdict + differs),
      found.reachable ? null : h("p", { class: "health busy" }, "No client reaches this key in this pool: its prefix leads to another one."),
      facts(found),
      h("div", { class: "wide" }, holdersTable(found)),
      (found.verdict === "differ" ? holders : [first]).filter((each) => each?.value).map(valueOf),
      found.reachable ? changeable(found, first) : null,
    ];
  }

  function changeable(found, first) {
    return session.role === "operator" ? changes(found, first) : h("p", { class: "soft" }, "To set or delete it, log in as operator.");
  }

  function changes(found, first) {
    const value = h("textarea", { id: "value", rows: 4, spellcheck: "false" });
    const number = { inputmode: "numeric", pattern: "[0-9]+", required: true, autocomplete: "off" };
    // Old flags may say that the value is serialised or compressed, which text is not.
    const flags = h("input", { id: "flags", ...number, value: "0" });
    const oldFlags = first?.flags ? h("p", { class: "soft" }, `It has flags ${first.flags} now: to its clients they may say how the value is encoded. Plain text has 0.`) : null;
    const expiry = h("input", { id: "expiry", ...number, value: toLive(first) });
    const said = h("p", { class: "error", role: "alert" });
    const set = h("form", { class: "set" },
      h("label", { for: "value" }, "New value, as text"), value,
      h("label", { for: "flags" }, "Flags"), flags, oldFlags,
      h("label", { for: "expiry" }, "Expires in seconds (0: never)"), expiry,
      h("div", { class: "buttons" }, h("button", null, "Set…"),
        h("button", { type: "button", class: "danger", onclick: remove }, "Delete…")),
      said,
    );
    set.addEventListener("submit", (event) => {
      event.preventDefault();
      const size = new TextEncoder().encode(value.value).length;
      setText(said, size > MOST_SET_BYTES ? `That is ${bytes(size)}; here a value has at most ${bytes(MOST_SET_BYTES)}.` : "");
      if (size > MOST_SET_BYTES) return;
      question({
        title: `Set ${found.key}?`,
        text: `Its value becomes ${bytes(size)} of text, on its owner and its copy, as if a client had set it. What is there now is lost.`,
        label: "Set it",
        back: () => result.querySelector(".key-name"),
        act: async () => {
          const body = { value_base64: textToBase64(value.value), flags: Number(flags.value), expiry_s: Number(expiry.value) };
          const { reply } = await ask("PUT", path, body);
          await look();
          return `The proxy says ${reply}.`;
        },
      });
    });
    function remove() {
      question({
        title: `Delete ${found.key}?`,
        text: "It is deleted on its owner and its copy, as if a client had deleted it.",
        label: "Delete it",
        back: () => result.querySelector(".key-name"),
        isDanger: true,
        act: async () => {
          const { reply } = await ask("DELETE", path);
          await look();
          return `The proxy says ${reply}.`;
        },
      });
    }
    return h("details", null, h("summary", null, "Set or delete it"), set);
  }

  if (base64) look();
  else typed.focus();
  return unlisten;
}

/** Seconds, as it has them now; empty where no server tells, so that nobody makes it live for ever unasked. */
function toLive(holder) {
  if (!holder || holder.ttl_s === FOREVER) return "0";
  return holder.ttl_s === null ? "" : String(Math.max(1, holder.ttl_s));
}

function facts(found) {
  const list = h("dl", { class: "figures" });
  const entries = [
    ["Pool", found.pool + (found.prefix ? ` (by ${found.prefix})` : "")],
    ["Hash", `${found.hash} (${found.key_hash})`],
    ["Point on the ring", found.point === null ? `none: ${found.distribution}` : `${found.point} (${found.distribution})`],
    ["Owner", found.owner.name],
    ["Copy", found.copy ? found.copy.name : "none"],
  ];
  if (found.stored_key !== found.key) entries.push(["Stored as", found.stored_key]);
  list.append(...entries.map(([title, text]) => h("div", null, h("dt", null, title), h("dd", null, text))));
  return list;
}

function holdersTable(found) {
  const titles = ["", "Server", "Has it", "Size", "Flags", "Lives", "Last asked for", "State"];
  const row = (role, holder) => {
    const ttl = holder.ttl_s === null ? "not told" : holder.ttl_s === FOREVER ? "for ever" : forHowLong(holder.ttl_s);
    const idle = holder.idle_s === null ? "not told" : `${forHowLong(holder.idle_s)} ago`;
    const has = holder.problem ? `not known: ${holder.problem}` : holder.present ? (holder.stale ? "yes, stale" : "yes") : "no";
    const cells = [`${holder.name} (${holder.address})`, has];
    if (holder.present) cells.push(bytes(holder.size_bytes), count(holder.flags), ttl, idle);
    else cells.push("–", "–", "–", "–");
    return h("tr", null, h("th", { scope: "row" }, role), [...cells, holder.state].map((each) => h("td", null, each)));
  };
  return h(
    "table",
    null,
    h("thead", null, h("tr", null, titles.map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", null, row("Owner", found.owner), found.copy ? row("Copy", found.copy) : null),
  );
}

function valueOf(holder) {
  const data = bytesOf(holder.value.base64);
  const place = h("pre", { class: "value", tabindex: "0", "aria-label": "Value" });
  const known = shapes(data, holder.value.is_whole);
  const choose = (shape) => {
    // As it is: some languages need what is not seen, and it steers nothing beyond this box.
    place.textContent = shape.text();
    place.className = shape.title === "Hex" ? "value hex" : "value";
    for (const each of buttons.children) each.setAttribute("aria-pressed", String(each.textContent === shape.title));
  };
  const buttons = h("div", { class: "choice", role: "group", "aria-label": "Shown as" },
    known.map((shape) => h("button", { type: "button", onclick: () => choose(shape) }, shape.title)));
  choose(known[0]);
  const notes = [
    `${bytes(holder.size_bytes)} on ${holder.name}`,
    kindOf(holder.value),
    holder.value.is_whole ? "" : `only the first ${bytes(data.length)} are shown`,
  ];
  return [h("h2", null, "Value ", h("span", { class: "soft" }, notes.filter(Boolean).join("; "))), buttons, place];
}
