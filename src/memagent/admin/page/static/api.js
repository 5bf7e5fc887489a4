// The control API. A refusal is an Error with what the proxy said.

class Refused extends Error {
  constructor(status, said) {
    super(said.error ?? `the proxy answers ${status}`);
    this.status = status;
    this.hint = said.hint ?? null;
    this.canForce = said.force === true;
  }
}

/** What went wrong, for people. */
export const problemOf = (error) => (error.hint ? `${error.message}: ${error.hint}` : error.message);

/** The answer, of which nothing is read yet; Refused. `signal` aborts it, which is an AbortError. */
export async function send(method, path, body, signal) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, { error: "the proxy does not answer" });
  }
  if (!answer.ok) throw new Refused(answer.status, await jsonOf(answer));
  return answer;
}

/** What the proxy answers, as JSON; Refused. */
export async function ask(method, path, body) {
  const answer = await send(method, path, body);
  return answer.status === 204 ? null : jsonOf(answer);
}

/** What it goes on saying, a line of JSON each time; Refused, also by a line that is an error. */
export async function* lines(method, path, body, signal) {
  const answer = await send(method, path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (signal.aborted) throw error;
      throw new Refused(0, { error: "the proxy has broken off its answer" });
    });
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) {
      const said = JSON.parse(part);
      if (said.error) throw new Refused(answer.status, said);
      yield said;
    }
  }
}

const jsonOf = (answer) => answer.json().catch(() => ({}));

export const get = (path) => ask("GET", path);

const encoded = encodeURIComponent;

/** A server's path: by pool, name and role. */
export const pathOf = (server, rest = "") =>
  `v1/servers/${encoded(server.pool)}/${encoded(server.name)}${rest}?backup=${server.backup}`;

export const addressOf = (server) =>
  `#/server/${encoded(server.pool)}/${server.backup ? "backup" : "server"}/${encoded(server.name)}`;

// ---------------------------------------------------------------- keys: any bytes, base64 in addresses

export const toBase64Url = (base64) => base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

export const toBase64 = (data) => btoa(String.fromCharCode(...data));

export const textToBase64 = (text) => toBase64(new TextEncoder().encode(text));

export function bytesOf(base64) {
  const padded = base64.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(padded + "=".repeat(-padded.length & 3)), (each) => each.charCodeAt(0));
}

/** As it stands in a field; bytes that are no text cannot be typed. */
export const typeable = (base64) => new TextDecoder().decode(bytesOf(base64));

/** What stands in a field now. What was not edited stays the bytes that it was. */
export const fromTyped = (text, base64) =>
  toBase64Url(base64 && text === typeable(base64) ? base64 : textToBase64(text));

export const addressOfKey = (base64, pool = "") => `#/key/${toBase64Url(base64)}${pool ? `/${encoded(pool)}` : ""}`;
