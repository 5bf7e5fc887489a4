// Reading which keys the servers have: a button starts it and stops it, how far it is is told meanwhile, and the last
// answers stay, because to ask again would cost the servers the same again.

import { lines, problemOf } from "./api.js";
import { h, setText, show } from "./dom.js";
import { clock, count } from "./format.js";

const MOST_KEPT = 8;

/** By session: who logs in next sees nothing of them. */
const keptBy = new WeakMap();

/**
 * `query`: what is asked for, and the name of what is kept. `shown(result, query)`: its elements.
 * Whatever is under way ends with `stop`.
 */
export function survey(session, label, shown) {
  const kept = keptBy.get(session) ?? new Map();
  keptBy.set(session, kept);
  const button = h("button", { class: "main" }, label);
  const said = h("p", { class: "soft", role: "status" });
  const problem = h("p", { class: "health bad", role: "alert", hidden: true });
  const bar = h("progress", { "aria-label": "Keys that have been read" });
  // Not in the status: nobody wants to hear five lines a second.
  const far = h("span", { class: "soft" });
  const progress = h("div", { class: "survey", hidden: true }, bar, far);
  const result = h("div");
  let running = null;

  async function start(query) {
    stop();
    const mine = new AbortController();
    running = mine;
    begin();
    try {
      for await (const line of lines("GET", `v1/survey?${asked(query)}`, undefined, mine.signal)) {
        if (line.progress) tell(line.progress);
        if (line.result) keep(query, line.result);
      }
      if (running !== mine) return;
      if (!open(query)) throw new Error("the answer ended before its end: try again");
    } catch (error) {
      if (running !== mine) return;
      setText(said, "");
      setText(problem, problemOf(error));
      problem.hidden = false;
    }
    end();
  }

  function stop() {
    if (!running) return;
    running.abort();
    end();
    setText(said, "Stopped.");
  }

  function begin() {
    setText(button, "Stop");
    setText(said, "The servers are asked which keys they have…");
    problem.hidden = true;
    bar.removeAttribute("value");
    setText(far, "");
    progress.hidden = false;
    show(result);
  }

  function end() {
    running = null;
    setText(button, label);
    progress.hidden = true;
  }

  function tell(now) {
    if (!now.servers_total) return;
    if (now.keys_expected) {
      bar.max = now.keys_expected;
      bar.value = now.keys_read;
    }
    const of = now.keys_expected ? ` of about ${count(now.keys_expected)}` : "";
    const at = now.server ? `; now ${nameOf(now.server, now.backup)}` : "";
    setText(far, `${count(now.keys_read)}${of} keys; ${now.servers_done} of ${now.servers_total} servers${at}`);
  }

  function keep(query, found) {
    kept.delete(asked(query));
    kept.set(asked(query), { found, at_s: Date.now() / 1000 });
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }

  /** What is known of it from before; is there something? */
  function open(query) {
    const last = kept.get(asked(query));
    setText(said, "");
    problem.hidden = true;
    show(result);
    if (!last) return false;
    const { found, at_s } = last;
    setText(said, `${count(found.keys_read)} keys were read in ${found.seconds.toFixed(1)} s, at ${clock(at_s)}.`);
    show(result, notAsked(found.not_asked), shown(found, query));
    return true;
  }

  const isRunning = () => running !== null;
  return { button, element: h("div", null, progress, said, problem, result), start, stop, open, isRunning };
}

/** As the address of the request has it, without what is left open. */
function asked(query) {
  return new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "")).toString();
}

export const nameOf = (name, isBackup) => `${name}${isBackup ? " (backup)" : ""}`;

function notAsked(servers) {
  if (!servers.length) return null;
  const each = servers.map(({ server, backup, why }) => `${nameOf(server, backup)}: ${why}`);
  return h("p", { class: "health busy" }, `Not read, so nothing is known of their keys: ${each.join("; ")}.`);
}

/** Which pool, where there are several. `changed(name, servers)`: once they are known, and with every choice. */
export function poolChoice(live, named, changed) {
  const select = h("select", { id: "pool" }, named ? h("option", { value: named }, named) : null);
  const element = h("span", { hidden: true }, h("label", { for: "pool" }, "Pool"), " ", select);
  let pools = [];
  const tell = () => changed(select.value, pools.find((each) => each.name === select.value)?.servers ?? []);
  select.addEventListener("change", tell);
  const end = live.listen((frame) => {
    if (!frame || pools.length) return;
    pools = frame.pools;
    const others = pools.filter((each) => each.name !== named);
    select.append(...others.map((each) => h("option", { value: each.name }, each.name)));
    element.hidden = select.options.length < 2;
    tell();
  });
  return { element, name: () => select.value, end };
}
