// Which colours: as the device prefers, or as this browser was told.

const KEY = "platering.theme";
const DARK = document.getElementById("dark");
const MEDIA = { light: "not all", dark: "all", "": "(prefers-color-scheme: dark)" };

export const theme = {
  get wish() {
    return localStorage.getItem(KEY) || "";
  },
  set wish(wish) {
    if (wish) localStorage.setItem(KEY, wish);
    else localStorage.removeItem(KEY);
    DARK.media = MEDIA[wish];
  },
};

DARK.media = MEDIA[theme.wish] || MEDIA[""];
