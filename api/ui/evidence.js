// What is known of one sighting, in a dialog: pictures, facts, what else the plate may read, where
// it was seen before, and corrections by hand.

import { clipUrl, country, evidenceUrl, paintPlate } from "/ui/cards.js";
import { button, element, field, icon, longTime, shortTime } from "/ui/dom.js";
import { get, post } from "/ui/net.js";
import { session } from "/ui/session.js";
import { TEXTS } from "/ui/texts.js";

const dialog = document.getElementById("evidence");
const MOST_CANDIDATES = 5;
const MOST_HISTORY = 12;
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
    hits: (sighting.hits || []).map((hit) => [hit.list, hit.label].filter(Boolean).join(": ")).join(", "),
    reads: TEXTS.frames(sighting.frames),
    candidates: others.map((each) => `${each.plate} ${TEXTS.confidence(each.confidence)}`).join(", "),
    recognizer: [sighting.recognizer, sighting.recognizer_version].filter(Boolean).join(" "),
    node: sighting.node,
    id: sighting.id,
  };
}

export function showEvidence(sighting) {
  const plate = element("p", { class: "plate plate-large", id: "evidence-plate" });
  paintPlate(plate, sighting);
  const history = element("section", { class: "part", hidden: true });
  const corrections = element("section", { class: "part" });
  dialog.replaceChildren(
    element("form", { method: "dialog" }, element("button", { class: "close", "aria-label": TEXTS.close }, icon("close"))),
    plate,
    element("figure", { class: "shots", id: "evidence-shots" }, ...shots(sighting)),
    element("dl", { class: "facts", id: "evidence-facts" }, ...rows(sighting)),
    corrections,
    history,
  );
  if (!dialog.open) dialog.showModal();
  fillCorrections(corrections, sighting);
  fillHistory(history, sighting);
}

function rows(sighting) {
  return Object.entries(facts(sighting))
    .filter(([, value]) => value)
    .flatMap(([name, value]) => [element("dt", { text: TEXTS.facts[name] }), element("dd", { text: value })]);
}

function shots(sighting) {
  const made = [];
  if (sighting.has_frame) made.push(element("img", { class: "frame", src: evidenceUrl(sighting, "frame"), alt: TEXTS.frameOf(sighting.plate) }));
  if (sighting.has_crop) made.push(element("img", { class: "closeup", src: evidenceUrl(sighting, "crop"), alt: TEXTS.cropOf(sighting.plate) }));
  if (sighting.has_clip) made.push(element("video", { class: "clip", src: clipUrl(sighting), controls: true, muted: true, preload: "metadata", "aria-label": TEXTS.clipOf(sighting.plate) }));
  return made;
}

// --- corrections ----------------------------------------------------------------------------------

async function fillCorrections(part, sighting) {
  let found;
  try {
    found = await get(`/sightings/${encodeURIComponent(sighting.id)}/corrections`);
  } catch {
    return; // a front that keeps none
  }
  const known = found.corrections;
  if (known.length) {
    part.append(
      element("h3", { text: TEXTS.corrections }),
      element("ul", { class: "notes" }, ...known.map((each) => element("li", { text: TEXTS.correction(each, longTime(each.unix_ms)) }))),
    );
  }
  if (session.may("operate")) part.append(correctionForm(sighting));
}

function correctionForm(sighting) {
  const plate = element("input", { name: "plate", value: sighting.plate, required: true, maxlength: 16, autocapitalize: "characters", spellcheck: "false" });
  const note = element("input", { name: "note", maxlength: 200 });
  const problem = element("p", { class: "problem", role: "alert", hidden: true });
  const form = element(
    "form",
    { class: "inline-form" },
    field(TEXTS.correctPlate, plate),
    field(TEXTS.note, note),
    button(TEXTS.correct, { type: "submit", class: "button primary" }),
    problem,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      showEvidence(await post(`/sightings/${encodeURIComponent(sighting.id)}/corrections`, { plate: plate.value, note: note.value }));
    } catch (refused) {
      problem.textContent = refused.message;
      problem.hidden = false;
    }
  });
  const opened = element("details", {}, element("summary", { text: TEXTS.correctTitle }), form);
  return opened;
}

// --- history of the plate ----------------------------------------------------------------------------

async function fillHistory(part, sighting) {
  const found = await get("/sightings", { plate: sighting.plate, limit: MOST_HISTORY + 1 }).catch(() => null);
  const others = (found?.sightings || []).filter((each) => each.id !== sighting.id).slice(0, MOST_HISTORY);
  if (!dialog.contains(part)) return;
  const all = element("a", { class: "more", href: `#/search?plate=${encodeURIComponent(sighting.plate)}`, text: TEXTS.searchThis, onclick: () => dialog.close() });
  part.append(element("h3", { text: TEXTS.history }));
  if (others.length) part.append(element("ul", { class: "history" }, ...others.map(earlier)));
  else part.append(element("p", { class: "note", text: TEXTS.neverBefore }));
  part.append(all);
  part.hidden = false;
}

function earlier(sighting) {
  const open = button("", { class: "row-button", onclick: () => showEvidence(sighting) }, element("span", { text: shortTime(sighting.first_unix_ms) }), element("span", { class: "soft", text: sighting.camera }));
  return element("li", {}, open);
}

// What plays does not go on behind a closed dialog.
dialog.addEventListener("close", () => document.getElementById("evidence-shots")?.replaceChildren());

// A click beside the dialog closes it, as Escape does.
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
