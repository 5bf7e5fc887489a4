// Which view is shown, who has logged in, and whether the proxy still answers.

import { ask, get } from "./api.js";
import { browse } from "./browse.js";
import { distribution } from "./distribution.js";
import { h, setClass, setText, show } from "./dom.js";
import { forHowLong } from "./format.js";
import { key } from "./key.js";
import * as live from "./live.js";
import { overview } from "./overview.js";
import { hot, slow, tap } from "./requests.js";
import { server } from "./server.js";
import { whatIf } from "./what-if.js";

const LATE_S = 3;
const VIEWS = [
  { name: "", title: "Overview", open: overview },
  { name: "server", title: "Server", open: server, hidden: true },
  { name: "distribution", title: "Distribution", open: distribution },
  { name: "key", title: "Key", open: key },
  { name: "browse", title: "Browse", open: browse },
  { name: "hot", title: "Hot keys", open: hot },
  { name: "slow", title: "Slow requests", open: slow },
  { name: "tap", title: "Live requests", open: tap },
  { name: "what-if", title: "What if", open: whatIf },
];

const root = document.getElementById("view");
const connection = document.getElementById("connection");
let end = null;
let session = { role: null, can_log_in: false, logged_in: false };

async function begin() {
  try {
    session = await get("page/session");
  } catch (error) {
    show(root, h("p", { class: "health bad" }, error.message));
    setTimeout(begin, 2000);
    return;
  }
  showWho();
  if (session.role === null) logIn("This takes a token.");
  else {
    live.start();
    route();
  }
}

// ---------------------------------------------------------------- views

function route() {
  if (session.role === null) return;
  end?.();
  end = null;
  try {
    const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    const view = VIEWS.find((each) => each.name === name) ?? VIEWS[0];
    showNav(view);
    document.title = view.title === "Overview" ? "memagent" : `${view.title} – memagent`;
    end = view.open(root, live, session, ...rest) ?? null;
  } catch (error) {
    // An address that was cut or mistyped: neither its percent signs nor its base64 need make sense.
    if (!(error instanceof URIError || error instanceof DOMException)) throw error;
    showNav(VIEWS[0]);
    show(root, h("p", { class: "health bad" }, "This address leads nowhere: it was cut off or mistyped."));
  }
}

function showNav(current) {
  const links = VIEWS.filter((view) => !view.hidden).map((view) =>
    h("a", { href: `#/${view.name}`, "aria-current": view === current ? "page" : null }, view.title),
  );
  show(document.getElementById("nav"), links.length > 1 ? links : []);
}

// ---------------------------------------------------------------- who is it?

function showWho() {
  const who = document.getElementById("who");
  const role = h("span", { class: "role" }, session.role ?? "");
  if (session.logged_in) show(who, role, h("button", { onclick: logOut }, "Log out"));
  else if (session.role !== null && session.can_log_in) {
    show(who, role, h("button", { onclick: () => logIn("To act takes the operator's token.") }, "Log in"));
  } else show(who, session.role === null ? [] : role);
}

function logIn(why) {
  end?.();
  end = null;
  const token = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
  // For those who keep passwords, which want a name.
  const name = h("input", { type: "text", autocomplete: "username", value: "memagent", hidden: true });
  const said = h("p", { class: "error", role: "alert" });
  const back = session.role === null ? null : h("button", { type: "button", onclick: route }, "Cancel");
  const form = h(
    "form",
    { class: "log-in" },
    h("h1", null, "Log in"),
    h("p", null, why),
    h("label", { for: "token" }, "Token"),
    name,
    token,
    h("p", { class: "soft" }, "admin_read_token's to look, admin_operator_token's to act. It stays until the browser is closed."),
    h("div", { class: "buttons" }, h("button", { class: "main" }, "Log in"), back),
    said,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("POST", "page/session", { token: token.value });
      token.value = "";
      await again();
    } catch (error) {
      setText(said, error.message);
    }
  });
  show(root, form);
  token.focus();
}

async function logOut() {
  try {
    await ask("DELETE", "page/session");
  } finally {
    await again();
  }
}

async function again() {
  live.stop();
  end?.();
  end = null;
  await begin();
}

// ---------------------------------------------------------------- does it still answer?

function showConnection() {
  const isBad = live.last() !== null && live.ageS() > LATE_S;
  setClass(connection, isBad ? "bad" : "good");
  // That it is so is spoken; for how long is seen, or it would be spoken every second.
  const [how, since] = connection.children;
  setText(how, live.last() === null ? "" : isBad ? "✕ no news" : "● live");
  setText(since, isBad ? ` for ${forHowLong(live.ageS())}` : "");
  document.body.classList.toggle("stale", isBad);
}

live.listen(async () => {
  showConnection();
  // Has the token changed, or the proxy?
  if (!live.hasTrouble() || session.role === null) return;
  const now = await get("page/session").catch(() => null);
  if (now !== null && now.role !== session.role) await again();
});
setInterval(showConnection, 1000);
window.addEventListener("hashchange", () => {
  // The link past the head is no view.
  if (location.hash === "#view") return;
  route();
  root.focus({ preventScroll: true });
});
begin();
