// A value as people can read it: always text in the page, never executed.

const LINE_BYTES = 16;

/** What its first bytes look like, by the proxy's word. */
export const kindOf = (value) => (value.kind ? `looks like ${value.kind}; nothing of it is decoded or executed` : "");

/** The ways to show it, the best first: [{title, text()}]. */
export function shapes(data, isWhole) {
  const text = decoded(data, isWhole);
  const found = [];
  const json = text === null || !isWhole ? undefined : parsed(text);
  if (json !== undefined && typeof json === "object") {
    found.push({ title: "JSON", text: () => JSON.stringify(json, null, 2) });
  }
  // Reading it changes large numbers and drops names that are there twice: then what is stored stands first.
  const isExact = found.length > 0 && JSON.stringify(json) === text.replace(/("(?:[^"\\]|\\.)*")|\s+/g, "$1");
  const asText = { title: "Text", text: () => text ?? new TextDecoder().decode(data) };
  const asHex = { title: "Hex", text: () => hex(data) };
  found.push(...(text === null ? [asHex, asText] : [asText, asHex]));
  if (found.length > 2 && !isExact) found.push(...found.splice(0, 1));
  return found;
}

/** null: it is no text. A cut value may end within a character. */
function decoded(data, isWhole) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(data, { stream: !isWhole });
    return /[\0-\x08\x0e-\x1f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function hex(data) {
  const lines = [];
  for (let at = 0; at < data.length; at += LINE_BYTES) {
    const row = [...data.subarray(at, at + LINE_BYTES)];
    const numbers = row.map((each) => each.toString(16).padStart(2, "0")).join(" ");
    const letters = row.map((each) => (each > 31 && each < 127 ? String.fromCharCode(each) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${numbers.padEnd(3 * LINE_BYTES - 1)}  ${letters}`);
  }
  return lines.join("\n");
}
