// Starts the page: unpacks the study, then draws each section when it comes near the view.

import { drawCheckpoints, hasCheckpoints } from "./checkpoints.js";
import { drawCompleteness, drawCost } from "./completeness.js";
import { drawCurves, redrawsCurves, startCurves } from "./curves.js";
import { startDetails } from "./details.js";
import { byId, el } from "./dom.js";
import { drawDominance, hasDominance } from "./dominance.js";
import { startFilters } from "./filters.js";
import { counted } from "./format.js";
import { isOnPaper } from "./medium.js";
import { inflatedText, unpacked } from "./packed.js";
import { drawPrintedFrontier, drawPrograms, startPrograms } from "./programs.js";
import { drawReduction, hasReduction } from "./reduction.js";
import { onChange, reset, startState } from "./state.js";
import { numPrograms } from "./selection.js";
import { setStudy, study, valuesOf } from "./study.js";
import { drawTarget } from "./target.js";
import { onThemeChange, startTheme } from "./theme.js";

const NEAR = "300px";
const SETTLED_MS = 150;
const FILTERING = ["all", "chosen", "imported", "theme"];
const has = (names) => (changed) => names.some((name) => changed.has(name));

const SECTIONS = [
  { id: "curves", name: "Curves", draw: drawCurves, after: redrawsCurves },
  { id: "target", name: "Target", draw: drawTarget, after: has([...FILTERING, "goal", "target", "colour"]) },
  { id: "checkpoints", name: "Training", draw: drawCheckpoints, after: has([...FILTERING, "line", "split"]), isNeeded: hasCheckpoints },
  { id: "reduction", name: "Reduction", draw: drawReduction, after: has(FILTERING), isNeeded: hasReduction },
  { id: "dominance", name: "Dominance", draw: drawDominance, after: has(FILTERING), isNeeded: hasDominance },
  { id: "programs", name: "Programs", draw: drawPrograms, after: has([...FILTERING, "search", "sort", "descending"]) },
  { id: "completeness", name: "Cost", draw: drawAllCosts, after: has(FILTERING) },
];

const stale = new Set();
const near = new Set();

function drawAllCosts() {
  drawCompleteness();
  drawCost();
}

function drawStale({ id, draw }) {
  if (!stale.has(id)) return;
  stale.delete(id);
  draw();
}

// Draws what is out of date, near sections only; on paper all of them.
function drawNear() {
  for (const section of SECTIONS) if (near.has(section.id) || isOnPaper()) drawStale(section);
}

// A section that is drawn later would push away what the reader has jumped to.
function drawUpTo(id) {
  SECTIONS.slice(0, SECTIONS.findIndex((section) => section.id === id) + 1).forEach(drawStale);
}

function drawAgain(isConcerned = () => true) {
  for (const section of SECTIONS) if (!byId(section.id).hidden && isConcerned(section)) stale.add(section.id);
  requestAnimationFrame(drawNear);
}

function watchSections() {
  const watch = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) near.add(target.id);
        else near.delete(target.id);
      }
      drawNear();
    },
    { rootMargin: NEAR },
  );
  for (const { id, isNeeded } of SECTIONS) {
    byId(id).hidden = isNeeded !== undefined && !isNeeded();
    if (!byId(id).hidden) watch.observe(byId(id));
  }
}

// Links to the sections. The address holds the view, so they move by themselves.
function drawNavigation() {
  const jump = (id) => (event) => {
    event.preventDefault();
    drawUpTo(id);
    byId(id).scrollIntoView();
    byId(id).tabIndex = -1;
    byId(id).focus({ preventScroll: true });
  };
  const shown = SECTIONS.filter(({ id }) => !byId(id).hidden);
  byId("sections").replaceChildren(...shown.map(({ id, name }) => el("a", { href: `#${id}`, onclick: jump(id) }, name)));
  document.querySelector(".skip").addEventListener("click", jump("main"));
}

function drawHeading() {
  byId("title").textContent = study.title;
  byId("summary").textContent = [
    counted(numPrograms(), "program"),
    counted(valuesOf("task").length, "task"),
    counted(valuesOf("model").length, "base model"),
  ].join(", ");
  byId("chosen-on-test").hidden = study.chosen_on_test.length === 0;
  byId("chosen-on-test").textContent = `Chosen on the test split: programs of ${study.chosen_on_test.join(", ")}. Their scores are optimistic and have no intervals.`;
}

// On paper all sections are drawn, as wide as the sheet.
function drawForMedium() {
  if (isOnPaper()) drawPrintedFrontier();
  drawAgain();
  drawNear();
}

function watchWidth() {
  let width = window.innerWidth;
  let timer = null;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(timer);
    timer = setTimeout(() => drawAgain(), SETTLED_MS);
  });
}

async function start() {
  const [library, packed] = await Promise.all([inflatedText("packed-plotly"), unpacked("packed-data")]);
  const script = document.createElement("script");
  script.textContent = library;
  document.head.append(script);
  setStudy(packed);
  startState();
  startTheme();
  drawHeading();
  watchSections();
  drawNavigation();
  startFilters();
  startCurves();
  startPrograms();
  byId("reset").addEventListener("click", reset);
  onChange((changed) => drawAgain((section) => section.after(changed)));
  onThemeChange(drawForMedium);
  watchWidth();
  for (const { id } of SECTIONS) stale.add(id);
  stale.delete("curves");
  await drawCurves();
  performance.mark("curves-drawn");
  document.documentElement.dataset.ready = "yes";
  drawNear();
  startDetails();
}

start().catch((error) => {
  byId("main").prepend(el("p", { class: "empty", role: "alert" }, `This page could not be drawn: ${error.message}`));
  throw error;
});
