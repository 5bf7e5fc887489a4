// Numbers as people read them. What cannot be told is a dash.

const UNKNOWN = "–";

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

const isUnknown = (value) => value === null || value === undefined;

export const count = (value) => (isUnknown(value) ? UNKNOWN : whole.format(value));

/** 4.2, 12,345, 123k, 12.3M */
export function perSecond(value) {
  if (isUnknown(value)) return UNKNOWN;
  if (value > 0 && value < 9.95) return one.format(value);
  if (value < 99999.5) return whole.format(value);
  return value < 999500 ? `${whole.format(value / 1e3)}k` : `${(value / 1e6).toFixed(1)}M`;
}

/** 16 µs, 1.2 ms, 34 ms, 1.5 s */
export function micros(value) {
  if (isUnknown(value)) return UNKNOWN;
  if (value < 999.5) return `${value.toFixed(0)} µs`;
  const [number, unit] = value < 999500 ? [value / 1e3, "ms"] : [value / 1e6, "s"];
  return `${number < 9.95 ? number.toFixed(1) : number.toFixed(0)} ${unit}`;
}

/** 98.2 %; 100 % only if it is all */
export function percent(ratio) {
  if (isUnknown(ratio)) return UNKNOWN;
  if (ratio === 0 || ratio === 1) return `${100 * ratio} %`;
  return `${Math.min(99.9, Math.max(0.1, 100 * ratio)).toFixed(1)} %`;
}

const three = new Intl.NumberFormat("en-US", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });

/** 33.4 %, 0.512 %, 0 %: so that small shares can be compared */
export function share(ratio) {
  if (isUnknown(ratio)) return UNKNOWN;
  return `${ratio === 0 ? 0 : three.format(100 * ratio)} %`;
}

/** 812 B, 1.5 KiB, 64 MiB */
export function bytes(value) {
  if (isUnknown(value)) return UNKNOWN;
  let unit = "B";
  for (const next of ["KiB", "MiB", "GiB", "TiB"]) {
    if (value < 1024) break;
    [value, unit] = [value / 1024, next];
  }
  return `${value < 9.95 && unit !== "B" ? value.toFixed(1) : value.toFixed(0)} ${unit}`;
}

/** 4 s, 12 min, 5 h, 3 d */
export function forHowLong(seconds) {
  if (isUnknown(seconds)) return UNKNOWN;
  for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${name}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

const unseen = /(?![\n\t])[\p{C}\p{Zl}\p{Zp}]/gu;
const asBytes = (text) => [...new TextEncoder().encode(text)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`);

/** What would turn text round, steer or not be seen stands as its bytes, as the proxy itself writes a key. */
export const visible = (text) => text.replace(unseen, (found) => asBytes(found).join(""));

export const clock = (atS) => new Date(atS * 1000).toLocaleTimeString([], { hour12: false });
