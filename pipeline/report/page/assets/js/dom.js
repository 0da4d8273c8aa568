// Elements of the page. Texts of a study are never markup: they only ever become text nodes and attributes.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

// el("p", {class: "note", onclick: act}, "text", other)
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

// A list of facts: [["length", "1 KiB"], ...]; those that are null are left out.
export function facts(pairs) {
  const said = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, said.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

// A select with a label: options are [value, text].
export function choice(label, options, value, change) {
  const box = el("select", { onchange: () => change(box.value) }, options.map(([key, text]) => el("option", { value: key }, text)));
  box.value = value;
  return el("label", {}, label, box);
}

// Radio buttons that look like one control: options are [value, text].
export function segments(label, name, options, value, change) {
  const buttons = options.map(([key, text]) =>
    el(
      "label",
      {},
      el("input", { type: "radio", name, value: key, checked: key === value, onchange: () => change(key) }),
      el("span", {}, text),
    ),
  );
  return el("fieldset", { class: "segments" }, el("legend", {}, label), el("span", { class: "choices" }, buttons));
}

// A table from rows of cells; numbers of columns in `right` are set to the right.
export function table(caption, heads, rows, { right = [], foot = null } = {}) {
  const side = (place) => (right.includes(place) ? "right" : null);
  const line = (cells, tag) => el("tr", {}, cells.map((cell, place) => el(tag, { class: side(place) }, cell)));
  return el(
    "table",
    {},
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, heads.map((head, place) => el("th", { scope: "col", class: side(place) }, head)))),
    el("tbody", {}, rows.map((cells) => line(cells, "td"))),
    foot === null ? null : el("tfoot", {}, line(foot, "td")),
  );
}

export function announce(text) {
  byId("announcement").textContent = text;
}
