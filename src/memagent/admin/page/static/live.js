// What the proxy tells every second. One stream for the whole page; none while nobody looks at it.

const RETRY_MS = 1000;

let frame = null;
let isInTrouble = false;
let heardMs = 0;
let source = null;
let retry = null;
let isOn = false;
const listeners = new Set();

export const last = () => frame;
export const hasTrouble = () => isInTrouble;
export const ageS = () => (performance.now() - heardMs) / 1000;

/** Told at once and with every frame; the answer ends it. */
export function listen(listener) {
  listeners.add(listener);
  if (frame) listener(frame);
  return () => listeners.delete(listener);
}

export function start() {
  isOn = true;
  open();
}

export function stop() {
  isOn = false;
  frame = null;
  close();
}

function open() {
  if (!isOn || source || document.hidden) return;
  source = new EventSource("v1/watch");
  source.onmessage = (event) => {
    frame = withNames(JSON.parse(event.data));
    heardMs = performance.now();
    isInTrouble = false;
    tell();
  };
  // Streams end after some minutes: that is no trouble.
  source.addEventListener("again", () => {
    close();
    open();
  });
  source.onerror = () => {
    isInTrouble = true;
    close();
    retry = setTimeout(open, RETRY_MS);
    tell();
  };
}

/** Servers come as rows of values: the names of these are there once. */
function withNames({ columns, ...told }) {
  const pools = told.pools.map((pool) => {
    const named = (row) => Object.fromEntries([["pool", pool.name], ...row.map((value, at) => [columns[at], value])]);
    return { ...pool, servers: pool.servers.map(named) };
  });
  return { ...told, pools };
}

function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function tell() {
  for (const listener of [...listeners]) listener(frame);
}

document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
