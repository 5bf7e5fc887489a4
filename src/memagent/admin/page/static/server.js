// One server: everything that is known of it, its last hour, and what may be done to it.

import { ask, get, pathOf } from "./api.js";
import { charts } from "./charts.js";
import { ask as question } from "./dialog.js";
import { figure, h, setText, show } from "./dom.js";
import { bytes, count, forHowLong, percent } from "./format.js";
import { TRAFFIC, badge, setBadge, warmOf, warmText } from "./states.js";

export function server(root, live, session, pool, role, name) {
  const which = { pool, name, backup: role === "backup" };
  const state = badge();
  const reason = h("span", { class: "soft" });
  const gone = h("p", { class: "health bad", hidden: true }, "There is no such server any more.");
  const list = h("dl", { class: "figures" });
  const warm = h("p", { hidden: true });
  const progress = h("progress", { max: 100 });
  const warmed = h("span");
  const buttons = h("div", { class: "buttons" });
  warm.append("Re-warm: ", warmed, progress);
  const write = figure(list, [
    ["Address", (s) => s.address],
    ["Role", (s) => (s.backup ? "backup" : "server")],
    ["Weight", (s) => count(s.weight)],
    ["Ring", (s) => percent(s.share)],
    ["Version", (s) => s.version ?? "–"],
    ["Items", (s) => count(s.items)],
    ["Memory", (s) => (s.limit_bytes ? `${bytes(s.used_bytes)} of ${bytes(s.limit_bytes)}` : "–")],
    ["Evictions", (s) => count(s.evictions)],
    ...TRAFFIC,
    ["Not answered yet", (s) => count(s.queued)],
    ["Connections", (s) => count(s.connections)],
    ["Journal", (s) => (s.journal_keys ? `${count(s.journal_keys)} keys, ${bytes(s.journal_bytes)}` : "empty")],
    ["Last re-warm", lastWarm],
  ]);
  const drawn = charts(which);
  show(
    root,
    h("h1", null, `${name} `, h("span", { class: "soft" }, `in pool ${pool}`)),
    gone,
    h("p", null, state, " ", reason),
    warm,
    list,
    session.role === "operator" ? buttons : h("p", { class: "soft" }, "To drain, replace, re-warm or flush it, log in as operator."),
    h("h2", null, "The last hour"),
    drawn.element,
  );

  let known = "";
  async function showActions(found) {
    const now = [found.state, found.held, found.warm?.state, found.address].join();
    if (session.role !== "operator" || now === known) return;
    known = now;
    const path = `v1/actions/${encodeURIComponent(pool)}/${encodeURIComponent(name)}?backup=${which.backup}`;
    const actions = await get(path).catch(() => (known = "", []));
    show(buttons, actions.map((action) =>
      h("button", { class: action.is_dangerous ? "danger" : "", onclick: () => act(which, action) }, `${action.label}…`)));
  }

  const unlisten = live.listen((frame) => {
    const found = frame?.pools.flatMap((each) => each.servers)
      .find((each) => each.pool === pool && each.name === name && each.backup === which.backup);
    gone.hidden = !frame || found !== undefined;
    if (!found) return;
    setBadge(state, found);
    setText(reason, `for ${forHowLong(frame.now_s - found.since_s)}${found.reason ? `: ${found.reason}` : ""}`);
    write(found);
    const under = warmOf(found);
    warm.hidden = found.state !== "warming";
    setText(warmed, warmText(found));
    progress.hidden = !under;
    if (under) progress.value = under.per_cent;
    showActions(found);
  });
  return () => {
    unlisten();
    drawn.end();
  };
}

function act(which, action) {
  question({
    title: `${action.label.replace(/\bit\b/, which.name)}?`,
    text: action.text,
    label: action.label,
    fields: action.fields,
    isDanger: action.is_dangerous,
    act: async (values) => {
      const done = await ask("POST", pathOf(which, `/${action.path}`), bodyOf(action, values));
      return [`${done.server.name} is ${done.server.state} now.`, done.text].filter(Boolean).join(" Then ");
    },
  });
}

/** Paths that take nothing are sent nothing. */
function bodyOf(action, values) {
  const body = { ...action.body, ...values };
  return Object.keys(body).length ? body : undefined;
}

function lastWarm(found) {
  const warm = found.warm;
  if (!warm) return "none";
  return `${warm.state}, ${count(warm.keys_copied)} keys of ${bytes(warm.bytes_copied)}${warm.reason ? `: ${warm.reason}` : ""}`;
}

/** Reading the configuration files again. */
export function reload() {
  question({
    title: "Reload the configuration?",
    text: "The configuration files are read again and put in force without a dropped request. A file with a mistake changes nothing. What waits for a start is named.",
    label: "Reload",
    act: async () => {
      const { changes, waiting } = await ask("POST", "v1/reload");
      const waits = waiting.length ? ` Waits for the next start: ${waiting.join(", ")}.` : "";
      return (changes.length ? `Changed: ${changes.join("; ")}.` : "Nothing has changed.") + waits;
    },
  });
}
