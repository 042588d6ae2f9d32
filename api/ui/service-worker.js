// The shell of the page is kept, so that it opens at once and says that the server is away. What
// the API answers is never kept: plates are nobody's to find in a browser's cache.

const SHELL = "platering-shell-1";
const PATIENCE_MS = 3000;
const FILES = [
  "/", "/manifest.webmanifest",
  ...[
    "alerts.js", "app.js", "cameras.js", "cards.js", "chart.js", "charts.js", "dark.css", "dom.js", "evidence.js", "feed.js",
    "icon.svg", "icons.svg", "lists.js", "live.js", "net.js", "search.js", "session.js", "sheet.js", "style.css", "system.js",
    "texts.js", "theme.js", "tiles.js", "upload.js", "views.css",
  ].map((name) => `/ui/${name}`),
];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(SHELL).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const others = caches.keys().then((names) => Promise.all(names.filter((name) => name !== SHELL).map((name) => caches.delete(name))));
  event.waitUntil(others.then(() => self.clients.claim()));
});

function isShell(request) {
  const { origin, pathname } = new URL(request.url);
  return request.method === "GET" && origin === self.location.origin && (pathname === "/" || pathname === "/manifest.webmanifest" || pathname.startsWith("/ui/"));
}

// The server's own copy first: a new version is seen at once. Ours where it does not answer, or not
// soon, as on the road.
async function shell(request) {
  const cache = await caches.open(SHELL);
  const asked = fetch(request).then(async (answer) => {
    if (answer.ok) await cache.put(request, answer.clone());
    return answer;
  });
  const kept = await cache.match(request, { ignoreSearch: true });
  if (!kept) return asked;
  const late = new Promise((done) => setTimeout(done, PATIENCE_MS, kept));
  return Promise.race([asked.catch(() => kept), late]);
}

self.addEventListener("fetch", (event) => {
  if (isShell(event.request)) event.respondWith(shell(event.request));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const url = event.notification.data?.url || "/";
  const shown = self.clients.matchAll({ type: "window" }).then((windows) => {
    const open = windows[0];
    return open ? open.focus().then(() => open.navigate(url)) : self.clients.openWindow(url);
  });
  event.waitUntil(shown);
});
