// Search: every filter stands in the address bar, so that a search can be kept, sent and gone back to.

import { Cards } from "/ui/cards.js";
import { button, element, field, fromLocalInput, icon, later, select, setText, toLocalInput } from "/ui/dom.js";
import { showEvidence } from "/ui/evidence.js";
import { address, get, query } from "/ui/net.js";
import { TEXTS } from "/ui/texts.js";

const PAGE = 50;
const TYPED_MS = 350;
const MOST = 5000;
const PHONE_PX = 720;
const NAMES = ["plate", "match", "camera", "list", "region", "after", "before", "min_confidence"];

export class SearchView {
  #list = element("ol", { class: "cards wide", "aria-label": TEXTS.search.results });
  #note = element("p", { class: "note", role: "status" });
  #problem = element("p", { class: "problem", role: "alert", hidden: true });
  #more = button(TEXTS.search.more, { class: "button wide", hidden: true, onclick: () => this.#load() });
  #nothing = element("p", { class: "empty", hidden: true, text: TEXTS.search.nothing });
  #controls;
  #exports;
  #cards;
  #asked = null;
  #next = "";
  #round = 0;

  constructor() {
    const typed = later(() => this.#write(), TYPED_MS);
    const at = () => this.#write();
    this.#controls = {
      plate: element("input", { type: "search", name: "plate", autocapitalize: "characters", autocomplete: "off", spellcheck: "false", maxlength: 32, placeholder: TEXTS.search.platePlaceholder, oninput: typed }),
      match: select(Object.entries(TEXTS.search.matches), "", { name: "match", onchange: at }),
      camera: select([["", TEXTS.search.anyCamera]], "", { name: "camera", onchange: at }),
      list: select([["", TEXTS.search.anyList]], "", { name: "list", onchange: at }),
      region: element("input", { name: "region", maxlength: 6, autocapitalize: "none", spellcheck: "false", placeholder: "gb", oninput: typed }),
      after: element("input", { type: "datetime-local", name: "after", onchange: at }),
      before: element("input", { type: "datetime-local", name: "before", onchange: at }),
      min_confidence: element("input", { type: "number", name: "min_confidence", min: 0, max: 100, step: 1, inputmode: "numeric", placeholder: "0", oninput: typed }),
    };
    this.#exports = ["csv", "jsonl"].map((format) => element("a", { class: "button small", download: true, data: { format } }, icon("download"), TEXTS.search.formats[format]));
    this.#cards = new Cards(this.#list, showEvidence, MOST);
    this.root = element(
      "div",
      { class: "column" },
      element("h2", { class: "title", text: TEXTS.tabs.search }),
      this.#form(),
      this.#problem,
      element("div", { class: "head" }, this.#note, element("div", { class: "switches" }, ...this.#exports)),
      this.#nothing,
      this.#list,
      this.#more,
    );
    this.#fillChoices();
  }

  focus() {
    this.#controls.plate.focus();
  }

  #form() {
    const { plate, match, ...others } = this.#controls;
    const clear = button(TEXTS.search.clear, { class: "button small", onclick: () => (location.hash = "#/search") });
    const names = Object.entries(others).map(([name, control]) => field(TEXTS.search.fields[name], control));
    const rest = element("details", { class: "filter-more", open: window.innerWidth > PHONE_PX }, element("summary", { text: TEXTS.search.moreFilters }), element("div", { class: "filter-rest" }, ...names), clear);
    const form = element(
      "form",
      { class: "panel filters", role: "search" },
      element("div", { class: "filter-main" }, field(TEXTS.search.fields.plate, plate), field(TEXTS.search.fields.match, match)),
      rest,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#write();
    });
    return form;
  }

  async #fillChoices() {
    const [cameras, lists] = await Promise.all([get("/cameras").catch(() => null), get("/watchlists").catch(() => null)]);
    const names = [...new Set((cameras?.cameras || []).map((camera) => camera.name))];
    const known = (lists || []).map((list) => list.name);
    this.#choose("camera", names);
    this.#choose("list", known);
    if (!known.length) this.#controls.list.closest(".field").hidden = true;
  }

  #choose(name, values) {
    const control = this.#controls[name];
    const chosen = this.#asked?.[name] || "";
    const known = [...control.options].map((option) => option.value);
    control.append(...values.filter((value) => !known.includes(value)).map((value) => element("option", { value, text: value })));
    control.value = chosen;
  }

  // What the form says goes into the address bar; what stands there is what is searched.
  #write() {
    const said = {};
    for (const [name, control] of Object.entries(this.#controls)) {
      said[name] = name === "after" || name === "before" ? fromLocalInput(control.value) : control.value.trim();
    }
    if (/[*?]/.test(said.plate) && said.match === "exact") said.match = "wildcard";
    if (!said.plate || said.match === "exact") delete said.match;
    const hash = `#/search${query(said)}`;
    if (hash === location.hash) return;
    history.replaceState(null, "", hash);
    this.show(Object.fromEntries(new URLSearchParams(query(said))));
  }

  show(parameters) {
    const asked = Object.fromEntries(NAMES.filter((name) => parameters[name]).map((name) => [name, parameters[name]]));
    if (this.#asked && JSON.stringify(asked) === JSON.stringify(this.#asked)) return;
    this.#asked = asked;
    for (const [name, control] of Object.entries(this.#controls)) {
      if (control === document.activeElement) continue;
      const value = asked[name] || (name === "match" ? "exact" : "");
      if (name === "camera" || name === "list") this.#keepChoice(control, value);
      control.value = value && (name === "after" || name === "before") ? toLocalInput(value) : value;
    }
    for (const link of this.#exports) link.href = address("/sightings/export", { ...asked, format: link.dataset.format });
    this.#cards.clear();
    this.#next = "";
    this.#load();
  }

  #keepChoice(control, value) {
    if (value && ![...control.options].some((option) => option.value === value)) control.append(element("option", { value, text: value }));
  }

  async #load() {
    const round = (this.#round += 1);
    this.#problem.hidden = true;
    this.#more.disabled = true;
    setText(this.#note, TEXTS.search.searching);
    try {
      const found = await get("/sightings", { ...this.#asked, limit: PAGE, cursor: this.#next });
      if (round !== this.#round) return; // another search has begun
      for (const sighting of found.sightings) this.#cards.take(sighting, { fresh: false });
      this.#next = found.next || "";
      setText(this.#note, TEXTS.search.found(this.#cards.count, Boolean(this.#next)));
      this.#nothing.hidden = this.#cards.count > 0;
    } catch (problem) {
      if (round !== this.#round) return;
      this.#problem.textContent = problem.message;
      this.#problem.hidden = false;
      setText(this.#note, "");
    } finally {
      this.#more.hidden = !this.#next;
      this.#more.disabled = false;
    }
  }
}
