// The last hour in charts: asked for once, and then what has come since.

/* global uPlot */
import { get } from "./api.js";
import { h, setText } from "./dom.js";
import { micros, percent, perSecond } from "./format.js";
import * as live from "./live.js";

const HOUR_S = 3600;
const SHORTEST_S = 300;
const MINUTES = [1, 2, 5, 10, 15, 30, 60].map((each) => each * 60);
const HEIGHT_PX = 140;
const COLUMNS = ["at_s", "requests_per_s", "hit_ratio", "p50_us", "p99_us"];
const CHARTS = [
  { title: "Requests a second", series: [["requests_per_s", "requests/s", "--line-1"]], shown: perSecond, least: 1 },
  { title: "Hit rate", series: [["hit_ratio", "hits", "--line-2"]], shown: percent, range: [0, 1] },
  {
    title: "How long replies take",
    series: [["p50_us", "p50", "--line-1"], ["p99_us", "p99", "--line-3"]],
    shown: micros,
    least: 100,
  },
];

/** An element with all charts, of a server or of the proxy; and how to end it. */
export function charts(server) {
  const parts = CHARTS.map(chart);
  const element = h("div", { class: "charts" }, parts.map((each) => each.element));
  const which = server
    ? `&pool=${encodeURIComponent(server.pool)}&server=${encodeURIComponent(server.name)}&backup=${server.backup}`
    : "";
  let data = Object.fromEntries(COLUMNS.map((name) => [name, []]));
  let isAsking = false;
  let isOver = false;

  async function refresh(frame) {
    const lastS = data.at_s.at(-1) ?? 0;
    if (!frame || isAsking || frame.step_s <= lastS) return;
    isAsking = true;
    try {
      const more = await get(`v1/history?since_s=${lastS}${which}`);
      const from = data.at_s.concat(more.at_s).findIndex((at) => at > frame.step_s - HOUR_S);
      data = Object.fromEntries(COLUMNS.map((name) => [name, data[name].concat(more[name]).slice(Math.max(0, from))]));
      if (!isOver) parts.forEach((each) => each.draw(data));
    } catch {
      // The next frame asks again; that there is no connection is told elsewhere.
    } finally {
      isAsking = false;
    }
  }

  const unlisten = live.listen(refresh);
  const redraw = () => parts.forEach((each) => each.renew(data));
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", redraw);
  const end = () => {
    isOver = true;
    unlisten();
    scheme.removeEventListener("change", redraw);
    parts.forEach((each) => each.end());
  };
  return { element, end };
}

function chart({ title, series, shown, least, range }) {
  const now = h("span", { class: "now" });
  const place = h("div", { class: "plot", "aria-hidden": "true" });
  const element = h("figure", { class: "chart" }, h("figcaption", null, h("span", null, title), now), place);
  let plot = null;

  function draw(data) {
    const rows = [data.at_s, ...series.map(([name]) => data[name])];
    setText(now, series.map(([name, label]) => `${label} ${shown(data[name].at(-1))}`).join(", "));
    if (!place.clientWidth) return;
    if (plot) plot.setData(rows);
    else plot = new uPlot(options(), rows, place);
  }

  function options() {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    return {
      width: place.clientWidth,
      height: HEIGHT_PX,
      legend: { show: false },
      cursor: { y: false },
      scales: {
        x: { range: (_, from, to) => [Math.min(from, to - SHORTEST_S), to] },
        y: { range: range ?? ((_, from, to) => [0, Math.max(least, to * 1.1)]) },
      },
      axes: [
        { ...axis, space: 60, size: 28, incrs: MINUTES, values: (_, ticks) => ticks.map(minute) },
        { ...axis, size: 64, values: (_, ticks) => ticks.map(shown) },
      ],
      series: [
        {},
        ...series.map(([, label, name]) => ({ label, stroke: colour(name), width: 1.5, points: { show: false } })),
      ],
    };
  }

  function renew(data) {
    plot?.destroy();
    plot = null;
    draw(data);
  }

  const sized = new ResizeObserver(() => plot?.setSize({ width: place.clientWidth, height: HEIGHT_PX }));
  sized.observe(place);
  const end = () => {
    sized.disconnect();
    plot?.destroy();
  };
  return { element, draw, renew, end };
}

function minute(atS) {
  return new Date(atS * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}
