// Who is looking: asks the server, shows the log-in form, knows what this person may do.

import { button, element, field } from "/ui/dom.js";
import { get, onLoggedOut, post, remove, setToken } from "/ui/net.js";
import { TEXTS } from "/ui/texts.js";

const RANKS = ["stream", "read", "operate", "admin"];

class Session {
  name = "";
  scope = "";
  open = true;
  #told = [];

  // A scope includes those before it, as far as a page is concerned.
  may(scope) {
    return this.open || RANKS.indexOf(this.scope) >= RANKS.indexOf(scope);
  }

  get isIn() {
    return this.open || Boolean(this.scope);
  }

  onChange(told) {
    this.#told.push(told);
  }

  async load() {
    try {
      this.#become(await get("/session"));
    } catch (problem) {
      if (problem.status === 401 || problem.status === 403) this.#become({ open: false });
      else if (problem.isAbsent) this.#become({ open: true }); // a front without log-in
      else throw problem;
    }
  }

  async enter(credentials) {
    this.#become(await post("/session", credentials));
  }

  async leave() {
    await remove("/session").catch(() => {}); // without an answer, the page forgets it all the same
    this.#become({ open: false });
  }

  expire() {
    if (this.isIn && !this.open) this.#become({ open: false });
  }

  #become(found) {
    this.name = found.name || "";
    this.scope = found.scope || "";
    this.open = Boolean(found.open);
    setToken(found.csrf);
    for (const told of this.#told) told(this);
  }
}

export const session = new Session();
onLoggedOut(() => session.expire());

export function loginView() {
  const name = element("input", { name: "name", autocomplete: "username", autocapitalize: "none", spellcheck: "false" });
  const password = element("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const problem = element("p", { class: "problem", role: "alert", hidden: true });
  const enter = button(TEXTS.login.enter, { type: "submit", class: "button primary wide" });
  const form = element(
    "form",
    { class: "login panel", "aria-labelledby": "login-title" },
    element("img", { src: "/ui/icon.svg", alt: "", width: 56, height: 56 }),
    element("h2", { id: "login-title", text: TEXTS.login.title }),
    field(TEXTS.login.name, name, TEXTS.login.nameHint),
    field(TEXTS.login.password, password),
    problem,
    enter,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    enter.disabled = true;
    const credentials = name.value.trim() ? { name: name.value.trim(), password: password.value } : { key: password.value.trim() };
    try {
      await session.enter(credentials);
    } catch (refused) {
      problem.textContent = refused.status === 401 || refused.status === 403 ? TEXTS.login.refused : refused.message;
      problem.hidden = false;
      password.select();
    } finally {
      enter.disabled = false;
    }
  });
  return form;
}
