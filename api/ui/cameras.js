// Cameras: health at a glance, live pictures, and changes while the engine runs.

import { ago, button, element, field, icon, select, setText, shortTime } from "/ui/dom.js";
import { address, get, patch, post, remove } from "/ui/net.js";
import { session } from "/ui/session.js";
import { confirmSheet, openForm, openSheet } from "/ui/sheet.js";
import { TEXTS } from "/ui/texts.js";
import { snapshotUrl } from "/ui/tiles.js";

const EVERY_MS = 2000;
const PICTURE_MS = 1000;
const TURNS = 30;
const ILL = new Set(["lost", "frozen", "degraded"]);

export class CamerasView {
  #grid = element("ul", { class: "health" });
  #summary = element("p", { class: "note", role: "status" });
  #turns = element("ol", { class: "turns", tabindex: "0", "aria-labelledby": "turns-title" });
  #turnsPart;
  #rows = new Map();
  #timer = 0;

  constructor() {
    const add = button(TEXTS.camera.add, { class: "button primary", onclick: () => this.#edit(null) }, icon("plus"));
    add.hidden = !session.may("admin");
    this.#turnsPart = element("section", { class: "panel", hidden: true, "aria-labelledby": "turns-title" }, element("h3", { id: "turns-title", text: TEXTS.camera.turns }), this.#turns);
    this.root = element(
      "div",
      { class: "column" },
      element("div", { class: "head" }, element("h2", { class: "title", text: TEXTS.tabs.cameras }), this.#summary, element("div", { class: "switches" }, add)),
      this.#grid,
      this.#turnsPart,
    );
  }

  show() {
    this.hide();
    this.#refresh();
    this.#timer = setInterval(() => document.hidden || this.#refresh(), EVERY_MS);
  }

  hide() {
    clearInterval(this.#timer);
  }

  async #refresh() {
    try {
      this.#fill(await get("/cameras"));
    } catch (problem) {
      setText(this.#summary, problem.message);
      return;
    }
    const found = await get("/cameras/events", { limit: TURNS }).catch(() => null);
    if (found) this.#fillTurns(found);
  }

  #fill(found) {
    const seen = new Set();
    for (const camera of found.cameras) {
      const key = `${camera.node}/${camera.name}`;
      seen.add(key);
      if (!this.#rows.has(key)) {
        const row = new HealthRow(camera, camera.node === found.node, (changed) => this.#edit(changed), () => this.#refresh());
        this.#rows.set(key, row);
        this.#grid.append(row.item);
      }
      this.#rows.get(key).show(camera);
    }
    for (const [key, row] of this.#rows) {
      if (seen.has(key)) continue;
      row.item.remove();
      this.#rows.delete(key);
    }
    const ill = found.cameras.filter((camera) => ILL.has(camera.state)).length;
    setText(this.#summary, found.cameras.length ? TEXTS.camera.summary(found.cameras.length, ill) : TEXTS.noCameras);
  }

  #fillTurns(found) {
    const turns = found.events;
    const stamp = turns.map((turn) => `${turn.camera}${turn.unix_ms}`).join();
    if (this.#turns.dataset.stamp === stamp) return;
    this.#turns.dataset.stamp = stamp;
    this.#turnsPart.hidden = !turns.length;
    this.#turns.replaceChildren(
      ...turns.map((turn) =>
        element(
          "li",
          { data: { state: turn.state } },
          element("time", { text: shortTime(turn.unix_ms) }),
          element("b", { text: turn.camera }),
          element("span", { class: "pill", data: { state: turn.state }, text: TEXTS.states[turn.state] || turn.state }),
          element("span", { class: "soft", text: turn.reason }),
        ),
      ),
    );
  }

  #edit(camera) {
    const name = element("input", { name: "name", required: true, maxlength: 63, spellcheck: "false", value: camera?.name || "" });
    const url = element("input", { name: "url", required: !camera, spellcheck: "false", autocomplete: "off", placeholder: camera ? TEXTS.camera.urlKept : "rtsp://user:password@192.0.2.7/stream1" });
    const fps = element("input", { name: "fps", type: "number", min: 0, max: 240, step: "any", placeholder: "0" });
    const regions = element("input", { name: "regions", spellcheck: "false", placeholder: "gb, ie" });
    const play = select(Object.entries(TEXTS.camera.plays), "");
    name.readOnly = Boolean(camera);
    const fields = [
      field(TEXTS.camera.name, name),
      field(TEXTS.camera.url, url, TEXTS.camera.urlHint),
      field(TEXTS.camera.fps, fps, TEXTS.camera.fpsHint),
      field(TEXTS.camera.regions, regions, TEXTS.camera.regionsHint),
      field(TEXTS.camera.play, play),
    ];
    openForm(camera ? TEXTS.camera.change(camera.name) : TEXTS.camera.add, fields, TEXTS.save, async () => {
      const settings = { ...(camera ? {} : { name: name.value.trim() }) };
      if (url.value.trim()) settings.url = url.value.trim();
      if (fps.value) settings.fps = Number(fps.value);
      if (regions.value.trim()) settings.regions = regions.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
      if (play.value) settings.play = play.value;
      if (camera) await patch(`/cameras/${encodeURIComponent(camera.name)}`, settings);
      else await post("/cameras", settings);
      this.#refresh();
    });
  }
}

class HealthRow {
  constructor(camera, isOwn, edit, changed) {
    this.node = isOwn ? "" : camera.node;
    this.picture = element("img", { alt: TEXTS.snapshotOf(camera.name), class: "thumb", hidden: true });
    this.picture.addEventListener("load", () => (this.picture.hidden = false));
    this.state = element("span", { class: "pill" });
    this.reason = element("p", { class: "reason" });
    this.figures = element("dl", { class: "figures" });
    this.pause = button("", { class: "button small", onclick: () => this.#order(this.camera.state === "paused" ? "resume" : "pause", changed) });
    const change = button(TEXTS.camera.edit, { class: "button small", onclick: () => edit(this.camera) });
    const drop = button(TEXTS.camera.remove, { class: "button small danger", onclick: () => this.#drop(changed) });
    this.pause.hidden = !isOwn || !session.may("operate");
    change.hidden = drop.hidden = !isOwn || !session.may("admin");
    const look = button("", { class: "thumb-button", "aria-label": TEXTS.camera.watch(camera.name), onclick: () => watch(camera.name, this.node) }, this.picture);
    this.item = element(
      "li",
      { class: "panel health-row" },
      look,
      element(
        "div",
        { class: "health-main" },
        element("div", { class: "health-head" }, element("h3", { text: isOwn ? camera.name : `${camera.name} · ${camera.node}` }), this.state),
        this.reason,
        this.figures,
        element("div", { class: "actions start" }, this.pause, change, drop),
      ),
    );
  }

  show(camera) {
    this.camera = camera;
    this.item.dataset.state = this.state.dataset.state = camera.state;
    setText(this.state, TEXTS.states[camera.state] || camera.state);
    setText(this.reason, camera.reason);
    setText(this.pause, camera.state === "paused" ? TEXTS.camera.resume : TEXTS.camera.pause);
    const figures = TEXTS.camera.figures(camera);
    if (camera.last_frame_unix_ms) figures.push([TEXTS.camera.lastFrame, ago((Date.now() - camera.last_frame_unix_ms) / 1000)]);
    this.figures.replaceChildren(...figures.map(([name, value]) => element("div", {}, element("dt", { text: name }), element("dd", { text: value }))));
    if (camera.has_snapshot) this.picture.src = `${snapshotUrl(camera.name, this.node)}&at=${Date.now()}`;
  }

  async #order(verb, changed) {
    this.pause.disabled = true;
    await post(`/cameras/${encodeURIComponent(this.camera.name)}/${verb}`).catch((problem) => setText(this.reason, problem.message));
    this.pause.disabled = false;
    changed();
  }

  #drop(changed) {
    const name = this.camera.name;
    confirmSheet(TEXTS.camera.removeTitle(name), TEXTS.camera.removeText, TEXTS.camera.remove, async () => {
      await remove(`/cameras/${encodeURIComponent(name)}`);
      changed();
    });
  }
}

// The camera's own pace as MJPEG; where the front has none, a picture a second.
function watch(name, node) {
  const picture = element("img", { class: "watched", alt: TEXTS.snapshotOf(name) });
  let timer = 0;
  picture.addEventListener(
    "error",
    () => {
      const again = () => (picture.src = `${snapshotUrl(name, node)}&at=${Date.now()}`);
      again();
      timer = setInterval(again, PICTURE_MS);
    },
    { once: true },
  );
  picture.src = node ? `${snapshotUrl(name, node)}&at=${Date.now()}` : address(`/cameras/${encodeURIComponent(name)}/stream.mjpeg`, { boxes: 1 });
  openSheet(name, picture);
  document.getElementById("sheet").addEventListener(
    "close",
    () => {
      clearInterval(timer);
      picture.src = ""; // lets the connection go
      picture.removeAttribute("src");
    },
    { once: true },
  );
}
