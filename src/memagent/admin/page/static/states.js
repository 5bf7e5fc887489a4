// A server's state in words, by a sign and by a colour: never by the colour alone.

import { h, setClass, setText } from "./dom.js";
import { count, forHowLong, micros, percent, perSecond } from "./format.js";

const SIGNS = { up: "●", warming: "◐", returning: "◔", down: "✕", draining: "◌", drained: "○" };
// What wants looking after comes first.
const ORDER = ["down", "returning", "warming", "draining", "drained", "up"];

export const worstFirst = (a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state);

export function badge() {
  return h("span", { class: "badge" });
}

export function setBadge(element, server) {
  setClass(element, `badge ${server.state}`);
  setText(element, `${SIGNS[server.state]} ${server.state}`);
}

/** What there is of traffic, for all clients as for one server: title, text. */
export const TRAFFIC = [
  ["Requests/s", (of) => perSecond(of.requests_per_s)],
  ["Hit rate", (of) => percent(of.hit_ratio)],
  ["p50", (of) => micros(of.p50_us)],
  ["p99", (of) => micros(of.p99_us)],
  ["Errors/s", (of) => perSecond(of.errors_per_s)],
];

/** The re-warm that is under way, or null. */
export const warmOf = (server) =>
  server.warm && ["running", "paused"].includes(server.warm.state) ? server.warm : null;

export function warmText(server) {
  const warm = warmOf(server);
  if (!warm) return server.state === "warming" ? "about to begin" : "";
  const rest = warm.state === "paused" ? "paused" : warm.eta_s === null ? "" : `${forHowLong(warm.eta_s)} left`;
  return [`${warm.per_cent.toFixed(0)} %`, `${count(warm.keys_copied)} keys`, rest].filter(Boolean).join(", ");
}

/** What is wrong in a frame, in one sentence, and how bad it is. */
export function health(frame) {
  const servers = frame.pools.flatMap((pool) => pool.servers);
  const names = (state) => servers.filter((each) => each.state === state).map((each) => each.name);
  const some = (found) => found.slice(0, 5).join(", ") + (found.length > 5 ? ` and ${found.length - 5} more` : "");
  if (frame.draining) return ["bad", "The proxy is ending: it takes no new clients."];
  const missing = frame.workers.filter((worker) => !worker.pid).length;
  const parts = ORDER.slice(0, -1)
    .map((state) => [state, names(state)])
    .filter(([, found]) => found.length)
    .map(([state, found]) => `${found.length} ${found.length === 1 ? "is" : "are"} ${state}: ${some(found)}`);
  if (missing) parts.push(`${missing} of ${frame.workers.length} workers being replaced`);
  if (!parts.length) return ["good", `All ${servers.length} servers are up.`];
  return [names("down").length || missing ? "bad" : "busy", `Of ${servers.length} servers ${parts.join("; ")}.`];
}
