// stage.js: a figure as the page has it: choices above, the chart, its caption, and its table.

/** `make(state, set)` gives {choices, spec, caption, rows}; set({...}) changes the state and draws the figure again. */
function figureOf(make, state) {
  const host = h("figure", {});
  let chart = null,
    open = false;
  const render = () => {
    if (chart) chart.destroy();
    const before = [...host.querySelectorAll(".choices input, .choices select")].indexOf(document.activeElement);
    const {choices, spec, rows, caption} = make(state, (change) => {
      Object.assign(state, change);
      render();
    });
    const controls = list(choices).filter(Boolean);
    const stage = h("div", {});
    const details = h(
      "details.data",
      {
        open,
        ontoggle: () => {
          open = details.open;
        },
      },
      h("summary", {}, "The figures as a table"),
      rows,
    );
    host.replaceChildren(
      ...(controls.length > 0 ? [h("div.choices", {}, controls)] : []),
      stage,
      ...(caption ? [h("figcaption", {}, caption)] : []),
      details,
    );
    chart = new Chart(stage, spec);
    if (before >= 0) {
      // the keyboard stays where it was
      const now = host.querySelectorAll(".choices input, .choices select");
      const same =
        now[before] && now[before].type === "radio"
          ? [...now].find((input) => input.name === now[before].name && input.checked)
          : now[before];
      if (same) same.focus();
    }
  };
  return {
    host,
    render,
    redraw: () => {
      if (chart) render();
    },
    destroy: () => chart && chart.destroy(),
  };
}
