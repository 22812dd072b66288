// data_visualization: line, bar, area and pie as small SVGs with a legend and a table for readers who don't see them.

import { h, svg } from "./dom.js";

const WIDTH = 560;
const HEIGHT = 200;
const PAD = { left: 44, right: 12, top: 10, bottom: 34 };

export function chart(block) {
  const shape = block.chart ?? {};
  const title = String(block.title?.text ?? block.title ?? "");
  const body = shape.type === "pie" ? pie(shape.segments ?? [], title) : axes(shape, title);
  return h("figure", { class: "chart" }, h("figcaption", {}, title), body);
}

function number(value) {
  return Number.isFinite(Number(value)) ? Number(value) : 0;
}

function axes(shape, title) {
  const series = (shape.series ?? []).slice(0, 12);
  const labels = shape.axis_config?.categories ?? series[0]?.data?.map((point) => point.label) ?? [];
  const values = series.map((one) => (one.data ?? []).map((point) => number(point.value)));
  const top = nice(Math.max(1, ...values.flat()));
  const low = Math.min(0, ...values.flat());
  const inner = { width: WIDTH - PAD.left - PAD.right, height: HEIGHT - PAD.top - PAD.bottom };
  const slot = inner.width / Math.max(1, labels.length);
  const x = (index) => PAD.left + slot * (index + 0.5);
  const y = (value) => PAD.top + inner.height * (1 - (value - low) / (top - low));
  const draw = { bar: bars, area: areas, line: lines }[shape.type] ?? lines;
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${shape.type ?? "line"} chart: ${title}` },
    [0, 0.5, 1].map((part) => {
      const value = low + (top - low) * part;
      return [
        svg("line", { class: "grid", x1: PAD.left, x2: WIDTH - PAD.right, y1: y(value), y2: y(value) }),
        svg("text", { x: PAD.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)),
      ];
    }),
    labels.map((label, index) => (index % Math.ceil(labels.length / 8) ? null : svg("text", { x: x(index), y: HEIGHT - 18, "text-anchor": "middle" }, String(label)))),
    svg("text", { class: "axis", x: PAD.left + inner.width / 2, y: HEIGHT - 3, "text-anchor": "middle" }, shape.axis_config?.x_label ?? ""),
    draw(values, x, y, slot));
  const table = h("div", { class: "sr-only" }, h("table", {},
    h("caption", {}, title),
    h("tr", {}, h("th", { scope: "col" }, shape.axis_config?.x_label ?? "Label"), series.map((one) => h("th", { scope: "col" }, one.name))),
    labels.map((label, row) => h("tr", {}, h("th", { scope: "row" }, label), values.map((column) => h("td", {}, column[row] ?? ""))))));
  const unit = shape.axis_config?.y_label;
  return [unit && h("div", { class: "chart-unit" }, unit), picture, legend(series.map((one) => one.name)), table];
}

function bars(values, x, y, slot) {
  const width = Math.min(28, (slot * 0.8) / Math.max(1, values.length));
  return values.map((column, row) => column.map((value, index) =>
    svg("rect", {
      class: `fill c${row}`, x: x(index) - (width * values.length) / 2 + row * width, width: Math.max(1, width - 1),
      y: Math.min(y(value), y(0)), height: Math.max(0.5, Math.abs(y(value) - y(0))), rx: 2,
    })));
}

function lines(values, x, y) {
  return values.map((column, row) => [
    svg("polyline", { class: `stroke c${row}`, points: column.map((value, index) => `${x(index)},${y(value)}`).join(" ") }),
    column.map((value, index) => svg("circle", { class: `fill c${row}`, cx: x(index), cy: y(value), r: 2.5 })),
  ]);
}

function areas(values, x, y) {
  return values.map((column, row) => column.length && [
    svg("polygon", {
      class: `fill faint c${row}`,
      points: [`${x(0)},${y(0)}`, ...column.map((value, index) => `${x(index)},${y(value)}`), `${x(column.length - 1)},${y(0)}`].join(" "),
    }),
    lines([column], x, y).map(([line]) => (line.setAttribute("class", `stroke c${row}`), line)),
  ]);
}

function pie(segments, title) {
  const parts = segments.slice(0, 12).map((one) => ({ label: String(one.label), value: Math.max(0, number(one.value)) }));
  const total = parts.reduce((sum, one) => sum + one.value, 0) || 1;
  let angle = -Math.PI / 2;
  const point = (at) => `${100 + 90 * Math.cos(at)} ${100 + 90 * Math.sin(at)}`;
  const slices = parts.map((one, index) => {
    const from = angle;
    angle += (one.value / total) * Math.PI * 2;
    if (one.value === total) return svg("circle", { class: `fill c${index}`, cx: 100, cy: 100, r: 90 });
    return svg("path", { class: `fill c${index}`, d: `M100 100 L${point(from)} A90 90 0 ${angle - from > Math.PI ? 1 : 0} 1 ${point(angle)} Z` });
  });
  return h("div", { class: "pie" },
    svg("svg", { viewBox: "0 0 200 200", role: "img", "aria-label": `pie chart: ${title}` }, slices),
    legend(parts.map((one) => `${one.label} ${short(one.value)} (${Math.round((one.value / total) * 100)} %)`)));
}

function legend(names) {
  return h("ul", { class: "legend" }, names.map((name, index) => h("li", {}, h("span", { class: `swatch c${index}` }), String(name ?? ""))));
}

function nice(value) {
  const step = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * step).find((one) => one >= value) ?? value;
}

function short(value) {
  return new Intl.NumberFormat(undefined, { notation: Math.abs(value) >= 10000 ? "compact" : "standard", maximumFractionDigits: 2 }).format(value);
}
