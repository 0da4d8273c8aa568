// Light and dark: as the system has it, unless the reader has chosen. Paper is always light.

import { byId } from "./dom.js";
import { setLooksTheme } from "./looks.js";
import { isOnPaper, paper } from "./medium.js";
import { change, onChange, state } from "./state.js";

const system = matchMedia("(prefers-color-scheme: dark)");

export function startTheme() {
  apply();
  byId("theme").addEventListener("click", () => change({ theme: current() === "dark" ? "light" : "dark" }));
  onChange((changed) => {
    if (changed.has("theme") || changed.has("all")) apply();
  });
}

// Calls the function after the system or the medium has changed the theme.
export function onThemeChange(listener) {
  for (const query of [system, paper]) {
    query.addEventListener("change", () => {
      apply();
      listener();
    });
  }
}

function current() {
  return state.theme ?? (system.matches ? "dark" : "light");
}

function apply() {
  const theme = isOnPaper() ? "light" : current();
  document.documentElement.dataset.theme = theme;
  setLooksTheme(theme);
  byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Use the ${theme === "dark" ? "light" : "dark"} theme`);
}
