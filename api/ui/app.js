// The page's frame: who is looking, which view is shown, the live events that all views share.

import { alerts } from "/ui/alerts.js";
import { CamerasView } from "/ui/cameras.js";
import { ChartsView } from "/ui/charts.js";
import { button, element, icon, setText } from "/ui/dom.js";
import { showEvidence } from "/ui/evidence.js";
import { Feed } from "/ui/feed.js";
import { ListsView } from "/ui/lists.js";
import { LiveView } from "/ui/live.js";
import { get } from "/ui/net.js";
import { SearchView } from "/ui/search.js";
import { loginView, session } from "/ui/session.js";
import { SystemView } from "/ui/system.js";
import { TEXTS } from "/ui/texts.js";
import "/ui/theme.js";
import { UploadView } from "/ui/upload.js";

const KINDS = { live: LiveView, search: SearchView, cameras: CamerasView, lists: ListsView, upload: UploadView, charts: ChartsView, system: SystemView };
const byId = (id) => document.getElementById(id);
const main = byId("view");

let views = {};
let shown = null;
let feed = null;

// --- views ---------------------------------------------------------------------------------------

// "#/search?plate=AB" as a view's name and its parameters.
function place() {
  const [name, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: name in KINDS ? name : "live", parameters: Object.fromEntries(new URLSearchParams(query)) };
}

function show() {
  if (!session.isIn) return;
  const { name, parameters } = place();
  views[name] ??= mounted(name);
  const view = views[name];
  if (shown !== view) {
    shown?.hide?.();
    if (shown) shown.root.hidden = true;
    view.root.hidden = false;
    shown = view;
    window.scrollTo(0, 0);
  }
  document.title = name === "live" ? "Platering" : `${TEXTS.tabs[name]} · Platering`;
  for (const tab of byId("tabs").querySelectorAll("a")) {
    if (tab.dataset.view === name) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  view.show(parameters);
  if (parameters.sighting) openSighting(parameters.sighting);
}

function mounted(name) {
  const view = new KINDS[name]();
  view.root.classList.add("room", `room-${name}`);
  main.append(view.root);
  return view;
}

async function openSighting(id) {
  const found = await get(`/sightings/${encodeURIComponent(id)}`).catch(() => null);
  if (found) showEvidence(found);
}

function fillTabs() {
  byId("tabs").replaceChildren(
    ...Object.keys(KINDS).map((name) => element("a", { href: `#/${name}`, data: { view: name } }, icon(name), element("span", { text: TEXTS.tabs[name] }))),
  );
}

// --- live events -----------------------------------------------------------------------------------

function linkIs(state) {
  byId("link").dataset.state = state;
  setText(byId("link-text"), TEXTS.link[state]);
}

function follow() {
  feed = new Feed("/api/v1/events?cameras=1", {
    sighting(sighting) {
      views.live?.take(sighting);
      if (sighting.hits?.length) alerts.hit(sighting);
    },
    gap: (lost) => views.live?.gap(lost),
    camera: (turn) => views.live?.turned(turn),
    state: linkIs,
  });
  feed.open();
}

// --- session ---------------------------------------------------------------------------------------

function whoIs() {
  if (session.open || !session.isIn) return byId("who").replaceChildren();
  const leave = button(TEXTS.login.leave, { class: "button small", onclick: () => session.leave() });
  return byId("who").replaceChildren(element("span", { class: "who" }, icon("user"), element("span", { text: session.name })), leave);
}

function sessionChanged() {
  whoIs();
  feed?.close();
  feed = null;
  views = {};
  shown?.hide?.();
  shown = null;
  main.replaceChildren();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  byId("tabs").hidden = byId("link").hidden = !session.isIn;
  if (!session.isIn) {
    main.append(loginView());
    main.querySelector("input").focus();
    return;
  }
  views.live = mounted("live"); // first, so that it hears every event
  views.live.root.hidden = true;
  follow(); // before the latest are asked for: whatever comes in between comes twice, never not at all
  show();
}

async function begin() {
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = TEXTS[node.dataset.text];
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", TEXTS[node.dataset.label]);
  fillTabs();
  linkIs("connecting");
  session.onChange(sessionChanged);
  for (;;) {
    try {
      await session.load();
      return;
    } catch {
      linkIs("reconnecting");
      await new Promise((next) => setTimeout(next, 2000));
    }
  }
}

// The address bar is the views' own: the way past the tabs must not change it.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

// "/" searches, as in many programs.
window.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || !session.isIn || event.target.closest("input, select, dialog")) return;
  event.preventDefault();
  if (place().name !== "search") history.pushState(null, "", "#/search");
  show();
  shown.focus();
});

window.addEventListener("hashchange", show);
navigator.serviceWorker?.register("/service-worker.js").catch(() => {}); // http on a network has none
begin();
