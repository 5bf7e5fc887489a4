// How keys and bytes are spread over servers and backups: by the ring, in fact, and as chance would have it.

import { addressOf } from "./api.js";
import { figure, h, show } from "./dom.js";
import { bytes, count, share } from "./format.js";
import { nameOf, poolChoice, survey } from "./survey.js";
import { bar, keyLink, sheet } from "./tables.js";

const MOST_AS_CONFIGURED = 20;

/** What may be wrong with where a key is: its name in an answer, a title, and what it means. */
const FINDINGS = [
  ["no_copy", "No copy", "Their owner has them, and the server of their copy, which was read, does not. If the owner is lost, so are they."],
  ["only_copy", "Only on the copy", "The server of their copy has them, and their owner, which was read, does not."],
  ["strays", "Strays", "They are on a server that is neither their owner nor has their copy: left by a change of the servers. Nobody asks for them there."],
];

export function distribution(root, live, session, pool = "") {
  const counting = survey(session, "Count", shown);
  const { button } = counting;
  button.disabled = !pool;
  const queryOf = (name) => ({ what: "distribution", pool: name });
  const choice = poolChoice(live, pool, (name) => {
    button.disabled = false;
    if (!counting.isRunning()) counting.open(queryOf(name));
  });
  const form = h("form", { class: "line" }, choice.element, button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (counting.isRunning()) {
      counting.stop();
      return;
    }
    const query = queryOf(choice.name());
    history.replaceState(null, "", `#/distribution/${encodeURIComponent(query.pool)}`);
    counting.start(query);
  });
  show(
    root,
    h("h1", null, "Distribution"),
    h("p", { class: "soft" }, "Every server lists the keys that it has, which takes a while where they are many. Nothing is changed, and no value is read."),
    form,
    counting.element,
  );
  counting.open(queryOf(choice.name()));
  return () => {
    choice.end();
    counting.stop();
  };
}

function shown(found, { pool }) {
  const list = h("dl", { class: "figures" });
  const findings = FINDINGS.filter(([name]) => found.has_copies || name === "strays");
  figure(list, [
    [found.has_copies ? "Keys and copies" : "Keys", (f) => count(f.totals.keys)],
    ["Bytes", (f) => bytes(f.totals.bytes)],
    ["Looked at closely", (f) => count(f.sampled)],
    ...findings.map(([name, title]) => [title, (f) => count(f.totals[name])]),
  ])(found);
  return [
    verdict(found, findings),
    list,
    found.sampled_one_in > 1
      ? h("p", null, `All keys and bytes are counted. Whether a key is where it belongs was looked at for one key in ${count(found.sampled_one_in)}, ` +
        `so in all there are about ${count(found.sampled_one_in)} times as many as are told here.`)
      : null,
    [false, true].map((isBackup) => holdersOf(found, isBackup, pool, findings)),
    found.holders.some(isTold)
      ? h("p", { class: "soft" }, "By chance: the share of keys that a server with its share of the ring has where nothing else is at work. It is the mark in the bar, too.")
      : null,
    lookedAgain(found.looked_at),
    findings.map((finding) => examples(finding, found.examples[finding[0]], pool)),
  ];
}

// ---------------------------------------------------------------- in one sentence

const OUTSIDE = { more: "▲ more than chance gives", fewer: "▼ fewer than chance gives", "": "● as chance gives" };

/** Not of who was not read, nor where keys go together by a tag in them. */
const isTold = (holder) => holder.expected_low !== null;

/** "more", "fewer", or "" for what is no surprise, or cannot be told. */
function outside(holder) {
  if (!isTold(holder)) return "";
  if (holder.keys_share > holder.expected_high) return "more";
  return holder.keys_share < holder.expected_low ? "fewer" : "";
}

function verdict(found, findings) {
  if (!found.totals.keys) return h("p", { class: "health plain" }, "There are no keys to count.");
  const parts = [];
  for (const how of ["more", "fewer"]) {
    const names = found.holders.filter((each) => outside(each) === how).map((each) => nameOf(each.name, each.backup));
    const some = names.slice(0, 5).join(", ") + (names.length > 5 ? ` and ${names.length - 5} more` : "");
    if (names.length) parts.push(`${how === "more" ? "More" : "Fewer"} keys than chance gives: ${some}.`);
  }
  for (const [name, title] of findings) {
    const of = name === "no_copy" ? ` of ${count(found.totals.owners)} keys looked at on their owners` : "";
    if (found.totals[name]) parts.push(`${title}: ${count(found.totals[name])}${of}.`);
  }
  if (parts.length) return h("p", { class: "health busy" }, parts.join(" "));
  if (found.holders.some(isTold)) parts.push("The keys are spread as chance would have it.");
  if (found.has_copies && !found.not_asked.length) parts.push("Every key looked at has its copy.");
  return h("p", { class: `health ${parts.length ? "good" : "plain"}` }, parts.join(" ") || "Nothing odd was found in what was read.");
}

// ---------------------------------------------------------------- servers, and backups

function holdersOf(found, isBackup, pool, findings) {
  const holders = found.holders.filter((each) => each.backup === isBackup);
  if (!holders.length) return null;
  const most = Math.max(...holders.flatMap((each) => [each.keys_share, each.bytes_share, each.ring_share, each.expected_high]));
  const chanceOf = (each) => (isTold(each) ? [each.expected_low, each.expected_high] : null);
  const columns = [
    ["Server", (each) => h("a", { href: addressOf({ ...each, pool }) }, each.name)],
    ["Share of the ring", (each) => [share(each.ring_share), bar(each.ring_share, most)], "number"],
    ["Keys", (each) => count(each.keys), "number"],
    ["Share of keys", (each) => [share(each.keys_share), bar(each.keys_share, most, chanceOf(each))], "number"],
    ["By chance", (each) => byChance(each), "judged"],
    ["Bytes", (each) => bytes(each.bytes), "number"],
    ["Share of bytes", (each) => [share(each.bytes_share), bar(each.bytes_share, most)], "number"],
    ...findings.map(([name, title]) => [title, (each) => count(each[name]), "number"]),
  ];
  // Where they do not fit on a screen, what is a surprise comes first.
  const surprise = (each) => Number(outside(each) !== "");
  const ordered = holders.length > MOST_AS_CONFIGURED ? holders.toSorted((a, b) => surprise(b) - surprise(a)) : holders;
  const title = isBackup ? "Backups" : "Servers";
  return [h("h2", null, title), sheet(columns, ordered, title)];
}

function byChance(each) {
  if (!isTold(each)) return "–";
  const how = outside(each);
  const word = h("span", { class: how ? "surprise" : "soft" }, OUTSIDE[how]);
  return [`${share(each.expected_low)} to ${share(each.expected_high)} `, word];
}

// ---------------------------------------------------------------- which keys

function lookedAgain(looked) {
  if (!looked.keys) return null;
  return h("p", { class: "soft" }, `Keys come and go while they are counted: ${count(looked.keys)} that seemed to be missing somewhere were looked at again, and ${count(looked.confirmed)} still were.`);
}

function examples([, title, meaning], keys, pool) {
  if (!keys.length) return null;
  const item = (each) => h("li", null, keyLink(each, pool), " ", h("span", { class: "soft" }, each.server));
  return [h("h2", null, title), h("p", { class: "soft" }, meaning), h("ul", { class: "keys" }, keys.map(item))];
}
