// Lists: plates to look out for, by list; add, change, find, import and remove.

import { button, count, element, field, icon, later, longTime, select, setText, table, toLocalInput } from "/ui/dom.js";
import { get, postFile, put, query, remove } from "/ui/net.js";
import { session } from "/ui/session.js";
import { confirmSheet, openForm } from "/ui/sheet.js";
import { TEXTS } from "/ui/texts.js";

const PAGE = 100;
const TYPED_MS = 300;

export class ListsView {
  #names = element("nav", { class: "side", "aria-label": TEXTS.lists.all });
  #title = element("h3", { text: "" });
  #note = element("p", { class: "note", role: "status" });
  #find = element("input", { type: "search", name: "find", autocapitalize: "characters", autocomplete: "off", spellcheck: "false" });
  #rows = element("div", { class: "list-rows" });
  #more = button(TEXTS.search.more, { class: "button wide", hidden: true, onclick: () => this.#load(this.#next) });
  #problem = element("p", { class: "problem", role: "alert", hidden: true });
  #actions;
  #panel;
  #list = "";
  #next = "";
  #entries = [];

  constructor() {
    this.#find.addEventListener("input", later(() => this.#load(""), TYPED_MS));
    const file = element("input", { type: "file", accept: ".csv,text/csv", class: "quiet", "aria-label": TEXTS.lists.importCsv, tabindex: "-1" });
    file.addEventListener("change", () => this.#import(file));
    this.#actions = element(
      "div",
      { class: "switches" },
      button(TEXTS.lists.add, { class: "button primary small", onclick: () => this.#edit(null) }, icon("plus")),
      button(TEXTS.lists.importCsv, { class: "button small", onclick: () => file.click() }),
      file,
      button(TEXTS.lists.removeList, { class: "button small danger", onclick: () => this.#dropList() }),
    );
    this.#actions.hidden = !session.may("operate");
    const fresh = button(TEXTS.lists.create, { class: "button small", onclick: () => this.#create() }, icon("plus"));
    fresh.hidden = !session.may("operate");
    this.#panel = element(
      "section",
      { class: "panel", hidden: true },
      element("div", { class: "head" }, this.#title, this.#note, this.#actions),
      field(TEXTS.lists.find, this.#find),
      this.#rows,
      this.#more,
    );
    this.root = element(
      "div",
      { class: "column" },
      element("div", { class: "head" }, element("h2", { class: "title", text: TEXTS.tabs.lists }), element("div", { class: "switches" }, fresh)),
      this.#problem,
      element("div", { class: "with-side" }, this.#names, this.#panel),
    );
  }

  show(parameters) {
    this.#refresh(parameters.list || "");
  }

  async #refresh(wanted) {
    let lists;
    try {
      lists = await get("/watchlists");
    } catch (problem) {
      return this.#say(problem.isAbsent ? TEXTS.absent : problem.message);
    }
    this.#problem.hidden = true;
    this.#list = wanted || this.#list || lists[0]?.name || "";
    this.#names.replaceChildren(...lists.map((list) => this.#link(list)));
    if (!lists.length && !this.#list) this.#names.replaceChildren(element("p", { class: "empty", text: TEXTS.lists.none }));
    this.#panel.hidden = !this.#list;
    setText(this.#title, this.#list);
    if (this.#list) await this.#load("");
  }

  #link(list) {
    return element(
      "a",
      { href: `#/lists?list=${encodeURIComponent(list.name)}`, "aria-current": list.name === this.#list ? "page" : null },
      element("span", { text: list.name }),
      element("span", { class: "soft number", text: count(list.entries) }),
    );
  }

  #say(sentence) {
    this.#problem.textContent = sentence;
    this.#problem.hidden = false;
  }

  async #load(cursor) {
    const path = `/watchlists/${encodeURIComponent(this.#list)}/entries`;
    let found;
    try {
      found = await get(path, { cursor, limit: PAGE, plate: this.#find.value.trim() });
    } catch (problem) {
      if (problem.status !== 404) return this.#say(problem.message);
      found = { entries: [] }; // a list begins with its first entry
    }
    this.#entries = cursor ? [...this.#entries, ...found.entries] : found.entries;
    this.#next = found.next || "";
    this.#more.hidden = !this.#next;
    setText(this.#note, TEXTS.lists.shown(this.#entries.length, Boolean(this.#next)));
    this.#rows.replaceChildren(this.#entries.length ? this.#table() : element("p", { class: "note", text: TEXTS.lists.empty }));
  }

  #table() {
    const columns = [...TEXTS.lists.columns.map((text) => ({ text })), { text: TEXTS.actions, quiet: true }];
    const rows = this.#entries.map((entry) => [
      element("span", { class: "plate", text: entry.plate }),
      element("span", { class: "pill", data: { severity: entry.severity }, text: TEXTS.severities[entry.severity] }),
      entry.label,
      TEXTS.matches[entry.match],
      [entry.schedule, entry.expires_unix_ms ? TEXTS.lists.until(longTime(entry.expires_unix_ms)) : ""].filter(Boolean).join(" · ") || TEXTS.lists.always,
      session.may("operate")
        ? element(
            "div",
            { class: "actions" },
            button(TEXTS.camera.edit, { class: "button small", "aria-label": TEXTS.lists.changeLabel(entry.plate), onclick: () => this.#edit(entry) }),
            button(TEXTS.remove, { class: "button small danger", "aria-label": TEXTS.lists.removeLabel(entry.plate), onclick: () => this.#drop(entry) }),
          )
        : "",
    ]);
    return table(columns, rows, { label: this.#list });
  }

  #create() {
    const name = element("input", { name: "name", required: true, maxlength: 63, pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]*", spellcheck: "false" });
    openForm(TEXTS.lists.create, [field(TEXTS.lists.name, name, TEXTS.lists.nameHint)], TEXTS.lists.create, async () => {
      location.hash = `#/lists${query({ list: name.value })}`;
    });
  }

  #edit(entry) {
    const plate = element("input", { name: "plate", required: true, maxlength: 32, value: entry?.plate || "", autocapitalize: "characters", spellcheck: "false" });
    plate.readOnly = Boolean(entry);
    const label = element("input", { name: "label", maxlength: 120, value: entry?.label || "" });
    const severity = select(Object.entries(TEXTS.severities), entry?.severity || "warning", { name: "severity" });
    const match = select(Object.entries(TEXTS.matches), entry?.match || "exact", { name: "match" });
    const expires = element("input", { type: "date", name: "expires", value: entry?.expires_unix_ms ? toLocalInput(entry.expires_unix_ms - 1).slice(0, 10) : "" });
    const schedule = element("input", { name: "schedule", value: entry?.schedule || "", placeholder: "mon-fri 08:00-18:00", spellcheck: "false" });
    const fields = [
      field(TEXTS.lists.columns[0], plate, TEXTS.lists.plateHint),
      field(TEXTS.lists.columns[2], label),
      field(TEXTS.lists.columns[1], severity),
      field(TEXTS.lists.columns[3], match),
      field(TEXTS.lists.schedule, schedule, TEXTS.lists.scheduleHint),
      field(TEXTS.lists.expires, expires, TEXTS.lists.expiresHint),
    ];
    openForm(entry ? TEXTS.lists.changeLabel(entry.plate) : TEXTS.lists.addTo(this.#list), fields, TEXTS.save, async () => {
      const body = { label: label.value, severity: severity.value, match: match.value, schedule: schedule.value.trim(), expires: expires.value };
      await put(`/watchlists/${encodeURIComponent(this.#list)}/entries/${encodeURIComponent(plate.value.trim())}`, body);
      await this.#refresh(this.#list);
    });
  }

  #drop(entry) {
    confirmSheet(TEXTS.lists.removeLabel(entry.plate), TEXTS.lists.removeText(this.#list), TEXTS.remove, async () => {
      await remove(`/watchlists/${encodeURIComponent(this.#list)}/entries/${encodeURIComponent(entry.plate)}`);
      await this.#refresh(this.#list);
    });
  }

  #dropList() {
    const list = this.#list;
    confirmSheet(TEXTS.lists.removeListTitle(list), TEXTS.lists.removeListText, TEXTS.lists.removeList, async () => {
      await remove(`/watchlists/${encodeURIComponent(list)}`);
      this.#list = "";
      location.hash = "#/lists";
      await this.#refresh("");
    });
  }

  async #import(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    try {
      await postFile(`/watchlists/${encodeURIComponent(this.#list)}/import`, file, "text/csv");
      await this.#refresh(this.#list);
    } catch (problem) {
      this.#say(problem.message);
    }
  }
}
