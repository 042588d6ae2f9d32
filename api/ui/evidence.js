// What is known of one sighting, in a dialog: pictures, times, what else the plate may read.

import { clipUrl, country, evidenceUrl, paintPlate } from "/ui/cards.js";
import { element, longTime } from "/ui/dom.js";
import { TEXTS } from "/ui/texts.js";

const dialog = document.getElementById("evidence");
const MOST_CANDIDATES = 5;
const WORTH_PERCENT = 1;

function facts(sighting) {
  const others = sighting.candidates
    .filter((each) => each.plate !== sighting.plate && each.confidence >= WORTH_PERCENT)
    .slice(0, MOST_CANDIDATES);
  return {
    camera: sighting.camera,
    seen: longTime(sighting.first_unix_ms),
    confidence: TEXTS.confidence(sighting.confidence),
    region: sighting.region.toUpperCase() || country(sighting),
    reads: TEXTS.frames(sighting.frames),
    candidates: others.map((each) => `${each.plate} ${TEXTS.confidence(each.confidence)}`).join(", "),
    recognizer: [sighting.recognizer, sighting.recognizer_version].filter(Boolean).join(" "),
    node: sighting.node,
    id: sighting.id,
  };
}

export function showEvidence(sighting) {
  paintPlate(document.getElementById("evidence-plate"), sighting);
  const shots = [];
  if (sighting.has_frame) shots.push(element("img", { class: "frame", src: evidenceUrl(sighting, "frame"), alt: TEXTS.frameOf(sighting.plate) }));
  if (sighting.has_crop) shots.push(element("img", { class: "closeup", src: evidenceUrl(sighting, "crop"), alt: TEXTS.cropOf(sighting.plate) }));
  if (sighting.has_clip) shots.push(element("video", { class: "clip", src: clipUrl(sighting), controls: "", muted: "", preload: "metadata", "aria-label": TEXTS.clipOf(sighting.plate) }));
  document.getElementById("evidence-shots").replaceChildren(...shots);
  const rows = Object.entries(facts(sighting))
    .filter(([, value]) => value)
    .flatMap(([name, value]) => [element("dt", { text: TEXTS.facts[name] }), element("dd", { text: value })]);
  document.getElementById("evidence-facts").replaceChildren(...rows);
  dialog.showModal();
}

// What plays does not go on behind a closed dialog.
dialog.addEventListener("close", () => document.getElementById("evidence-shots").replaceChildren());

// A click beside the dialog closes it, as Escape does.
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
