// Rate, latency and drops of the last two minutes.

import uPlot from "/static/vendor/uplot/uPlot.js";
import { byId, color, fixed, setText } from "../dom.js";

const KEPT = 120;
const HEIGHT = 76;
const total = (counts) => Object.values(counts ?? {}).reduce((sum, count) => sum + count, 0);

const PLOTS = [
  { id: "rate", series: [["Hz", "--accent"]], of: (s) => [s.rate_hz], text: (s) => (s.rate_hz === null ? "–" : `${fixed(s.rate_hz, 1)} Hz`) },
  {
    id: "latency", series: [["p50", "--accent"], ["p95", "--warn"]], of: (s) => [s.latency_ms?.p50, s.latency_ms?.p95],
    text: (s) => (s.latency_ms?.p50 ?? null) === null ? "–" : `${fixed(s.latency_ms.p50, 0)} ms · p95 ${fixed(s.latency_ms.p95, 0)} ms`,
  },
  {
    id: "drops", series: [["dropped", "--bad"], ["rejected", "--warn"]],
    of: (s, before) => (before ? [s.dropped - before.dropped, total(s.rejected) - total(before.rejected)].map((n) => Math.max(n, 0)) : [0, 0]),
    text: (s) => `${s.dropped ?? 0} · ${total(s.rejected)}`,
  },
];

export class Plots {
  /** @param {import("./state.js").LiveState} state */
  constructor(state) {
    this.state = state;
    this.times = [];
    this.before = null;
    this.charts = [];
    this.data = PLOTS.map((plot) => plot.series.map(() => []));
    state.addEventListener("status", () => this.#add(state.status));
    new ResizeObserver(() => this.#resize()).observe(byId("plots"));
  }

  /** Make the charts anew, in the theme's colours. */
  setTheme() {
    for (const chart of this.charts) chart.destroy();
    this.charts = [];
    this.#resize();
  }

  #add(status) {
    this.times.push(Date.now() / 1000);
    if (this.times.length > KEPT) this.times.shift();
    PLOTS.forEach((plot, index) => {
      plot.of(status, this.before).forEach((value, k) => {
        this.data[index][k].push(value ?? null);
        if (this.data[index][k].length > KEPT) this.data[index][k].shift();
      });
      setText(byId(`plot-${plot.id}-now`), plot.text(status));
    });
    this.before = status;
    const reasons = Object.entries(status.rejected ?? {}).filter(([, count]) => count);
    const said = reasons.map(([reason, count]) => `${reason.replaceAll("_", " ")} ${count}`);
    if (status.detector_hz) said.push(`detector ${fixed(status.detector_hz, 1)} Hz`);
    setText(byId("rejected"), said.join(" · "));
    this.#resize();
    this.charts.forEach((chart, index) => chart.setData(this.#dataOf(index)));
  }

  /** Seconds before now, and the values. @param {number} index */
  #dataOf(index) {
    const now = this.times.at(-1) ?? 0;
    return [this.times.map((time) => time - now), ...this.data[index]];
  }

  #resize() {
    PLOTS.forEach((plot, index) => {
      const host = byId(`plot-${plot.id}`), width = host.clientWidth;
      if (!width) return;
      if (!this.charts[index]) this.charts[index] = makeChart(plot, host, width, this.#dataOf(index));
      else if (this.charts[index].width !== width) this.charts[index].setSize({ width, height: HEIGHT });
    });
  }
}

function makeChart(plot, host, width, data) {
  const text = color("--text-soft"), line = color("--line");
  const font = "11px system-ui, sans-serif";
  const ticks = { show: false }, grid = { stroke: line, width: 1 };
  return new uPlot({
    width, height: HEIGHT, padding: [6, 2, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false, range: [-KEPT, 0] }, y: { range: (_, low, high) => [0, Math.max(high ?? 1, 1) * 1.15] } },
    axes: [
      { stroke: text, font, size: 18, gap: 2, ticks, grid: { show: false }, splits: () => [-90, -60, -30], values: (_, splits) => splits.map((t) => `−${-t} s`) },
      { stroke: text, font, size: 36, gap: 4, ticks, grid, space: 24, values: (_, splits) => splits.map(String) },
    ],
    series: [{}, ...plot.series.map(([label, name]) => ({ label, stroke: color(name), width: 1.5, points: { show: false } }))],
  }, data, host);
}
