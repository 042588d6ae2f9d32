// Charts as SVG, drawn by hand: bars over time, a histogram, ranges of latency. Colours come from
// the style sheet, so that both themes are readable; every chart also says its numbers as a table.

import { count, drawing, element, table } from "/ui/dom.js";

const LEAST_WIDTH = 260;
const LEFT = 44;
const BOTTOM = 26;
const TOP = 10;
export const SERIES = 6;

// A round number of which four or five steps hold the largest value.
function ceiling(most) {
  if (most <= 4) return 4;
  const step = 10 ** Math.floor(Math.log10(most / 4));
  const factor = [1, 2, 2.5, 5, 10].find((each) => 4 * each * step >= most);
  return 4 * factor * step;
}

const short = (value) => (value >= 1e6 ? `${+(value / 1e6).toFixed(1)} M` : value >= 1e4 ? `${+(value / 1e3).toFixed(1)} k` : count(value));

// As wide as its place on the page, in pixels, so that its words are as large as all others.
const widthOf = (place) => Math.max(LEAST_WIDTH, Math.floor(place.clientWidth));

const canvas = (width, height, title) => drawing("svg", { class: "chart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });

function frame(width, height, most, title) {
  const y = (value) => TOP + (height - TOP - BOTTOM) * (1 - value / most);
  const root = canvas(width, height, title);
  for (let step = 0; step <= 4; step += 1) {
    const value = (most * step) / 4;
    root.append(
      drawing("line", { class: step ? "grid" : "axis", x1: LEFT, x2: width, y1: y(value), y2: y(value) }),
      drawing("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end", text: short(value) }),
    );
  }
  return { root, y };
}

// bars: [{label, tick, title, parts: [number, …]}], the parts stacked in the order of the series.
export function barChart(bars, { place, title, ticks = 8 }) {
  const width = widthOf(place);
  const height = Math.round(Math.min(280, 150 + width / 8));
  const most = ceiling(Math.max(0, ...bars.map((bar) => bar.parts.reduce((sum, part) => sum + part, 0))));
  const { root, y } = frame(width, height, most, title);
  const step = (width - LEFT) / Math.max(1, bars.length);
  const every = Math.ceil(bars.length / Math.min(ticks, width / 72));
  const gap = Math.min(4, step * 0.2);
  bars.forEach((bar, at) => {
    const group = drawing("g", { class: "bar" }, drawing("title", { text: bar.title }));
    const x = LEFT + at * step + gap / 2;
    group.append(drawing("rect", { class: "hover", x: LEFT + at * step, y: TOP, width: step, height: height - TOP - BOTTOM }));
    let below = 0;
    bar.parts.forEach((part, series) => {
      if (!part) return;
      const top = y(below + part);
      group.append(drawing("rect", { class: `series-${series % SERIES}`, x, y: top, width: Math.max(1, step - gap), height: Math.max(1, y(below) - top), rx: Math.min(2, step / 4) }));
      below += part;
    });
    root.append(group);
    if (at % every === 0) root.append(drawing("text", { class: "tick", x: LEFT + (at + 0.5) * step, y: height - 8, "text-anchor": "middle", text: bar.tick }));
  });
  return root;
}

// rows: [{label, median, high, highest}] in milliseconds; the axis is logarithmic.
export function rangeChart(rows, { place, title, format }) {
  const width = widthOf(place);
  const rowHeight = 40;
  const height = TOP + rows.length * rowHeight + BOTTOM;
  const left = Math.min(160, width * 0.42);
  const least = 0.01;
  const most = Math.max(1, ...rows.map((row) => row.highest));
  const span = Math.log10(most / least);
  const x = (value) => left + ((width - left - 66) * Math.log10(Math.max(value, least) / least)) / span;
  const root = canvas(width, height, title);
  const decades = Math.ceil(span / Math.max(1, (width - left) / 72));
  for (let power = least; power <= most * 1.01; power *= 10 ** decades) {
    root.append(drawing("line", { class: "grid", x1: x(power), x2: x(power), y1: TOP, y2: height - BOTTOM }), drawing("text", { class: "tick", x: x(power), y: height - 8, "text-anchor": "middle", text: format(power) }));
  }
  rows.forEach((row, at) => {
    const middle = TOP + (at + 0.5) * rowHeight;
    root.append(
      drawing("text", { class: "name", x: left - 12, y: middle + 4, "text-anchor": "end", text: row.label }),
      drawing("rect", { class: "range", x: x(row.median), y: middle - 5, width: Math.max(2, x(row.highest) - x(row.median)), height: 10, rx: 5 }),
      drawing("rect", { class: "range strong", x: x(row.median), y: middle - 5, width: Math.max(2, x(row.high) - x(row.median)), height: 10, rx: 5 }),
      drawing("circle", { class: "dot-mark", cx: x(row.median), cy: middle, r: 6 }),
      drawing("text", { class: "tick", x: x(row.highest) + 10, y: middle + 4, text: format(row.highest) }),
    );
  });
  return root;
}

export function legend(names) {
  return element("ul", { class: "legend" }, ...names.map((name, at) => element("li", {}, drawing("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, drawing("rect", { class: `series-${at % SERIES}`, width: 10, height: 10, rx: 2 })), element("span", { text: name }))));
}

// The numbers themselves, for those who do not see the chart, or want to copy them.
export function numbersOf(label, columns, rows) {
  return element("details", { class: "numbers" }, element("summary", { text: label }), table(columns, rows, { label }));
}
