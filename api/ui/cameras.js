// Camera tiles: state and rates every two seconds, a snapshot every second while the page is seen.

import { element, setText } from "/ui/dom.js";
import { TEXTS } from "/ui/texts.js";

const STATUS_MS = 2000;
const SNAPSHOT_MS = 1000;

class Tile {
  constructor(name) {
    this.name = name;
    this.image = element("img", { alt: TEXTS.snapshotOf(name), class: "view", hidden: "" });
    this.waiting = element("span", { class: "waiting" });
    this.state = element("span", { class: "state" });
    this.rates = element("span", { class: "rates" });
    this.item = element(
      "li",
      { class: "tile" },
      element("div", { class: "screen" }, this.image, this.waiting, this.state),
      element("div", { class: "caption" }, element("h3", { text: name }), this.rates),
    );
  }

  show(camera) {
    this.camera = camera;
    this.item.dataset.state = camera.state;
    setText(this.state, TEXTS.states[camera.state]);
    setText(this.rates, TEXTS.rates(camera));
    setText(this.waiting, camera.reason || (camera.has_snapshot ? TEXTS.waitingForFrame : TEXTS.noPicture));
    this.#stale(!camera.has_snapshot);
  }

  // What the next status would say, at once.
  turned(turn) {
    if (!this.camera) return;
    this.show({ ...this.camera, state: turn.state, reason: turn.reason });
  }

  #stale(stale) {
    this.item.classList.toggle("stale", stale);
  }

  async refresh() {
    if (!this.camera?.has_snapshot) return;
    const answer = await fetch(`/api/v1/cameras/${encodeURIComponent(this.name)}/snapshot.jpg`);
    if (answer.status !== 200) return;
    const url = URL.createObjectURL(await answer.blob());
    const before = this.image.src;
    this.image.src = url;
    await this.image.decode().catch(() => {});
    this.image.hidden = false;
    this.waiting.hidden = true;
    if (before.startsWith("blob:")) URL.revokeObjectURL(before);
  }
}

export class Cameras {
  #list;
  #tiles = new Map();
  #told;

  // told({engine, cameras}) hears of every answer
  constructor(list, told) {
    this.#list = list;
    this.#told = told;
  }

  start() {
    this.#forever(() => this.#status(), STATUS_MS);
    this.#forever(() => this.#snapshots(), SNAPSHOT_MS);
  }

  turned(turn) {
    this.#tiles.get(turn.camera)?.turned(turn);
  }

  // One round after the other, never two at once; a page in the background rests.
  async #forever(work, everyMs) {
    for (;;) {
      if (!document.hidden) await work().catch(() => {}); // the link's state already says it
      await new Promise((next) => setTimeout(next, everyMs));
    }
  }

  async #status() {
    const answer = await fetch("/api/v1/cameras");
    if (!answer.ok) return;
    const found = await answer.json();
    for (const camera of found.cameras) {
      if (!this.#tiles.has(camera.name)) {
        const tile = new Tile(camera.name);
        this.#tiles.set(camera.name, tile);
        this.#list.append(tile.item);
      }
      this.#tiles.get(camera.name).show(camera);
    }
    const names = new Set(found.cameras.map((camera) => camera.name));
    for (const [name, tile] of this.#tiles) {
      if (names.has(name)) continue;
      tile.item.remove();
      this.#tiles.delete(name);
    }
    this.#told(found);
  }

  async #snapshots() {
    await Promise.all([...this.#tiles.values()].map((tile) => tile.refresh()));
  }
}
