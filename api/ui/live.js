// Live: the plates as they come, and what the cameras see now.

import { alerts } from "/ui/alerts.js";
import { Cards } from "/ui/cards.js";
import { button, element, icon, setText } from "/ui/dom.js";
import { showEvidence } from "/ui/evidence.js";
import { get } from "/ui/net.js";
import { TEXTS } from "/ui/texts.js";
import { Tiles } from "/ui/tiles.js";

const LATEST = 50;
const ANNOUNCE_MS = 3000;

export class LiveView {
  #announced = 0;
  #cards;
  #tiles;
  #list = element("ol", { class: "cards", id: "sightings", tabindex: "-1", "aria-labelledby": "sightings-title" });
  #note = element("p", { class: "note", id: "sightings-note" });
  #cameras = element("ul", { class: "tiles", id: "cameras", tabindex: "0", "aria-labelledby": "cameras-title" });
  #camerasNote = element("p", { class: "note", id: "cameras-note" });
  #hint = element("p", { id: "empty-hint", text: TEXTS.emptyHint(0) });
  #empty;
  #onlyHits = false;

  constructor() {
    this.#empty = this.#makeEmpty();
    this.root = element(
      "div",
      { class: "page" },
      element(
        "section",
        { class: "cameras", "aria-labelledby": "cameras-title" },
        element("div", { class: "head" }, element("h2", { id: "cameras-title", text: TEXTS.cameras }), this.#camerasNote),
        this.#cameras,
      ),
      element(
        "section",
        { class: "feed", "aria-labelledby": "sightings-title" },
        element("div", { class: "head" }, element("h2", { id: "sightings-title", text: TEXTS.sightings }), this.#note, this.#switches()),
        this.#empty,
        this.#list,
      ),
    );
    this.#cards = new Cards(this.#list, showEvidence);
    this.#tiles = new Tiles(this.#cameras, (found) => this.#camerasAre(found));
    this.#fill();
  }

  show() {
    this.#tiles.start();
  }

  hide() {
    this.#tiles.stop();
  }

  take(sighting) {
    if (this.#cards.take(sighting, { fresh: true })) this.#announce(sighting);
    this.#count();
  }

  async gap(lost) {
    await this.#fill();
    setText(this.#note, TEXTS.missed(lost.missed));
  }

  turned(turn) {
    this.#tiles.turned(turn);
  }

  #switches() {
    const hits = this.#switch("lists", TEXTS.onlyHits, () => this.#onlyHits, (on) => {
      this.#onlyHits = on;
      this.#list.classList.toggle("only-hits", on);
      return on;
    });
    const sound = this.#switch("sound", TEXTS.sound, () => alerts.sound, (on) => {
      alerts.setSound(on);
      return on;
    });
    const bell = this.#switch("bell", TEXTS.notifications, () => alerts.notifications, (on) => alerts.setNotifications(on));
    bell.hidden = !alerts.canNotify;
    return element("div", { class: "switches" }, hits, sound, bell);
  }

  #switch(name, label, present, change) {
    const made = button("", { class: "switch", "aria-pressed": String(present()), "aria-label": label, title: label }, icon(name));
    made.addEventListener("click", async () => {
      made.setAttribute("aria-pressed", String(await change(made.getAttribute("aria-pressed") !== "true")));
    });
    return made;
  }

  #makeEmpty() {
    const command = `curl ${location.origin}/alpr_data -H 'Content-Type: application/json' -d '{"plate": "ABC123"}'`;
    return element(
      "div",
      { class: "empty", id: "empty", hidden: true },
      element("p", { class: "empty-title", id: "empty-title", text: TEXTS.emptyTitle }),
      this.#hint,
      element("p", { text: TEXTS.emptyTry }),
      element("pre", { id: "empty-command", tabindex: "0", text: command }),
    );
  }

  async #fill() {
    const found = await get("/sightings", { limit: LATEST }).catch(() => ({ sightings: [] }));
    for (const sighting of found.sightings) this.#cards.take(sighting, { fresh: false });
    this.#count();
  }

  #count() {
    this.#empty.hidden = this.#cards.count > 0;
    setText(this.#note, TEXTS.shown(this.#cards.count));
  }

  // Screen readers hear of a plate now and then, not of every one on a busy road.
  #announce(sighting) {
    const now = Date.now();
    if (now - this.#announced < ANNOUNCE_MS) return;
    this.#announced = now;
    setText(document.getElementById("announcer"), TEXTS.announce(sighting.plate, sighting.camera));
  }

  #camerasAre(found) {
    setText(this.#hint, TEXTS.emptyHint(found.cameras.length));
    const live = found.cameras.filter((camera) => camera.state === "live").length;
    const note = !found.engine ? TEXTS.noEngine : found.cameras.length ? TEXTS.camerasLive(live, found.cameras.length) : TEXTS.noCameras;
    setText(this.#camerasNote, note);
  }
}
