// Everything about one program: scores, length, decoder, first outputs, cost, provenance, how to run it.

import { announce, byId, el, facts } from "./dom.js";
import { bitText, byteText, lengthText, parameterText, scoreText, secondsText, shortText, wholeText } from "./format.js";
import { lookOf, mark } from "./looks.js";
import { inflatedText } from "./packed.js";
import { change, onChange, state } from "./state.js";
import { idOf, pointName, study } from "./study.js";
import { executionText, lengthParts, scoreLine } from "./tooltip.js";

const ID_SHOWN = 12;
const COMMIT_SHOWN = 12;

let lines = null;
let opener = null;

export function startDetails() {
  onChange((changed) => {
    if (changed.has("point") || changed.has("all")) showDetails();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.point !== null) close();
  });
  if (state.point !== null) showDetails();
}

function close() {
  change({ point: null });
  if (opener?.isConnected) opener.focus();
  opener = null;
}

async function showDetails() {
  const panel = byId("details");
  const { point } = state;
  if (point === null) {
    panel.hidden = true;
    return;
  }
  if (!panel.contains(document.activeElement)) opener = document.activeElement;
  const found = await detailsOf(point);
  if (state.point !== point) return; // another one was chosen meanwhile
  panel.replaceChildren(...described(point, found).filter((it) => it !== null));
  panel.hidden = false;
  panel.scrollTop = 0;
  panel.focus({ preventScroll: true });
  announce(`Details of ${pointName(point)}`);
}

// Details of a program, with the lines that it refers to; null for one that the page has none of.
async function detailsOf(point) {
  const line = study.points.detail.at(point);
  if (line === null) return null;
  lines ??= (await inflatedText("packed-details")).split("\n");
  const found = JSON.parse(lines[line]);
  const other = (number, key) => (number === null ? null : JSON.parse(lines[number])[key]);
  return { ...found, source: other(found.source, "source"), items: other(found.items, "items") };
}

function described(point, found) {
  const { points } = study;
  const family = points.family.at(point);
  const head = el(
    "header",
    {},
    el(
      "div",
      {},
      el("h2", {}, mark(lookOf("family", family)), family),
      el("p", {}, [points.study.at(point), points.task.at(point), points.model.at(point)].join(" · ")),
    ),
    el("button", { type: "button", class: "quiet", onclick: close, "aria-label": "Close details" }, "Close"),
  );
  const parts = [head, scores(point), ...(points.program_length_bits.at(point) === null ? [] : lengthParts(point))];
  parts.push(main(point, found), ...running(point, found));
  if (found === null) return parts;
  return [...parts, ...outputs(found), ...payload(found), ...decoder(found), ...cost(point, found), ...provenance(found)];
}

function scores(point) {
  const { points } = study;
  const bits = points.program_length_bits.at(point);
  const box = (value, text) => el("div", {}, el("b", {}, value), el("span", {}, text));
  const metric = study.metrics[points.metric.at(point)] ?? "";
  return el(
    "div",
    { class: "scores" },
    box(lengthText(bits), bitText(bits)),
    box(scoreText(points.test_performance.at(point)), `test ${metric}`),
    box(scoreText(points.validation_performance.at(point)), `validation ${metric}`),
  );
}

function main(point, found) {
  const { points } = study;
  const coded = found?.length.coded_bits ?? null;
  const others = Object.entries(found?.other_metrics.test ?? {}).map(([name, score]) => `${name} ${scoreText(score)}`);
  return facts([
    ["test", scoreLine(point, "test")],
    ["validation", scoreLine(point, "validation")],
    ["also, on test", others.join(", ")],
    ["parameters", parameterText(points.parameters.at(point))],
    ["chosen by the encoder", parameterText(points.settings.at(point))],
    ["budget", points.budget_bytes.at(point) === null ? null : byteText(points.budget_bytes.at(point))],
    ["seed", points.seed.at(point)],
    ["model-coded part", coded === null ? null : `${wholeText(coded)} bits, ideal ${wholeText(found.length.nll_bits)} under the model`],
    ["frontier", study.isMember[point] ? "member, over all programs" : "no member"],
    ["check", executionText(point)],
    ["status", points.status_reason.at(point)],
    ["cell", (found?.cell_id ?? idOf(point)).slice(0, ID_SHOWN)],
  ]);
}

function running(point, found) {
  const id = idOf(point).slice(0, ID_SHOWN);
  const of = study.points.study.at(point);
  const commands = [`tcx show ${id} --results ${study.results[of]}`];
  const sha256 = found?.program_sha256;
  if (sha256) {
    const path = `${study.folders[of]}/programs/${sha256.slice(0, 2)}/${sha256}.pyz`;
    commands.push(`tcx verify ${path}`, `python ${path} MODEL_DIR < inputs.jsonl > outputs.jsonl`);
  }
  const more = found === null ? el("p", { class: "note" }, "The page holds no more of this program; the command shows the rest.") : null;
  return [el("h3", {}, "How to run it"), ...commands.map((it) => code(it, { isWrapped: true })), more];
}

function outputs(found) {
  if (found.outputs.length === 0) return [];
  const note = found.items === null ? "The data of the task were not at hand where this page was made: outputs alone." : null;
  return [
    el("h3", {}, "First outputs on test items"),
    note === null ? null : el("p", { class: "note" }, note),
    ...found.outputs.map((output, place) => {
      const item = found.items?.[place];
      const score = found.scores[place];
      const said = [["input", item?.input], ["reference", item?.target], ["output", output], ["score", score === undefined || score === null ? null : shortText(score)]];
      const shown = said.filter(([, value]) => value !== undefined && value !== null);
      return el("dl", { class: "output" }, shown.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value === "" ? "(empty)" : value)]));
    }),
  ];
}

function payload(found) {
  return found.payload_text ? [el("h3", {}, "Payload, as text"), code(found.payload_text, { isWrapped: true })] : [];
}

function decoder(found) {
  if (found.source === null) return [];
  return [
    el("h3", {}, "Decoder"),
    el("p", { class: "note" }, "The source in the file, with its lines broken again; names stay as short as the packer made them."),
    code(found.source),
  ];
}

function cost(point, found) {
  const { points } = study;
  const peak = found.cost.peak_memory_bytes;
  return [
    el("h3", {}, "Cost"),
    facts([
      ["wall time", secondsText(points.wall_seconds.at(point))],
      ["of the encoder", secondsText(found.cost.encode_seconds)],
      ["of the execution", secondsText(found.cost.execute_seconds)],
      ["of cores", secondsText(points.cpu_seconds.at(point))],
      ["of devices", points.gpu_seconds.at(point) ? secondsText(points.gpu_seconds.at(point)) : null],
      ["tokens trained on", points.train_tokens.at(point) ? shortText(points.train_tokens.at(point)) : null],
      ["tokens generated", points.generated_tokens.at(point) === null ? null : shortText(points.generated_tokens.at(point))],
      ["operations", found.cost.flops ? shortText(found.cost.flops) : null],
      ["peak memory", peak === null ? null : byteText(peak)],
    ]),
  ];
}

const NAMES = {
  machine_class: "machine",
  device_count: "devices",
  isolation: "isolation",
  host: "host",
  slurm_job_id: "Slurm job",
  git_commit: "code",
  git_dirty_sha256: "uncommitted changes",
  lock_sha256: "lock",
  reference_machine: "reference machine",
  model_identity: "base model",
  attempt: "attempt",
  restarts: "restarts",
  started_utc: "started",
  finished_utc: "finished",
};

function provenance(found) {
  const given = found.provenance;
  const shown = Object.entries(NAMES).map(([key, name]) => [name, key in given ? shortHash(String(given[key])) : null]);
  const packages = Object.entries(JSON.parse(given.package_versions ?? "{}")).map(([name, version]) => `${name} ${version}`);
  const commits = Object.entries(JSON.parse(given.hub_commits ?? "{}")).map(([name, commit]) => `${name}@${shortHash(commit)}`);
  return [el("h3", {}, "Provenance"), facts([...shown, ["hub", commits.join(", ")], ["packages", packages.join(", ")]])];
}

function shortHash(text) {
  return /^[0-9a-f]{40,}$/.test(text) ? text.slice(0, COMMIT_SHOWN) : text;
}

function code(text, { isWrapped = false } = {}) {
  const copy = el("button", { type: "button", onclick: () => copied(text, copy) }, "Copy");
  return el("div", { class: "code" }, el("pre", { class: isWrapped ? "wrap" : null, tabindex: "0" }, text), copy);
}

async function copied(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // A page from a file may not write to the clipboard: select the text instead.
    getSelection().selectAllChildren(button.previousSibling);
    button.textContent = "Selected";
  }
}
