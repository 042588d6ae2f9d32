// Upload: a picture or video is handed in; plates appear as they are read, with their boxes over
// the picture and marks on the time line.

import { button, bytes, drawing, element, icon, longTime, playTime, setText } from "/ui/dom.js";
import { address, get, headersFor, remove } from "/ui/net.js";
import { session } from "/ui/session.js";
import { TEXTS } from "/ui/texts.js";

const AGAIN_MS = 500;
const NEAR_S = 0.35; // a box is shown so long around the times it was measured at
const ACCEPT = "image/jpeg,image/png,image/webp,image/bmp,image/tiff,video/*,.mkv,.ts,.avi,.mov";

export class UploadView {
  #drop;
  #list = element("div", { class: "uploads" });
  #problem = element("p", { class: "problem", role: "alert", hidden: true });
  #known = new Map();

  constructor() {
    const file = element("input", { type: "file", id: "upload-file", class: "quiet", multiple: true, accept: ACCEPT });
    file.addEventListener("change", () => {
      this.#send([...file.files]);
      file.value = "";
    });
    this.#drop = element(
      "label",
      { class: "drop", for: "upload-file" },
      icon("upload"),
      element("span", { class: "drop-title", text: TEXTS.upload.drop }),
      element("span", { class: "soft", text: TEXTS.upload.dropHint }),
      file,
    );
    for (const name of ["dragenter", "dragover"]) this.#drop.addEventListener(name, (event) => this.#over(event, true));
    this.#drop.addEventListener("dragleave", (event) => this.#over(event, false));
    this.#drop.addEventListener("drop", (event) => {
      this.#over(event, false);
      this.#send([...event.dataTransfer.files]);
    });
    this.#drop.hidden = !session.may("operate");
    this.root = element("div", { class: "column" }, element("h2", { class: "title", text: TEXTS.tabs.upload }), this.#drop, this.#problem, this.#list);
  }

  async show() {
    try {
      const found = await get("/uploads");
      for (const state of [...found.uploads].reverse()) this.#shown(state.upload.id, state.upload.name);
      for (const [id, work] of this.#known) if (!found.uploads.some((state) => state.upload.id === id)) this.#forget(id, work);
    } catch (problem) {
      this.#say(problem.isAbsent ? TEXTS.absent : problem.message);
    }
  }

  hide() {
    for (const work of this.#known.values()) work.rest();
    this.#known.clear();
    this.#list.replaceChildren();
  }

  #over(event, over) {
    event.preventDefault();
    this.#drop.classList.toggle("over", over);
  }

  #say(sentence) {
    this.#problem.textContent = sentence;
    this.#problem.hidden = !sentence;
  }

  #shown(id, name) {
    if (this.#known.has(id)) return this.#known.get(id);
    const work = new Work(id, name, () => this.#forget(id, work));
    this.#known.set(id, work);
    this.#list.prepend(work.root);
    work.follow();
    return work;
  }

  #forget(id, work) {
    work.rest();
    work.root.remove();
    this.#known.delete(id);
  }

  async #send(files) {
    this.#say("");
    for (const file of files) {
      const row = element("div", { class: "panel sending" }, element("span", { text: TEXTS.upload.sending(file.name || TEXTS.upload.nameless, bytes(file.size)) }), element("progress", { max: 1, value: 0, "aria-label": file.name }));
      this.#list.prepend(row);
      try {
        const { id } = await sent(file, (share) => (row.querySelector("progress").value = share));
        this.#shown(id, file.name);
      } catch (problem) {
        this.#say(`${file.name}: ${problem.message}`);
      } finally {
        row.remove();
      }
    }
  }
}

// fetch() does not tell how much of a body has left; XMLHttpRequest does.
function sent(file, told) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", address("/uploads"));
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.setRequestHeader("X-Filename", file.name.replace(/[^\x20-\x7e]/g, "_"));
    for (const [name, value] of Object.entries(headersFor("POST"))) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => event.lengthComputable && told(event.loaded / event.total));
    request.addEventListener("error", () => failed(new Error(TEXTS.noServer)));
    request.addEventListener("load", () => {
      if (request.status < 300) done(request.response);
      else failed(new Error(request.response?.detail || request.response?.error || TEXTS.upload.refused));
    });
    request.send(file);
  });
}

class Work {
  #id;
  #source = null;
  #about = null;
  #plates = new Map();
  #media = null;
  #overlay = null;
  #frame = 0;
  #timer = 0;
  #title = element("h3", {});
  #state = element("p", { class: "note", role: "status" });
  #bar = element("progress", { max: 1, value: 0 });
  #stage = element("div", { class: "stage" });
  #seek = element("input", { type: "range", class: "seek", min: 0, max: 1, step: "any", value: 0, "aria-label": TEXTS.upload.place });
  #marks = element("div", {});
  #toggle = button("", { class: "button play", "aria-label": TEXTS.upload.play }, icon("play"));
  #clock = element("span", { class: "clock" });
  #player = element("div", { class: "player", hidden: true }, this.#toggle, element("div", { class: "timeline" }, this.#seek, this.#marks), this.#clock);
  #found = element("ol", { class: "found", tabindex: "0", "aria-label": TEXTS.sightings });

  constructor(id, name, forgotten) {
    this.#id = id;
    setText(this.#title, name || TEXTS.upload.nameless);
    this.#bar.setAttribute("aria-label", TEXTS.upload.progress);
    const drop = button(TEXTS.remove, {
      class: "button small danger",
      onclick: async () => {
        await remove(`/uploads/${id}`).catch(() => {}); // gone already: the same
        forgotten();
      },
    });
    drop.hidden = !session.may("operate");
    this.root = element(
      "article",
      { class: "panel upload", data: { upload: id } },
      element("div", { class: "head" }, this.#title, this.#state, element("div", { class: "switches" }, drop)),
      this.#bar,
      element("div", { class: "upload-body" }, element("div", { class: "upload-media" }, this.#stage, this.#player), this.#found),
    );
  }

  async follow() {
    const found = await get(`/uploads/${this.#id}`).catch(() => null);
    if (!found) return;
    this.#about = found.upload;
    setText(this.#title, found.upload.name || TEXTS.upload.nameless);
    this.#title.title = TEXTS.upload.kept(longTime(found.deleted_unix_ms));
    if (!this.#media) this.#play();
    for (const plate of found.plates) this.#take(plate);
    if (found.state === "done" || found.state === "failed") return this.#over(found.state, found.reason);
    this.#say(found.state, found.progress);
    // One at a time is read: the others ask now and then, and leave the browser's connections alone.
    if (found.state === "waiting") this.#timer = setTimeout(() => this.follow(), AGAIN_MS);
    else this.#listen();
  }

  #listen() {
    this.#source = new EventSource(address(`/uploads/${this.#id}/events`));
    const on = (name, take) => this.#source.addEventListener(name, (event) => take(JSON.parse(event.data)));
    on("progress", (told) => this.#say("reading", told.share));
    on("plate", (plate) => this.#take(plate));
    on("done", () => this.#over("done"));
    on("failed", (told) => this.#over("failed", told.reason));
  }

  rest() {
    this.#source?.close();
    clearTimeout(this.#timer);
    cancelAnimationFrame(this.#frame);
  }

  #say(state, share) {
    this.root.dataset.state = state;
    this.#bar.hidden = false;
    if (state === "waiting") this.#bar.removeAttribute("value");
    else this.#bar.value = share;
    setText(this.#state, state === "waiting" ? TEXTS.upload.waiting : TEXTS.upload.reading(Math.round(share * 100)));
  }

  #over(state, reason = "") {
    this.#source?.close();
    this.root.dataset.state = state;
    this.#bar.hidden = true;
    setText(this.#state, state === "failed" ? TEXTS.upload.failed(reason) : TEXTS.upload.done(this.#plates.size));
    if (!this.#plates.size && state === "done") this.#found.replaceChildren(element("li", { class: "note", text: TEXTS.upload.nothing }));
  }

  // --- the picture, what lies over it, and the time line ----------------------------------------------

  #play() {
    const about = this.#about;
    const src = address(`/uploads/${this.#id}/file`);
    const isVideo = about.kind === "video";
    this.#media = isVideo
      ? element("video", { src, muted: true, playsinline: true, preload: "metadata", "aria-label": about.name })
      : element("img", { src, alt: TEXTS.upload.pictureOf(about.name) });
    this.#overlay = drawing("svg", { class: "overlay", viewBox: `0 0 ${about.width_px} ${about.height_px}`, "aria-hidden": "true" });
    const lost = element("p", { class: "waiting", text: TEXTS.upload.unplayable, hidden: true });
    this.#media.addEventListener("error", () => {
      this.#media.hidden = true;
      lost.hidden = false;
    });
    this.#stage.replaceChildren(this.#media, this.#overlay, lost);
    if (!isVideo) return;
    this.#player.hidden = false;
    this.#control(this.#media);
  }

  #control(video) {
    const step = () => {
      this.#paint();
      this.#tellTime();
      cancelAnimationFrame(this.#frame);
      if (!video.paused) this.#frame = requestAnimationFrame(step);
    };
    const toggle = () => (video.paused ? video.play() : video.pause());
    for (const name of ["play", "pause", "seeked", "loadeddata", "loadedmetadata"]) video.addEventListener(name, step);
    for (const each of [video, this.#toggle]) each.addEventListener("click", toggle);
    video.addEventListener("loadedmetadata", () => this.#placeMarks());
    this.#seek.addEventListener("input", () => (video.currentTime = Number(this.#seek.value)));
  }

  #tellTime() {
    const { currentTime, paused } = this.#media;
    const length = this.#length;
    this.#seek.max = length;
    this.#seek.value = currentTime;
    setText(this.#clock, `${playTime(currentTime)} / ${playTime(length)}`);
    this.#toggle.replaceChildren(icon(paused ? "play" : "pause"));
    this.#toggle.setAttribute("aria-label", paused ? TEXTS.upload.play : TEXTS.upload.pause);
  }

  get #length() {
    return this.#media.duration || this.#about.duration_s || Math.max(...[...this.#plates.values()].map((plate) => plate.last_s), 1);
  }

  #take(plate) {
    this.#plates.set(plate.number, plate);
    const all = [...this.#plates.values()].sort((one, other) => one.first_s - other.first_s || one.number - other.number);
    this.#found.replaceChildren(...all.map((each) => this.#row(each)));
    this.#placeMarks();
    this.#paint();
  }

  #row(plate) {
    const crop = plate.has_crop ? element("img", { src: address(`/uploads/${this.#id}/crops/${plate.number}.jpg`, { r: plate.reads }), alt: TEXTS.cropOf(plate.plate) }) : element("span", { class: "nothing", text: TEXTS.noCrop });
    const [hit] = plate.hits;
    const when = this.#about.kind === "video" ? TEXTS.upload.when(playTime(plate.first_s), playTime(plate.last_s)) : "";
    const open = button(
      "",
      { class: "card", data: hit ? { severity: hit.severity } : {}, onclick: () => this.#goTo(plate) },
      element("span", { class: "crop" }, crop),
      element("span", { class: "main" }, element("span", { class: "plate", text: plate.plate, data: { country: plate.region.split("-")[0].toUpperCase() } }), hit ? element("span", { class: "hit-mark", text: hit.label || hit.list }) : null),
      element("span", { class: "meta" }, element("span", { class: "where", text: [when, TEXTS.confidence(plate.confidence)].filter(Boolean).join(" · ") })),
    );
    return element("li", { data: hit ? { severity: hit.severity } : {} }, open);
  }

  #goTo(plate) {
    if (this.#about.kind !== "video") return;
    this.#media.currentTime = plate.at_s;
    this.#media.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  #placeMarks() {
    if (this.#about.kind !== "video") return;
    const length = this.#length;
    this.#marks.replaceChildren(
      ...[...this.#plates.values()].map((plate) => {
        const mark = button("", { class: "mark", title: plate.plate, "aria-label": TEXTS.upload.seek(plate.plate, playTime(plate.at_s)), onclick: () => this.#goTo(plate) });
        mark.style.left = `${(100 * Math.max(0, plate.first_s)) / length}%`;
        mark.style.width = `max(8px, ${(100 * (plate.last_s - plate.first_s)) / length}%)`;
        return mark;
      }),
    );
  }

  #paint() {
    if (!this.#overlay) return;
    const now = this.#about.kind === "video" ? this.#media.currentTime : null;
    const shown = [...this.#plates.values()].map((plate) => [plate, boxAt(plate, now)]).filter(([, box]) => box);
    const size = Math.max(14, this.#about.width_px / 45);
    this.#overlay.replaceChildren(
      ...shown.flatMap(([plate, box]) => [
        drawing("rect", { class: "box", x: box.x, y: box.y, width: box.width, height: box.height, rx: size / 6, "stroke-width": size / 7 }),
        drawing("text", { class: "box-text", x: box.x + box.width / 2, y: Math.max(size, box.y - size / 3), "font-size": size, "stroke-width": size / 5, text: plate.plate }),
      ]),
    );
  }
}

// Where a plate is at a time: between two places of its path, in a straight line.
function boxAt(plate, now) {
  if (now === null) return plate.box;
  const path = plate.path;
  if (!path.length || now < plate.first_s - NEAR_S || now > plate.last_s + NEAR_S) return null;
  const after = path.findIndex((each) => each.at_s >= now);
  if (after <= 0) return path[after < 0 ? path.length - 1 : 0].box;
  const [from, to] = [path[after - 1], path[after]];
  const share = (now - from.at_s) / Math.max(1e-6, to.at_s - from.at_s);
  const between = (name) => from.box[name] + share * (to.box[name] - from.box[name]);
  return { x: between("x"), y: between("y"), width: between("width"), height: between("height") };
}
