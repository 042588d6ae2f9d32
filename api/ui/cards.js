// The plates as they come: one card per sighting, newest on top; revisions rewrite their card.

import { element, setText, shortTime } from "/ui/dom.js";
import { TEXTS } from "/ui/texts.js";

const MOST_CARDS = 200;
const READING_MS = 60_000; // a vehicle that was last read longer ago is not in view any longer

export function evidenceUrl(sighting, what) {
  return `/api/v1/sightings/${encodeURIComponent(sighting.id)}/${what}.jpg?r=${sighting.revision}`;
}

export function clipUrl(sighting) {
  return `/api/v1/sightings/${encodeURIComponent(sighting.id)}/clip`;
}

// A region such as "gb" or "us-ma" as the band of a plate shows it.
export function country(sighting) {
  return sighting.region ? sighting.region.split("-")[0].toUpperCase() : "";
}

export function paintPlate(node, sighting) {
  setText(node, sighting.plate);
  node.dataset.country = country(sighting);
}

class Card {
  constructor(open) {
    this.crop = element("span", { class: "crop" });
    this.plate = element("span", { class: "plate" });
    this.camera = element("span", { class: "where" });
    this.time = element("time");
    this.tag = element("span", { class: "tag" });
    this.hit = element("span", { class: "hit-mark" });
    this.settled = false;
    this.fill = element("span", { class: "fill" });
    this.percent = element("span", { class: "percent" });
    this.meter = element("span", { class: "meter", role: "img" }, element("span", { class: "track" }, this.fill), this.percent);
    this.button = element(
      "button",
      { type: "button", class: "card" },
      this.crop,
      element("span", { class: "main" }, this.plate, this.hit, this.tag),
      element("span", { class: "meta" }, this.camera, this.time),
      this.meter,
    );
    this.button.addEventListener("click", () => open(this.sighting));
    this.item = element("li", {}, this.button);
  }

  show(sighting) {
    const changed = this.sighting && this.sighting.plate !== sighting.plate;
    this.sighting = sighting;
    // A clip may come after the final event, with one more revision: that reads nothing new.
    this.settled ||= sighting.phase === "final" || Date.now() - sighting.last_unix_ms > READING_MS;
    this.item.dataset.id = sighting.id;
    this.item.dataset.phase = sighting.phase;
    paintPlate(this.plate, sighting);
    setText(this.camera, sighting.camera);
    setText(this.time, shortTime(sighting.first_unix_ms));
    this.time.dateTime = new Date(sighting.first_unix_ms).toISOString();
    const reading = this.settled ? "" : TEXTS.phases[sighting.phase];
    setText(this.tag, reading || (sighting.parked ? TEXTS.parked : TEXTS.origins[sighting.origin]));
    setText(this.percent, TEXTS.confidence(sighting.confidence));
    this.meter.setAttribute("aria-label", TEXTS.confidenceLabel(sighting.confidence));
    this.fill.style.width = `${sighting.confidence}%`;
    this.fill.dataset.level = sighting.confidence >= 90 ? "high" : sighting.confidence >= 75 ? "middle" : "low";
    this.button.setAttribute("aria-label", TEXTS.openLabel(sighting.plate));
    this.#showHit(sighting.hits?.[0]);
    this.#showCrop(sighting);
    if (changed) this.#flash();
  }

  #showHit(hit) {
    if (hit) this.item.dataset.severity = hit.severity;
    else delete this.item.dataset.severity;
    setText(this.hit, hit ? hit.label || hit.list : "");
  }

  #showCrop(sighting) {
    if (!sighting.has_crop) {
      this.crop.replaceChildren(element("span", { class: "nothing", text: TEXTS.noCrop }));
      return;
    }
    const image = element("img", { src: evidenceUrl(sighting, "crop"), alt: TEXTS.cropOf(sighting.plate), decoding: "async" });
    image.addEventListener("error", () => this.crop.replaceChildren(element("span", { class: "nothing", text: TEXTS.noCrop })));
    this.crop.replaceChildren(image);
  }

  #flash() {
    this.item.classList.remove("revised");
    void this.item.offsetWidth; // restarts the animation
    this.item.classList.add("revised");
  }
}

export class Cards {
  #list;
  #open;
  #cards = new Map();
  #most;

  constructor(list, open, most = MOST_CARDS) {
    this.#list = list;
    this.#open = open;
    this.#most = most;
  }

  clear() {
    this.#cards.clear();
    this.#list.replaceChildren();
  }

  get count() {
    return this.#cards.size;
  }

  // Returns true when this sighting was not on the page before.
  take(sighting, { fresh }) {
    const known = this.#cards.get(sighting.id);
    if (known) {
      if (sighting.revision > known.sighting.revision) known.show(sighting);
      return false;
    }
    const card = new Card(this.#open);
    card.show(sighting);
    if (fresh) card.item.classList.add("fresh");
    this.#cards.set(sighting.id, card);
    this.#place(card);
    this.#trim();
    return true;
  }

  // Newest first by the time of the first read; nearly always that is the top.
  #place(card) {
    const at = card.sighting.first_unix_ms;
    let before = this.#list.firstElementChild;
    while (before && this.#cards.get(before.dataset.id).sighting.first_unix_ms > at) before = before.nextElementSibling;
    this.#list.insertBefore(card.item, before);
  }

  #trim() {
    while (this.#cards.size > this.#most) {
      const last = this.#list.lastElementChild;
      this.#cards.delete(last.dataset.id);
      last.remove();
    }
  }
}
