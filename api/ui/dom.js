// Small helpers to build elements; text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(made, options, children) {
  for (const [name, value] of Object.entries(options)) {
    if (name === "class") made.setAttribute("class", value);
    else if (name === "text") made.textContent = value;
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function element(tag, options = {}, ...children) {
  return fill(document.createElement(tag), options, children);
}

export function drawing(tag, options = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), options, children);
}

export function icon(name) {
  return drawing("svg", { class: "icon", "aria-hidden": "true", viewBox: "0 0 24 24" }, drawing("use", { href: `/ui/icons.svg#${name}` }));
}

export function button(text, options = {}, ...children) {
  return element("button", { type: "button", class: "button", ...options }, ...children, ...(text ? [text] : []));
}

// A labelled control; the label is what screen readers and clicks find it by.
export function field(label, control, hint = "") {
  return element("label", { class: "field" }, element("span", { class: "field-name", text: label }), control, hint ? element("span", { class: "hint", text: hint }) : null);
}

export function select(options, chosen = "", more = {}) {
  const made = element("select", more, ...options.map(([value, text]) => element("option", { value, text })));
  made.value = chosen;
  return made;
}

export function table(columns, rows, options = {}) {
  const head = element("tr", {}, ...columns.map((each) => element("th", { scope: "col", class: each.number ? "number" : "" }, element("span", { class: each.quiet ? "quiet" : "", text: each.text }))));
  const body = rows.map((cells) =>
    element("tr", {}, ...cells.map((cell, at) => element("td", { class: columns[at].number ? "number" : "", data: { label: columns[at].text } }, cell ?? ""))),
  );
  return element("div", { class: "table-wrap", tabindex: "0", role: "region", "aria-label": options.label || "" }, element("table", { class: "table" }, element("thead", {}, head), element("tbody", {}, ...body)));
}

// Writes only what changed, so that nothing is announced or painted twice.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function later(work, waitMs) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), waitMs);
  };
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

export function shortTime(unixMs) {
  const when = new Date(unixMs);
  const today = when.toDateString() === new Date().toDateString();
  return today ? clock.format(when) : `${day.format(when)}, ${clock.format(when)}`;
}

export const longTime = (unixMs) => full.format(new Date(unixMs));

const numbers = new Intl.NumberFormat("en");
export const count = (value) => numbers.format(value);

export function bytes(value) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at += 1) value /= 1000;
  return `${value >= 100 || at === 0 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

export function ago(seconds) {
  if (seconds < 1.5) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

export function playTime(seconds) {
  const whole = Math.max(0, seconds);
  return `${Math.floor(whole / 60)}:${(whole % 60).toFixed(1).padStart(4, "0")}`;
}

// <input type="datetime-local"> speaks local time without a zone.
export function toLocalInput(unixMs) {
  const when = new Date(Number(unixMs) - new Date(Number(unixMs)).getTimezoneOffset() * 60_000);
  return when.toISOString().slice(0, 16);
}

export const fromLocalInput = (text) => (text ? String(new Date(text).getTime()) : "");
