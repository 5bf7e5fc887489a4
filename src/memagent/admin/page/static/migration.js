// Keys of a pool that move to other servers: how far that is, and what an operator may do about it.

import { ask, get } from "./api.js";
import { ask as question } from "./dialog.js";
import { h, setText, show } from "./dom.js";
import { bytes, count, forHowLong, perSecond } from "./format.js";

const PHASES = { mirror: "getting ready", copy: "copying", settle: "about to end" };

/** A line below the pool's name, hidden while there is nothing to tell. `update(migration, now_s)`. */
export function migrationLine(pool, session) {
  const text = h("span");
  const progress = h("progress", { max: 100, "aria-label": "how far the migration is" });
  const buttons = h("span", { class: "buttons" });
  const element = h("div", { class: "migration", hidden: true }, text, progress, buttons);

  let known = "";
  async function showActions(state) {
    if (session.role !== "operator" || state === known) return;
    known = state;
    const actions = await get(`v1/actions/${encodeURIComponent(pool)}`).catch(() => (known = "", []));
    show(buttons, actions.map((action) =>
      h("button", { class: action.is_dangerous ? "danger" : "", onclick: () => act(pool, action) }, `${action.label}…`)));
  }

  const update = (moving, nowS) => {
    element.hidden = !moving;
    if (!moving) return;
    setText(text, textOf(moving, nowS));
    progress.hidden = moving.ended_s !== null;
    progress.value = moving.per_cent;
    showActions(moving.state);
  };
  return { element, update };
}

function textOf(moving, nowS) {
  const how = moving.state === "running" ? PHASES[moving.phase] : moving.state;
  const under = moving.ended_s === null;
  const parts = [
    `Keys move to other servers: ${how}`,
    under && `${moving.per_cent.toFixed(0)} %`,
    `${count(moving.keys_copied)} keys (${bytes(moving.bytes_copied)}) copied`,
    under && moving.keys_per_s > 0 && `${perSecond(moving.keys_per_s)} keys/s`,
    under && moving.eta_s !== null && `${forHowLong(moving.eta_s)} left`,
    under ? `for ${forHowLong(nowS - moving.started_s)}` : `in ${forHowLong(moving.ended_s - moving.started_s)}`,
    moving.target && `now at ${moving.target}`,
    moving.waits_for && `waits: ${moving.waits_for}`,
    moving.left_out.length && `not copied: ${moving.left_out.join(", ")}`,
  ];
  return parts.filter(Boolean).join(", ");
}

function act(pool, action) {
  question({
    title: `${action.label.replace(/\bit\b/, "the migration")}?`,
    text: action.text,
    label: action.label,
    isDanger: action.is_dangerous,
    act: async () => {
      await ask("POST", `v1/migrations/${encodeURIComponent(pool)}/${action.path}`);
      return "The proxy does so.";
    },
  });
}
