// The card beside the pointer: which program this is.

import { byId, el, facts } from "./dom.js";
import { bitText, intervalText, lengthText, parameterText, scoreText, wholeText } from "./format.js";
import { lookOf, mark } from "./looks.js";
import { study } from "./study.js";

const PARTS = ["decoder", "payload", "container"];
const AWAY = 16;
const VERDICTS = new Map([
  [1, "verified: a cold run gave the same outputs"],
  [0, "did not hold when it was verified"],
  [null, "not verified since"],
]);

export function showTooltip(point, event) {
  const card = byId("tooltip");
  card.replaceChildren(...described(point));
  card.hidden = false;
  const { width, height } = card.getBoundingClientRect();
  const right = event.clientX + AWAY + width < window.innerWidth;
  card.style.left = `${Math.max(8, right ? event.clientX + AWAY : event.clientX - AWAY - width)}px`;
  card.style.top = `${Math.max(8, Math.min(event.clientY + AWAY, window.innerHeight - height - 8))}px`;
}

export function hideTooltip() {
  byId("tooltip").hidden = true;
}

// Strip of the parts of a length, and what they are.
export function lengthParts(point) {
  const parts = PARTS.map((part) => [part, study.points[`${part}_bits`].at(point)]).filter(([, bits]) => bits > 0);
  return [
    el("div", { class: "parts", "aria-hidden": "true" }, parts.map(([part, bits]) => el("i", { class: part, style: `flex: ${bits}` }))),
    el("div", { class: "parts-key" }, parts.map(([part, bits]) => el("span", { class: part }, `${part} ${lengthText(bits)}`))),
  ];
}

export function scoreLine(point, split) {
  const { points } = study;
  const score = points[`${split}_performance`].at(point);
  if (score === null) return null;
  const items = points[`${split}_num_items`].at(point);
  const low = split === "test" ? points.test_low.at(point) : null;
  const range = low === null ? "" : `, 95% ${intervalText(low, points.test_high.at(point))}`;
  return `${scoreText(score)}${range}${items === null ? "" : ` (${wholeText(items)} items)`}`;
}

// Whether a program was executed, how it was kept apart while it was, and whether it was executed again.
export function executionText(point) {
  const { points } = study;
  if (points.is_imported.values[point]) return "published by others, no program file";
  const isolation = points.isolation.at(point);
  if (isolation === null) return null;
  return `executed, isolation ${isolation}; ${VERDICTS.get(points.is_verified.at(point))}`;
}

function described(point) {
  const { points } = study;
  const family = points.family.at(point);
  const seed = points.seed.at(point);
  const bits = points.program_length_bits.at(point);
  return [
    el("strong", {}, mark(lookOf("family", family)), family),
    el("p", {}, `${points.task.at(point)} · ${points.model.at(point)}`),
    ...lengthParts(point),
    facts([
      ["length", `${lengthText(bits)}, ${bitText(bits)}`],
      ["test", scoreLine(point, "test")],
      ["validation", scoreLine(point, "validation")],
      ["parameters", parameterText(points.parameters.at(point))],
      ["chosen", parameterText(points.settings.at(point))],
      ["seed", seed],
      ["check", executionText(point)],
    ]),
    el("p", { class: "hint" }, "Click for the decoder, outputs and how to run it."),
  ];
}
