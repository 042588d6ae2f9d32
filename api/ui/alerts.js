// Hits of watchlists: a toast always, a sound and a notification where they are wished for.

import { element, icon } from "/ui/dom.js";
import { TEXTS } from "/ui/texts.js";

const SHOWN_MS = 12_000;
const MOST = 4;
const FRESH_MS = 120_000; // what is replayed after a long absence does not ring
const told = new Set();
let audio = null;

const stored = (name) => localStorage.getItem(`platering.${name}`) === "on";
const store = (name, on) => localStorage.setItem(`platering.${name}`, on ? "on" : "off");

export const alerts = {
  get sound() {
    return stored("sound");
  },
  get notifications() {
    return stored("notifications") && "Notification" in window && Notification.permission === "granted";
  },
  get canNotify() {
    return "Notification" in window && window.isSecureContext;
  },

  setSound(on) {
    store("sound", on);
    if (on) chime("info"); // a click lets the browser play from now on
  },

  async setNotifications(on) {
    const allowed = on && this.canNotify && (await Notification.requestPermission()) === "granted";
    store("notifications", allowed);
    return allowed;
  },

  hit(sighting) {
    if (told.has(sighting.id) || Date.now() - sighting.last_unix_ms > FRESH_MS) return;
    told.add(sighting.id);
    const [closest] = sighting.hits;
    toast(sighting, closest);
    if (this.sound) chime(closest.severity);
    if (this.notifications) notify(sighting, closest);
  },
};

function toast(sighting, hit) {
  const list = document.getElementById("toasts");
  const made = element(
    "a",
    { class: "toast", href: `#/live?sighting=${encodeURIComponent(sighting.id)}`, data: { severity: hit.severity } },
    icon("bell"),
    element("span", { class: "plate", text: sighting.plate }),
    element("span", { class: "toast-text", text: TEXTS.hit(hit, sighting.camera) }),
  );
  list.append(made);
  while (list.children.length > MOST) list.firstElementChild.remove();
  setTimeout(() => made.remove(), SHOWN_MS);
}

// Two short tones, higher and thrice for an alarm; drawn by the browser, no file.
function chime(severity) {
  audio ??= new AudioContext();
  const tones = severity === "alarm" ? [880, 1175, 880, 1175, 880, 1175] : [660, 880];
  tones.forEach((frequency, at) => {
    const tone = audio.createOscillator();
    const level = audio.createGain();
    const begins = audio.currentTime + at * 0.16;
    tone.frequency.value = frequency;
    level.gain.setValueAtTime(0.0001, begins);
    level.gain.exponentialRampToValueAtTime(0.18, begins + 0.02);
    level.gain.exponentialRampToValueAtTime(0.0001, begins + 0.15);
    tone.connect(level).connect(audio.destination);
    tone.start(begins);
    tone.stop(begins + 0.16);
  });
}

async function notify(sighting, hit) {
  const title = TEXTS.hitTitle(sighting.plate, hit);
  const options = {
    body: TEXTS.hit(hit, sighting.camera),
    tag: sighting.id,
    icon: "/ui/icon-192.png",
    requireInteraction: hit.severity === "alarm",
    data: { url: `/#/live?sighting=${encodeURIComponent(sighting.id)}` },
  };
  const worker = await navigator.serviceWorker?.getRegistration();
  if (worker) await worker.showNotification(title, options);
  else new Notification(title, options);
}
