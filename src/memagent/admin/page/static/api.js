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

export function textToBase64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

export function bytesOf(base64) {
  const padded = base64.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(padded + "=".repeat(-padded.length & 3)), (each) => each.charCodeAt(0));
}

export const addressOfKey = (base64) => `#/key/${toBase64Url(base64)}`;
