// The live page: puts the rooms together.

import { Cameras } from "/ui/cameras.js";
import { Cards } from "/ui/cards.js";
import { setText } from "/ui/dom.js";
import { showEvidence } from "/ui/evidence.js";
import { Feed } from "/ui/feed.js";
import { TEXTS } from "/ui/texts.js";

const LATEST = 50;
const ANNOUNCE_MS = 3000;

const byId = (id) => document.getElementById(id);
const cards = new Cards(byId("sightings"), showEvidence);
let announced = 0;

function label() {
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = TEXTS[node.dataset.text];
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", TEXTS[node.dataset.label]);
  byId("empty-command").textContent =
    `curl ${location.origin}/alpr_data -H 'Content-Type: application/json' -d '{"plate": "ABC123"}'`;
  setText(byId("empty-title"), TEXTS.emptyTitle);
}

function count() {
  byId("empty").hidden = cards.count > 0;
  setText(byId("sightings-note"), TEXTS.shown(cards.count));
}

// Screen readers hear of a plate now and then, not of every one on a busy road.
function announce(sighting) {
  const now = Date.now();
  if (now - announced < ANNOUNCE_MS) return;
  announced = now;
  setText(byId("announcer"), TEXTS.announce(sighting.plate, sighting.camera));
}

function linkIs(state) {
  byId("link").dataset.state = state;
  setText(byId("link-text"), TEXTS.link[state]);
}

async function fill() {
  const answer = await fetch(`/api/v1/sightings?limit=${LATEST}`).catch(() => null);
  const found = answer?.ok ? await answer.json() : { sightings: [] };
  for (const sighting of found.sightings) cards.take(sighting, { fresh: false });
  count();
}

const feed = new Feed("/api/v1/events?cameras=1", {
  sighting(sighting) {
    if (cards.take(sighting, { fresh: true })) announce(sighting);
    count();
  },
  async gap(lost) {
    await fill();
    setText(byId("sightings-note"), TEXTS.missed(lost.missed));
  },
  camera: (turn) => cameras.turned(turn),
  state: linkIs,
});

const cameras = new Cameras(byId("cameras"), (found) => {
  setText(byId("empty-hint"), TEXTS.emptyHint(found.cameras.length));
  const live = found.cameras.filter((camera) => camera.state === "live").length;
  const note = !found.engine ? TEXTS.noEngine : found.cameras.length ? TEXTS.camerasLive(live, found.cameras.length) : TEXTS.noCameras;
  setText(byId("cameras-note"), note);
});

label();
linkIs("connecting");
setText(byId("empty-hint"), TEXTS.emptyHint(0));
feed.open(); // before the latest are asked for: whatever comes in between comes twice, never not at all
fill();
cameras.start();
