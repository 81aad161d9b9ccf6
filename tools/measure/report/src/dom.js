// dom.js: elements without markup: every text of a result passes through textContent, never through innerHTML.

/** h("td.number", {title: "..."}, "text", child): an element. Attributes that are null or false are left out. */
function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElement(tag), attributes, classes, children);
}

/** The same for SVG. Its presentation attributes are allowed by the page's policy, style attributes are not. */
function svg(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, classes, children);
}

function fill(element, attributes, classes, children) {
  for (const name of classes) element.classList.add(name);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

let lastId = 0;
const newId = (prefix) => prefix + "-" + ++lastId;

/**
 * A choice of one: a row of buttons when there are few, else a list. `options` are [value, text]; nothing is shown when
 * there is nothing to choose.
 */
function choice(label, options, value, change) {
  if (options.length < 2) return null;
  const id = newId("choice");
  if (options.length > 6 || options.some(([, text]) => text.length > 24)) {
    const select = h(
      "select",
      {id, onchange: () => change(options[select.selectedIndex][0])},
      options.map(([each_, text]) => h("option", {selected: each_ === value}, text)),
    );
    return h("div.choice", {}, h("label", {for: id}, label), select);
  }
  return h(
    "fieldset.choice",
    {},
    h("legend", {}, label),
    h(
      "div.segments",
      {},
      options.map(([each_, text]) =>
        h(
          "label",
          {},
          h("input", {type: "radio", name: id, checked: each_ === value, onchange: () => change(each_)}),
          h("span", {}, text),
        ),
      ),
    ),
  );
}

/** A table that scrolls by itself. `columns` are {head, number, title}; a cell is text, an element or a list of them. */
function table(caption, columns, rows, classes = "") {
  const cell = (content, column, first) =>
    first ? h("th", {scope: "row"}, content) : h(columns[column].number ? "td.number" : "td", {}, content);
  return h(
    "div.scroll",
    {tabindex: 0, role: "region", "aria-label": caption},
    h(
      "table",
      {class: classes},
      h("caption", {}, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map((column) =>
            h(column.number ? "th.number" : "th", {scope: "col", title: column.title}, column.head),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h(
            "tr",
            {},
            row.map((content, column) => cell(content, column, column === 0)),
          ),
        ),
      ),
    ),
  );
}

function saveFile(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], {type}));
  const link = h("a", {href: address, download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
