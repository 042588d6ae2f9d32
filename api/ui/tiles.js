// Camera tiles: state and rates every two seconds, snapshots one after the other while the page is
// seen. A browser allows six connections to a server, and the live events hold one of them.

import { element, setText } from "/ui/dom.js";
import { address, get } from "/ui/net.js";
import { TEXTS } from "/ui/texts.js";

const STATUS_MS = 2000;
const SNAPSHOT_MS = 1000;
const AT_ONCE = 3;

// Machines may use the same names of cameras.
const keyOf = (node, name) => `${node}/${name}`;

export function snapshotUrl(name, node) {
  return address(`/cameras/${encodeURIComponent(name)}/snapshot.jpg`, { boxes: 1, node });
}

class Tile {
  // node: empty for a camera of the machine that answers
  constructor(name, node, watch) {
    this.name = name;
    this.node = node;
    this.seen = true;
    this.image = element("img", { alt: TEXTS.snapshotOf(name), class: "view", hidden: true });
    this.waiting = element("span", { class: "waiting" });
    this.state = element("span", { class: "state" });
    this.rates = element("span", { class: "rates" });
    this.item = element(
      "li",
      { class: "tile" },
      element("div", { class: "screen" }, this.image, this.waiting, this.state),
      element("div", { class: "caption" }, element("h3", { text: node ? `${name} · ${node}` : name }), this.rates),
    );
    this.item.tile = this;
    watch.observe(this.item);
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
    if (!this.camera?.has_snapshot || !this.seen) return;
    const answer = await fetch(snapshotUrl(this.name, this.node));
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

export class Tiles {
  #list;
  #tiles = new Map();
  #told;
  #round = 0;
  #watch = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) target.tile.seen = isIntersecting;
  });

  // told({engine, cameras}) hears of every answer
  constructor(list, told) {
    this.#list = list;
    this.#told = told;
  }

  start() {
    this.#round += 1;
    this.#forever(() => this.#status(), STATUS_MS, this.#round);
    this.#forever(() => this.#snapshots(), SNAPSHOT_MS, this.#round);
  }

  stop() {
    this.#round += 1;
  }

  turned(turn) {
    this.#tiles.get(keyOf(turn.node, turn.camera))?.turned(turn);
  }

  // One round after the other, never two at once; a page in the background rests.
  async #forever(work, everyMs, round) {
    while (round === this.#round) {
      if (!document.hidden) await work().catch(() => {}); // the link's state already says it
      await new Promise((next) => setTimeout(next, everyMs));
    }
  }

  async #status() {
    const found = await get("/cameras");
    const seen = new Set();
    for (const camera of found.cameras) {
      const key = keyOf(camera.node, camera.name);
      seen.add(key);
      if (!this.#tiles.has(key)) {
        const tile = new Tile(camera.name, camera.node === found.node ? "" : camera.node, this.#watch);
        this.#tiles.set(key, tile);
        this.#list.append(tile.item);
      }
      this.#tiles.get(key).show(camera);
    }
    for (const [key, tile] of this.#tiles) {
      if (seen.has(key)) continue;
      this.#watch.unobserve(tile.item);
      tile.item.remove();
      this.#tiles.delete(key);
    }
    this.#told(found);
  }

  async #snapshots() {
    const waiting = [...this.#tiles.values()];
    const work = async () => {
      for (let tile = waiting.shift(); tile; tile = waiting.shift()) await tile.refresh().catch(() => {});
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }
}
