// Charts: plates over time and by camera, how sure they were read, how long each stage takes.

import { barChart, legend, numbersOf, rangeChart, SERIES } from "/ui/chart.js";
import { count, element, field, later, select, setText } from "/ui/dom.js";
import { get, query } from "/ui/net.js";
import { TEXTS } from "/ui/texts.js";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const SPANS = { "24h": [DAY_MS, "hour"], "7d": [7 * DAY_MS, "hour"], "30d": [30 * DAY_MS, "day"], "90d": [90 * DAY_MS, "day"] };
const EVERY_MS = 30_000;

const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const utcDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" }); // days are counted so
const both = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export class ChartsView {
  #span = select(Object.entries(TEXTS.charts.spans), "24h", { name: "span" });
  #camera = select([["", TEXTS.search.anyCamera]], "", { name: "camera" });
  #note = element("p", { class: "note", role: "status" });
  #problem = element("p", { class: "problem", role: "alert", hidden: true });
  #plates = part(TEXTS.charts.plates);
  #sure = part(TEXTS.charts.confidence);
  #stages = part(TEXTS.charts.stages, TEXTS.charts.stagesHint);
  #asked = {};
  #timer = 0;

  constructor() {
    for (const control of [this.#span, this.#camera]) control.addEventListener("change", () => this.#write());
    this.root = element(
      "div",
      { class: "column" },
      element("div", { class: "head" }, element("h2", { class: "title", text: TEXTS.tabs.charts }), this.#note),
      element("div", { class: "panel filter-row" }, field(TEXTS.charts.span, this.#span), field(TEXTS.search.fields.camera, this.#camera)),
      this.#problem,
      this.#plates.root,
      element("div", { class: "two" }, this.#sure.root, this.#stages.root),
    );
    window.addEventListener("resize", later(() => this.root.hidden || this.#refresh(), 200));
    get("/cameras").then((found) => this.#cameras(found)).catch(() => {});
  }

  #cameras(found) {
    const names = [...new Set(found.cameras.map((camera) => camera.name))];
    this.#camera.append(...names.map((value) => element("option", { value, text: value })));
    this.#camera.value = this.#asked.camera || "";
  }

  #write() {
    location.hash = `#/charts${query({ span: this.#span.value === "24h" ? "" : this.#span.value, camera: this.#camera.value })}`;
  }

  show(parameters) {
    this.hide();
    this.#asked = { span: parameters.span in SPANS ? parameters.span : "24h", camera: parameters.camera || "" };
    this.#span.value = this.#asked.span;
    this.#camera.value = this.#asked.camera;
    this.#refresh();
    this.#timer = setInterval(() => document.hidden || this.#refresh(), EVERY_MS);
  }

  hide() {
    clearInterval(this.#timer);
  }

  async #refresh() {
    const [length, bucket] = SPANS[this.#asked.span];
    const unit = bucket === "day" ? DAY_MS : HOUR_MS;
    const to = Math.ceil(Date.now() / unit) * unit;
    const asked = { from: to - length, to, bucket, camera: this.#asked.camera };
    await Promise.all([
      get("/statistics", asked).then((found) => this.#draw(found.buckets, asked)).catch((problem) => this.#absent(problem, [this.#plates, this.#sure])),
      get("/statistics/stages").then((found) => this.#drawStages(found.stages)).catch((problem) => this.#absent(problem, [this.#stages])),
    ]);
  }

  #absent(problem, parts) {
    for (const each of parts) each.body.replaceChildren(element("p", { class: "note", text: problem.isAbsent ? TEXTS.absent : problem.message }));
  }

  #draw(buckets, asked) {
    const total = buckets.reduce((sum, bucket) => sum + bucket.sightings, 0);
    setText(this.#note, TEXTS.charts.total(total));
    if (!total) {
      for (const each of [this.#plates, this.#sure]) each.body.replaceChildren(element("p", { class: "note", text: TEXTS.charts.nothing }));
      return;
    }
    this.#drawPlates(buckets, asked.bucket);
    this.#drawConfidence(buckets);
  }

  #drawPlates(buckets, bucket) {
    const names = busiest(buckets);
    const rest = buckets.some((each) => each.sightings > names.reduce((sum, name) => sum + (each.by_camera[name] || 0), 0));
    const bars = buckets.map((each) => {
      const parts = names.map((name) => each.by_camera[name] || 0);
      if (rest) parts.push(each.sightings - parts.reduce((sum, part) => sum + part, 0));
      const when = new Date(each.from_unix_ms);
      const name = bucket === "day" ? utcDay.format(when) : buckets.length > 30 ? day.format(when) : hour.format(when);
      return { parts, tick: name, title: `${bucket === "day" ? name : both.format(when)}: ${TEXTS.charts.total(each.sightings)}` };
    });
    const series = rest ? [...names, TEXTS.charts.others] : names;
    const columns = [{ text: TEXTS.charts.time }, ...series.map((text) => ({ text, number: true }))];
    const rows = bars.filter((bar) => bar.parts.some(Boolean)).map((bar) => [bar.title.split(": ")[0], ...bar.parts.map(count)]);
    this.#plates.body.replaceChildren(barChart(bars, { place: this.#plates.body, title: TEXTS.charts.plates }), legend(series), numbersOf(TEXTS.charts.numbers, columns, rows));
  }

  #drawConfidence(buckets) {
    const bins = Array.from({ length: 10 }, (_, bin) => buckets.reduce((sum, bucket) => sum + (bucket.confidence[bin]), 0));
    const bars = bins.map((value, bin) => ({ parts: [value], tick: `${10 * bin}`, title: `${TEXTS.charts.bin(10 * bin)}: ${TEXTS.charts.total(value)}` }));
    const rows = bins.map((value, bin) => [TEXTS.charts.bin(10 * bin), count(value)]);
    this.#sure.body.replaceChildren(barChart(bars, { place: this.#sure.body, title: TEXTS.charts.confidence, ticks: 10 }), numbersOf(TEXTS.charts.numbers, [{ text: TEXTS.facts.confidence }, { text: TEXTS.sightings, number: true }], rows));
  }

  #drawStages(stages) {
    const rows = stages
      .filter((stage) => stage.count)
      .map((stage) => ({ label: TEXTS.stages[stage.stage] || stage.stage, median: stage.p50_ms, high: stage.p90_ms, highest: stage.p99_ms }));
    if (!rows.length) return this.#stages.body.replaceChildren(element("p", { class: "note", text: TEXTS.charts.nothing }));
    const format = (value) => (value >= 1000 ? `${+(value / 1000).toPrecision(2)} s` : `${+value.toPrecision(2)} ms`);
    const columns = [{ text: TEXTS.charts.stage }, { text: "p50", number: true }, { text: "p90", number: true }, { text: "p99", number: true }];
    const numbers = rows.map((row) => [row.label, format(row.median), format(row.high), format(row.highest)]);
    this.#stages.body.replaceChildren(rangeChart(rows, { place: this.#stages.body, title: TEXTS.charts.stages, format }), numbersOf(TEXTS.charts.numbers, columns, numbers));
  }
}

function part(title, hint = "") {
  const body = element("div", { class: "chart-body" });
  return { body, root: element("section", { class: "panel" }, element("h3", { text: title }), hint ? element("p", { class: "note", text: hint }) : null, body) };
}

// The cameras with the most plates; one colour is left for all others.
function busiest(buckets) {
  const totals = {};
  for (const bucket of buckets) for (const [name, value] of Object.entries(bucket.by_camera)) totals[name] = (totals[name] || 0) + value;
  const names = Object.keys(totals).sort((one, other) => totals[other] - totals[one]);
  return names.length > SERIES ? names.slice(0, SERIES - 1) : names;
}
