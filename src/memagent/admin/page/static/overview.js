// The pools as a picture: who is ill, what each server does, and the last hour of all of it.

import { addressOf } from "./api.js";
import { charts } from "./charts.js";
import { figure, h, keyed, setClass, setText, show } from "./dom.js";
import { bytes, count, forHowLong, micros, percent, perSecond } from "./format.js";
import { migrationLine } from "./migration.js";
import { reload } from "./server.js";
import { TRAFFIC, badge, health, setBadge, warmOf, warmText, worstFirst } from "./states.js";

const MOST_AS_CONFIGURED = 20;

const keyOf = (server) => `${server.pool}/${server.backup}/${server.name}`;

/** What a row has beside its name and state: title, meaning, text. */
const FIGURES = [
  ["Ring", "the part of the keys that belongs here", (s) => percent(s.share)],
  ["Items", "items it has", (s) => count(s.items)],
  ["Ops/s", "requests sent to it, a second", (s) => perSecond(s.requests_per_s)],
  ["Hits", "keys it had, of those it was asked for", (s) => percent(s.hit_ratio)],
  ["p50", "half of its replies took no longer", (s) => micros(s.p50_us)],
  ["p99", "99 of 100 replies took no longer", (s) => micros(s.p99_us)],
  ["Journal", "keys that it missed and that are set right on its return", (s) => (s.journal_keys ? count(s.journal_keys) : "–")],
];

export function overview(root, live, session) {
  const banner = h("p", { class: "health", role: "status" });
  const figures = h("dl", { class: "figures" });
  const pools = h("div");
  const shown = figure(figures, [
    ...TRAFFIC,
    ["Clients", (f) => count(f.clients)],
    ["Workers", (f) => `${f.workers.filter((each) => each.pid).length} of ${f.workers.length}`],
    ["Running for", (f) => forHowLong(f.now_s - f.started_s)],
  ]);
  const update = keyed(pools, (pool) => pool.name, (pool) => makePool(pool, session), (made, pool) => made.update(pool));
  const drawn = charts(null);
  show(
    root,
    h("h1", { class: "sr" }, "Overview"),
    banner,
    figures,
    pools,
    h("h2", null, "The last hour"),
    drawn.element,
    session.role === "operator"
      ? h("div", { class: "buttons" }, h("button", { onclick: reload }, "Reload the configuration…"))
      : null,
  );
  const unlisten = live.listen((frame) => {
    if (!frame) return;
    const [how, text] = health(frame);
    setClass(banner, `health ${how}`);
    setText(banner, text);
    shown(frame);
    update(frame.pools.map((pool) => ({ ...pool, now_s: frame.now_s })));
  });
  return () => {
    unlisten();
    drawn.end();
  };
}

function makePool(pool, session) {
  const strips = [false, true].map((isBackup) => makeStrip(isBackup));
  const body = h("tbody");
  const titles = ["Server", "State", ...FIGURES.slice(0, 2).map(([title]) => title), "Memory", ...FIGURES.slice(2).map(([title]) => title), "Re-warm"];
  const about = h("span", { class: "soft" });
  const migration = migrationLine(pool.name, session);
  const element = h(
    "section",
    { class: "pool" },
    h("h2", null, `Pool ${pool.name} `, about),
    migration.element,
    strips.map((strip) => strip.element),
    h(
      "div",
      { class: "wide" },
      h(
        "table",
        { class: "servers cards", role: "table" },
        h("thead", null, h("tr", null, titles.map((title) => h("th", { scope: "col", title: meaningOf(title) }, title)))),
        body,
      ),
    ),
  );
  const rows = keyed(body, keyOf, makeRow, updateRow);
  const update = (now) => {
    setText(about, `${now.distribution}, ${now.has_copies ? "with copies" : "no copies"}`);
    migration.update(now.migration, now.now_s);
    strips.forEach((strip) => strip.update(now.servers));
    // Where they do not fit on a screen, who is ill comes first.
    const ordered = now.servers.length > MOST_AS_CONFIGURED ? now.servers.toSorted(worstFirst) : now.servers;
    rows(ordered.map((server) => ({ ...server, for_s: now.now_s - server.since_s })));
  };
  return { element, update };
}

/** How the ring is shared out: the table says the same in words. */
function makeStrip(isBackup) {
  const element = h("div", { class: "strip", "aria-hidden": "true" });
  const parts = keyed(
    element,
    keyOf,
    (server) => ({ element: h("span", { title: `${server.name} ${percent(server.share)}` }, server.name) }),
    (part, server) => {
      setClass(part.element, server.state);
      part.element.style.flexGrow = server.share ?? 0;
    },
  );
  const update = (servers) => {
    const shown = servers.filter((server) => server.backup === isBackup);
    element.hidden = !shown.length;
    parts(shown);
  };
  return { element, update };
}

function meaningOf(title) {
  return FIGURES.find(([each]) => each === title)?.[1];
}

function makeRow(server) {
  const state = badge();
  const since = h("span", { class: "soft" });
  const address = h("span", { class: "soft address" });
  const used = h("meter", { min: 0, max: 1 });
  const usedText = h("span");
  const warm = h("progress", { max: 100 });
  const warmed = h("span");
  const figures = FIGURES.map(([title]) => h("td", { class: "number", role: "cell", "data-title": title }));
  // Roles, because on a phone they are no table's boxes any more.
  const element = h(
    "tr",
    { role: "row" },
    h(
      "th",
      { scope: "row", role: "rowheader" },
      h("a", { href: addressOf(server) }, server.name),
      " ",
      server.backup ? [h("span", { class: "role" }, "backup"), " "] : null,
      address,
    ),
    h("td", { class: "state", role: "cell" }, state, " ", since),
    figures.slice(0, 2),
    h("td", { class: "number memory", role: "cell", "data-title": "Memory" }, usedText, used),
    figures.slice(2),
    h("td", { class: "warm", role: "cell", "data-title": "Re-warm" }, warmed, warm),
  );
  return { element, state, since, address, used, usedText, warm, warmed, figures };
}

function updateRow(row, server) {
  setClass(row.element, server.state);
  setBadge(row.state, server);
  setText(row.since, `for ${forHowLong(server.for_s)}${server.state !== "up" && server.reason ? `: ${server.reason}` : ""}`);
  setText(row.address, server.address === server.name ? "" : server.address);
  FIGURES.forEach(([, , text], at) => setText(row.figures[at], text(server)));
  setText(row.usedText, bytes(server.used_bytes));
  row.used.hidden = !server.limit_bytes;
  if (server.limit_bytes) {
    row.used.value = server.used_bytes / server.limit_bytes;
    row.used.title = `of ${bytes(server.limit_bytes)}`;
  }
  const warm = warmOf(server);
  setText(row.warmed, warmText(server));
  row.warm.hidden = !warm;
  if (warm) row.warm.value = warm.per_cent;
}
