// Draws the charts of the page: each [data-chart] is a Vega specification and its rows from #report-charts.
"use strict";
(() => {
  const { charts, specs } = JSON.parse(document.getElementById("report-charts").textContent);
  const require = streamlineVega.require;
  Object.assign(require("vega-dataflow").transforms, require("vega-transforms"), require("vega-view-transforms"),
                require("vega-encode"), require("vega-label"));
  const { parse } = require("vega-parser");
  const { View } = require("vega-view");
  const { expressionInterpreter } = require("vega-interpreter");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();

  // The style sheet owns the colours; the charts ask it.
  function theme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const names = ["surface", "ink", "muted", "line", "soft", "accent", "tint", "mark"];
    return Object.fromEntries(names.map((name) => [name, colour(name)]));
  }

  function config(colours) {
    const font = getComputedStyle(document.body).fontFamily;
    const text = { labelFont: font, titleFont: font, labelFontSize: 12, titleFontSize: 12.5, titleFontWeight: "normal",
                   labelColor: colours.muted, titleColor: colours.muted };
    return {
      axis: { ...text, domainColor: colours.muted, tickColor: colours.muted, gridColor: colours.line, titlePadding: 8 },
      legend: text, text: { font, fontSize: 12, fill: colours.ink }
    };
  }

  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;

  // Text nodes only: what the data says never becomes markup.
  function tooltip(_, event, item, value) {
    tip.hidden = value == null || value === "";
    if (tip.hidden) return;
    const { title, ...rows } = value;
    const heading = document.createElement("b");
    heading.textContent = title;
    tip.replaceChildren(heading, ...Object.entries(rows).map(([key, text]) => {
      const row = document.createElement("span");
      for (const part of [key, text]) row.appendChild(document.createElement("span")).textContent = part;
      return row;
    }));
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8)) + "px";
    tip.style.top = (event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18) + "px";
  }

  function draw(node) {
    const name = node.dataset.chart;
    const colours = theme();
    const spec = JSON.parse(JSON.stringify(specs[name]));
    const given = { theme: colours, ...charts[name].signals };
    spec.width = Math.floor(node.clientWidth);
    spec.signals = [...Object.entries(given).map(([key, value]) => ({ name: key, value })), ...(spec.signals || [])];
    for (const table of spec.data) if (charts[name].data[table.name]) table.values = charts[name].data[table.name];
    try {
      if (views.has(node)) views.get(node).finalize();
      const view = new View(parse(spec, config(colours), { ast: true }), { renderer: "svg", expr: expressionInterpreter });
      views.set(node, view.tooltip(tooltip).initialize(node).hover().run());
    } catch (error) {
      node.classList.add("failed");
      node.textContent = "This chart could not be drawn (" + error.message + "); the table below has its numbers.";
    }
  }

  const nodes = [...document.querySelectorAll("[data-chart]")];
  const draw_all = () => nodes.forEach(draw);
  draw_all();
  dark.addEventListener("change", draw_all);
  matchMedia("print").addEventListener("change", draw_all);
  let known = innerWidth, timer = 0;
  addEventListener("resize", () => {
    if (innerWidth === known) return;
    known = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(draw_all, 120);
  });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
})();
