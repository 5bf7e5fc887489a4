// Which keys there are: by what they begin with, group by group, or by a pattern; read from the servers' own lists.

import { bytesOf, fromTyped, toBase64, toBase64Url, typeable } from "./api.js";
import { h, setText, show } from "./dom.js";
import { bytes, count, forHowLong, share } from "./format.js";
import { nameOf, poolChoice, survey } from "./survey.js";
import { bar, keyLink, sheet } from "./tables.js";

const MOST_KEY_CHARACTERS = 250;
const KEYS_A_PAGE = 100;
const GROUPS_AT_FIRST = 12;
/** What ends a group, as the proxy has it. */
const SEPARATORS = new TextEncoder().encode(":/.-_|");

/** The parts of an address, in this order. `prefix`, `after`: base64; `role`, `server`: "" is wherever the proxy looks first. */
const PARTS = ["pool", "prefix", "pattern", "role", "server", "after"];

const addressOf = (wish) =>
  `#/browse/${PARTS.map((part) => encodeURIComponent(wish[part])).join("/")}`.replace(/\/+$/, "");

const queryOf = (wish) => ({
  what: "browse",
  pool: wish.pool,
  prefix_base64: wish.prefix,
  pattern: wish.pattern,
  server: wish.server,
  backup: wish.server && String(wish.role === "backup"),
  after_base64: wish.after,
});

export function browse(root, live, session, ...parts) {
  let wish = Object.fromEntries(PARTS.map((part, at) => [part, parts[at] ?? ""]));
  const listing = survey(session, "List keys", (found) => shown(found, wish, go));
  const { button } = listing;
  const prefix = h("input", { id: "prefix", autocomplete: "off", spellcheck: "false", maxlength: MOST_KEY_CHARACTERS, value: typeable(wish.prefix) });
  const pattern = h("input", { id: "pattern", autocomplete: "off", spellcheck: "false", maxlength: MOST_KEY_CHARACTERS, placeholder: "user:*:cart", value: wish.pattern });
  const server = h("select", { id: "server" });
  button.disabled = !wish.pool;
  offer(wish, []);
  const choice = poolChoice(live, wish.pool, (name, servers) => {
    if (!wish.pool) {
      wish.pool = name;
      listing.open(queryOf(wish));
    }
    offer(name === wish.pool ? wish : null, servers);
    button.disabled = false;
  });
  const form = h(
    "form",
    { class: "line" },
    choice.element,
    pair("Keys that begin with", prefix),
    pair("and match", pattern),
    pair("on", server),
    button,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (listing.isRunning()) {
      listing.stop();
      return;
    }
    turnTo(typed());
    listing.start(queryOf(wish));
  });
  show(
    root,
    h("h1", null, "Browse"),
    h("p", { class: "soft" }, "Every server lists the keys that it has, which takes a while where they are many. In a pattern, * is any number of characters and ? is one."),
    form,
    listing.element,
  );
  listing.open(queryOf(wish));

  /** Servers that may be chosen; `chosen`: the one of this wish, be it there or not. */
  function offer(chosen, servers) {
    const known = servers.map((each) => [each.backup ? "backup" : "server", each.name]);
    if (chosen?.server && !known.some(([role, name]) => role === chosen.role && name === chosen.server)) known.push([chosen.role, chosen.server]);
    const options = known.map((each) => h("option", { value: JSON.stringify(each) }, nameOf(each[1], each[0] === "backup")));
    show(server, h("option", { value: '["",""]' }, "where the proxy looks"), options);
    if (chosen?.server) server.value = JSON.stringify([chosen.role, chosen.server]);
  }

  function typed() {
    const [role, name] = JSON.parse(server.value);
    return { pool: choice.name(), prefix: fromTyped(prefix.value, wish.prefix), pattern: pattern.value, role, server: name, after: "" };
  }

  /** Another wish from here on, in the address too; nothing is read anew by that. */
  function turnTo(other) {
    if (addressOf(other) !== location.hash) history.pushState(null, "", addressOf(other));
    wish = other;
    prefix.value = typeable(wish.prefix);
    pattern.value = wish.pattern;
  }

  /** What is known already is shown; List keys reads it anew. */
  function go(other) {
    listing.stop();
    turnTo(other);
    if (!listing.open(queryOf(wish))) listing.start(queryOf(wish));
    root.focus({ preventScroll: true });
  }

  return () => {
    choice.end();
    listing.stop();
  };
}

const pair = (label, field) => h("span", { class: "pair" }, h("label", { for: field.id }, label), field);

/** A link to another wish. Whoever follows it here needs no button to be pressed. */
function step(wish, go, ...text) {
  const follow = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(wish);
  };
  return h("a", { href: addressOf(wish), onclick: follow }, text);
}

function shown(found, wish, go) {
  const { matched } = found;
  return [
    crumbs(wish, go),
    matched.keys
      ? h("p", { class: "health plain" }, `${count(matched.keys)} ${matched.keys === 1 ? "key" : "keys"}, ${bytes(matched.bytes)} in all.`)
      : h("p", { class: "health plain" }, "No key is like that."),
    h("div", { class: "beside" }, groupsOf(found, wish, go), keysOf(found, wish, go)),
  ];
}

/** The way here, a step for each part of the prefix. */
function crumbs(wish, go) {
  if (!wish.prefix) return null;
  const data = bytesOf(wish.prefix);
  const ends = [...data.keys()].map((at) => at + 1).filter((end) => end === data.length || SEPARATORS.includes(data[end - 1]));
  const steps = ends.map((end, at) => {
    const text = new TextDecoder().decode(data.subarray(at ? ends[at - 1] : 0, end));
    if (end === data.length) return h("strong", { "aria-current": "true" }, text);
    return step({ ...wish, prefix: toBase64Url(toBase64(data.subarray(0, end))), after: "" }, go, text);
  });
  const all = step({ ...wish, prefix: "", after: "" }, go, "all keys");
  return h("nav", { class: "crumbs", "aria-label": "Prefix" }, [all, ...steps].flatMap((each) => [" › ", each]).slice(1));
}

// ---------------------------------------------------------------- groups

function groupsOf(found, wish, go) {
  const { groups, matched } = found;
  if (!groups.some((each) => each.prefix_base64 !== null)) return null;
  const most = Math.max(...groups.map((each) => each.bytes / matched.bytes));
  const columns = [
    ["Prefix", (each) => (each.prefix_base64 === null
      ? h("span", { class: "soft" }, "no further separator")
      : step({ ...wish, prefix: toBase64Url(each.prefix_base64), after: "" }, go, each.prefix)), "key"],
    ["Keys", (each) => count(each.keys), "number"],
    ["Bytes", (each) => bytes(each.bytes), "number"],
    ["Of all bytes", (each) => [share(each.bytes / matched.bytes), bar(each.bytes / matched.bytes, most)], "number"],
  ];
  const place = h("div", null, sheet(columns, groups.slice(0, GROUPS_AT_FIRST), "Groups"));
  const all = h("button", { type: "button", onclick: () => show(place, sheet(columns, groups, "Groups")) }, `Show all ${count(groups.length)}`);
  if (groups.length > GROUPS_AT_FIRST) place.append(h("p", null, all));
  const left = found.groups_left_off;
  const off = left ? h("p", { class: "soft" }, `${found.groups_counted_whole ? "" : "At least "}${count(left)} lighter groups are left out.`) : null;
  return h("section", null, h("h2", null, "By prefix"), place, off);
}

// ---------------------------------------------------------------- keys

function keysOf(found, wish, go) {
  if (!found.keys.length) return null;
  const columns = [
    ["Key", (each) => keyLink(each, wish.pool), "key"],
    ["Size", (each) => bytes(each.bytes), "number"],
    ["Expires", (each) => (each.expires_in_s === null ? "never" : `in ${forHowLong(each.expires_in_s)}`), "number"],
    ["Last access", (each) => `${forHowLong(each.last_access_s_ago)} ago`, "number"],
    ["Server", (each) => nameOf(each.server, each.backup)],
  ];
  const place = h("div");
  const where = h("span", { role: "status" });
  const back = h("button", { type: "button", onclick: () => turn(-KEYS_A_PAGE) }, "Previous");
  const next = h("button", { type: "button", onclick: () => turn(KEYS_A_PAGE) }, "Next");
  const more = { ...wish, after: toBase64Url(found.keys.at(-1).key_base64) };
  const on = found.more ? step(more, go, "Read on from here") : null;
  const first = wish.after ? step({ ...wish, after: "" }, go, "From the beginning") : null;
  let from = 0;

  function turn(by) {
    from += by;
    const page = found.keys.slice(from, from + KEYS_A_PAGE);
    const last = from + page.length;
    show(place, sheet(columns, page, "Keys"));
    setText(where, `${count(from + 1)} to ${count(last)} of ${count(found.keys.length)}${found.more ? ", and there are more" : ""}`);
    back.disabled = from === 0;
    next.disabled = last === found.keys.length;
    if (on) on.hidden = !next.disabled;
  }

  turn(0);
  const isOne = found.keys.length <= KEYS_A_PAGE && !on;
  const turning = h("div", { class: "buttons turning" }, isOne ? null : [back, next], where, on, first);
  return h("section", null, h("h2", null, "Keys"), place, turning);
}
