// System: what runs, what waits, who may come in, what was done; and this browser's own settings.

import { alerts } from "/ui/alerts.js";
import { button, bytes, count, element, field, icon, longTime, select, setText, table } from "/ui/dom.js";
import { get, post, remove } from "/ui/net.js";
import { session } from "/ui/session.js";
import { confirmSheet, openForm, openSheet } from "/ui/sheet.js";
import { TEXTS } from "/ui/texts.js";
import { theme } from "/ui/theme.js";

const EVERY_MS = 5000;
const AUDIT_PAGE = 50;

export class SystemView {
  #state = element("div", { class: "overview" });
  #keys = element("section", { class: "panel", hidden: true });
  #audit = element("section", { class: "panel", hidden: true });
  #timer = 0;

  constructor() {
    this.root = element("div", { class: "column" }, element("h2", { class: "title", text: TEXTS.tabs.system }), this.#state, this.#keys, this.#audit, settingsPanel(), helpPanel());
  }

  show() {
    this.hide();
    this.#refresh();
    if (session.may("admin")) {
      this.#fillKeys();
      this.#fillAudit("");
    }
    this.#timer = setInterval(() => document.hidden || this.#refresh(), EVERY_MS);
  }

  hide() {
    clearInterval(this.#timer);
  }

  async #refresh() {
    try {
      const found = await get("/system");
      const open = [...this.#state.querySelectorAll("details[open]")].map((each) => each.dataset.key);
      this.#state.replaceChildren(...partsOf(found));
      for (const each of this.#state.querySelectorAll("details")) each.open = each.open || open.includes(each.dataset.key);
    } catch (problem) {
      const health = await fetch("/healthz").then((answer) => answer.json()).catch(() => null);
      this.#state.replaceChildren(health ? panel(TEXTS.system.health, facts(health)) : element("p", { class: "problem", text: problem.message }));
    }
  }

  // --- keys ---------------------------------------------------------------------------------------

  async #fillKeys() {
    const found = await get("/keys").catch(() => null);
    this.#keys.hidden = !found;
    if (!found) return;
    const known = found.keys;
    const columns = [...TEXTS.system.keyColumns.map((text) => ({ text })), { text: TEXTS.actions, quiet: true }];
    const rows = known.map((key) => [
      key.name || key.id,
      key.scope,
      longTime(key.made_unix_ms),
      button(TEXTS.remove, { class: "button small danger", "aria-label": TEXTS.system.removeKey(key.name || key.id), onclick: () => this.#dropKey(key) }),
    ]);
    const add = button(TEXTS.system.addKey, { class: "button primary small", onclick: () => this.#addKey() }, icon("plus"));
    this.#keys.replaceChildren(
      element("div", { class: "head" }, element("h3", { text: TEXTS.system.keys }), element("div", { class: "switches" }, add)),
      known.length ? table(columns, rows, { label: TEXTS.system.keys }) : element("p", { class: "note", text: TEXTS.system.noKeys }),
    );
  }

  #addKey() {
    const name = element("input", { name: "name", required: true, maxlength: 63, spellcheck: "false" });
    const scope = select(Object.entries(TEXTS.system.scopes), "read", { name: "scope" });
    openForm(TEXTS.system.addKey, [field(TEXTS.system.keyColumns[0], name), field(TEXTS.system.keyColumns[1], scope)], TEXTS.system.addKey, async () => {
      const made = await post("/keys", { name: name.value.trim(), scope: scope.value });
      await this.#fillKeys();
      return () => openSheet(TEXTS.system.newKey, element("p", { text: TEXTS.system.shownOnce }), element("pre", { class: "secret", tabindex: "0", text: made.key }));
    });
  }

  #dropKey(key) {
    confirmSheet(TEXTS.system.removeKey(key.name || key.id), TEXTS.system.removeKeyText, TEXTS.remove, async () => {
      await remove(`/keys/${encodeURIComponent(key.id)}`);
      await this.#fillKeys();
    });
  }

  // --- audit ---------------------------------------------------------------------------------------

  async #fillAudit(cursor) {
    const found = await get("/audit", { cursor, limit: AUDIT_PAGE }).catch(() => null);
    this.#audit.hidden = !found;
    if (!found) return;
    const entries = found.entries || Object.values(found).find(Array.isArray) || [];
    const columns = TEXTS.system.auditColumns.map((text) => ({ text }));
    const rows = entries.map((each) => [longTime(each.at_unix_ms), each.who, each.action, each.what, each.address, each.status]);
    const older = button(TEXTS.search.more, { class: "button small", hidden: !found.next, onclick: () => this.#fillAudit(found.next) });
    this.#audit.replaceChildren(element("h3", { text: TEXTS.system.audit }), rows.length ? table(columns, rows, { label: TEXTS.system.audit }) : element("p", { class: "note", text: TEXTS.system.noAudit }), older);
  }
}

// Whatever the answer holds is shown: lists of things as tables, all else as facts.
function partsOf(found) {
  const plain = Object.fromEntries(Object.entries(found).filter(([, value]) => typeof value !== "object" || value === null));
  const parts = Object.keys(plain).length ? [panel(TEXTS.system.health, facts(plain))] : [];
  for (const [name, value] of Object.entries(found)) {
    if (typeof value !== "object" || value === null) continue;
    const title = TEXTS.system.parts[name] || wordOf(name);
    if (Array.isArray(value)) parts.push(value.length ? panel(title, rowsOf(value, title)) : null);
    else parts.push(panel(title, facts(value)));
  }
  return parts.filter(Boolean);
}

const panel = (title, ...body) => element("section", { class: "panel" }, element("h3", { text: title }), ...body);

const wordOf = (name) => {
  const words = name.replace(/_(unix_ms|ms|bytes|s|mib)$/, "").replaceAll("_", " ");
  return TEXTS.system.words[name] || words[0].toUpperCase() + words.slice(1);
};

function valueOf(name, value) {
  if (value === null || value === "") return "–";
  if (typeof value === "boolean") return element("span", { class: "pill", data: { state: value ? "live" : "lost" }, text: value ? TEXTS.yes : TEXTS.no });
  if (name.endsWith("unix_ms")) return value ? longTime(value) : "–";
  if (name.endsWith("_bytes")) return bytes(value);
  if (name.endsWith("_ms")) return `${count(value)} ms`;
  if (typeof value === "number") return name === "pid" ? String(value) : count(value);
  if (Array.isArray(value)) return value.map(String).join(", ");
  return typeof value === "object" ? Object.entries(value).map(([key, each]) => `${wordOf(key)} ${each}`).join(", ") : String(value);
}

function facts(values) {
  return element("dl", { class: "facts" }, ...Object.entries(values).flatMap(([name, value]) => [element("dt", { text: wordOf(name) }), element("dd", {}, valueOf(name, value))]));
}

function rowsOf(values, label) {
  if (typeof values[0] !== "object") return element("p", { text: values.join(", ") });
  const names = [...new Set(values.flatMap((each) => Object.keys(each)))];
  const columns = names.map((name) => ({ text: wordOf(name), number: values.every((each) => typeof each[name] === "number" && !name.endsWith("unix_ms")) }));
  return table(columns, values.map((each) => names.map((name) => valueOf(name, each[name] ?? ""))), { label });
}

// --- this browser ------------------------------------------------------------------------------------

function settingsPanel() {
  const colours = select(Object.entries(TEXTS.system.themes), theme.wish, { name: "theme" });
  colours.addEventListener("change", () => (theme.wish = colours.value));
  const sound = element("input", { type: "checkbox", name: "sound" });
  sound.checked = alerts.sound;
  sound.addEventListener("change", () => alerts.setSound(sound.checked));
  const bell = element("input", { type: "checkbox", name: "notifications", disabled: !alerts.canNotify });
  bell.checked = alerts.notifications;
  const hint = element("span", { class: "hint", text: alerts.canNotify ? "" : TEXTS.system.needsHttps });
  bell.addEventListener("change", async () => {
    bell.checked = await alerts.setNotifications(bell.checked);
    setText(hint, !bell.checked && Notification.permission === "denied" ? TEXTS.system.denied : "");
  });
  return panel(
    TEXTS.system.thisBrowser,
    element(
      "div",
      { class: "stack" },
      field(TEXTS.system.theme, colours),
      element("label", { class: "check" }, sound, element("span", { text: TEXTS.sound })),
      element("label", { class: "check" }, bell, element("span", { text: TEXTS.notifications }), hint),
    ),
  );
}

function helpPanel() {
  const links = [
    ["/docs", TEXTS.system.docs],
    ["/openapi.json", "OpenAPI"],
    ["/metrics", TEXTS.system.metrics],
  ];
  return panel(TEXTS.system.programs, element("p", { class: "links" }, ...links.map(([href, text]) => element("a", { href, text }))));
}
