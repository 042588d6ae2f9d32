// The one dialog for forms and questions: filled, shown, and answered.

import { button, element, icon } from "/ui/dom.js";
import { TEXTS } from "/ui/texts.js";

const dialog = document.getElementById("sheet");

dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
dialog.addEventListener("close", () => {
  if (!dialog.open) dialog.replaceChildren(); // it may be open again, for what came of it
});

export function openSheet(title, ...content) {
  const close = element("form", { method: "dialog" }, element("button", { class: "close", "aria-label": TEXTS.close }, icon("close")));
  dialog.replaceChildren(close, element("h2", { id: "sheet-title", text: title }), ...content);
  if (!dialog.open) dialog.showModal();
  return () => dialog.close();
}

// A form whose work may be refused: the reason stands beside the button, the form stays. What the
// work returns is called when the form is closed.
export function openForm(title, fields, doIt, work) {
  const problem = element("p", { class: "problem", role: "alert", hidden: true });
  const submit = button(doIt, { type: "submit", class: "button primary" });
  const form = element("form", { class: "stack" }, ...fields, problem, element("div", { class: "actions" }, submit));
  const close = openSheet(title, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    submit.disabled = true;
    try {
      const then = await work();
      close();
      then?.();
    } catch (refused) {
      problem.textContent = refused.message;
      problem.hidden = false;
    } finally {
      submit.disabled = false;
    }
  });
}

export function confirmSheet(title, text, doIt, work) {
  openForm(title, [element("p", { text })], doIt, work);
}
