// Hot keys, slow requests, and what clients ask for right now.

import { get, lines, problemOf } from "./api.js";
import { h, setText, show } from "./dom.js";
import { count, percent, perSecond } from "./format.js";
import { KEY, REQUEST_COLUMNS, table } from "./tables.js";

const EVERY_MS = 2000;
const MOST_ROWS = 200;

const numberOf = new WeakMap();
let numbers = 0;

/** Requests have no name of their own: each gets a number when it is first seen. */
function identity(each) {
  if (!numberOf.has(each)) numberOf.set(each, (numbers += 1));
  return numberOf.get(each);
}

const sameness = (each) => [each.ended_s, each.worker, each.us, each.verb, each.client, each.key_base64].join();

/** Ask again and again while somebody looks; the answer ends it. */
function poll(path, heard, failed) {
  let timer = null;
  let isOver = false;
  const look = async () => {
    if (!document.hidden) {
      try {
        const found = await get(path);
        if (!isOver) heard(found);
      } catch (error) {
        if (!isOver) failed(error);
      }
    }
    if (!isOver) timer = setTimeout(look, EVERY_MS);
  };
  look();
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}

export function hot(root) {
  const about = h("p", { class: "soft" });
  const found = table(
    [
      KEY,
      ["Requests/s", (each) => perSecond(each.requests_per_s), "number"],
      ["At least", (each) => perSecond(each.at_least_per_s), "number"],
      ["At most", (each) => perSecond(each.at_most_per_s), "number"],
      ["Of all", (each) => percent(each.share), "number"],
      ["Reads", (each) => perSecond(each.reads_per_s), "number"],
      ["Writes", (each) => perSecond(each.writes_per_s), "number"],
      ["Server", (each) => each.server ?? "–"],
    ],
    (each) => each.key_base64,
    "Hot keys",
  );
  show(root, h("h1", null, "Hot keys"), about, found.element);
  return poll(
    "v1/hot?count=50",
    (now) => {
      setText(about, now.keys.length ? `The keys that are asked for most, of ${perSecond(now.requests_per_s)} requests/s.` : "No key stands out.");
      found.update(now.keys);
    },
    (error) => setText(about, problemOf(error)),
  );
}

export function slow(root) {
  const about = h("p", { class: "soft" });
  const found = table(REQUEST_COLUMNS, sameness, "Slow requests");
  show(root, h("h1", null, "Slow requests"), about, found.element);
  return poll(
    `v1/slow?count=${MOST_ROWS}`,
    (now) => {
      const more = now.total - now.requests.length;
      const kept = more ? ` ${count(more)} more since the start are not kept.` : "";
      setText(about, now.total ? `Requests that took ${now.slow_ms} ms or longer, the newest first.${kept}` : `No request took ${now.slow_ms} ms or longer.`);
      // Two that are alike in everything are shown once.
      const seen = new Set();
      found.update(now.requests.filter((each) => {
        const name = sameness(each);
        return !seen.has(name) && seen.add(name);
      }));
    },
    (error) => setText(about, problemOf(error)),
  );
}

export function tap(root, live, session) {
  const heading = h("h1", null, "Live requests");
  if (session.role !== "operator") {
    show(root, heading, h("p", { class: "soft" }, "To see what clients ask for right now, log in as operator. Values are never shown."));
    return null;
  }
  const prefix = h("input", { id: "prefix", autocomplete: "off", spellcheck: "false" });
  const verb = h("input", { id: "verb", autocomplete: "off", spellcheck: "false", class: "short" });
  const server = h("select", { id: "server" }, h("option", { value: "" }, "any"));
  const button = h("button", { class: "main" }, "Listen");
  const about = h("p", { class: "soft", role: "status" }, "A sample of what clients ask for, as long as you listen. It is a line in the log; values are never shown.");
  // No status: it would be spoken as often as it counts.
  const counted = h("p", { class: "soft" });
  const found = table(REQUEST_COLUMNS, identity, "Live requests");
  let rows = [];
  let listening = null;
  const form = h(
    "form",
    { class: "line" },
    h("label", { for: "prefix" }, "Keys that begin with"), prefix,
    h("label", { for: "verb" }, "Verb"), verb,
    h("label", { for: "server" }, "Server"), server,
    button,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (listening) stop();
    else start();
  });
  show(root, heading, form, about, counted, found.element);

  async function start() {
    listening = new AbortController();
    setText(button, "Stop");
    setText(about, "Listening…");
    setText(counted, "");
    rows = [];
    found.update(rows);
    const body = { prefix: prefix.value, of_verb: verb.value, per_s: 50 };
    if (server.value) Object.assign(body, JSON.parse(server.value));
    try {
      for await (const line of lines("POST", "v1/tap", body, listening.signal)) {
        rows = [...line.requests.toReversed(), ...rows].slice(0, MOST_ROWS);
        found.update(rows);
        setText(counted, `${count(line.matched)} requests matched, ${count(line.shown)} of them were shown.`);
      }
      setText(about, "The proxy has ended it.");
    } catch (error) {
      setText(about, error.name === "AbortError" ? "Stopped." : problemOf(error));
    }
    listening = null;
    setText(button, "Listen");
  }

  function stop() {
    listening?.abort();
  }

  const unlisten = live.listen((frame) => {
    if (!frame || server.options.length > 1) return;
    for (const each of frame.pools.flatMap((pool) => pool.servers)) {
      const which = { server: each.name, pool: each.pool, backup: each.backup };
      server.append(h("option", { value: JSON.stringify(which) }, `${each.name}${each.backup ? " (backup)" : ""}`));
    }
  });
  return () => {
    unlisten();
    stop();
  };
}
