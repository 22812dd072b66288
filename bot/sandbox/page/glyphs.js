// Small drawings for the emoji that alerts and bots use most. The page looks the same on a machine without an emoji
// font (a server, a container); everything else falls back to the character.
//
// One entry: name, then shapes as [class, tag, attributes]. The grid is 24 x 24.

import { h, svg } from "./dom.js";
import { emoji, EMOJI } from "./emoji.js";

const line = (colour, ...paths) => [`gs ${colour}`, "path", { d: paths.join(" ") }];
const solid = (colour, ...paths) => [`gf ${colour}`, "path", { d: paths.join(" ") }];
const disc = (colour, cx = 12, cy = 12, r = 9) => [`gf ${colour}`, "circle", { cx, cy, r }];
const ring = (colour, cx = 12, cy = 12, r = 9) => [`gs ${colour}`, "circle", { cx, cy, r }];
const tile = (colour) => [`gf ${colour}`, "rect", { x: 3, y: 3, width: 18, height: 18, rx: 4 }];
const thumb = "M7 10.5v9.5H3.5v-9.5zM8.5 10.5 12 3.5c1.8 0 2.7 1.4 2.3 3l-.8 3h5c1.5 0 2.4 1.2 2.1 2.6l-1.3 5.8c-.3 1-1 1.6-2 1.6H8.5z";
const bell = "M6 16.5c1-1.2 1.2-2.5 1.2-5a4.8 4.8 0 0 1 9.6 0c0 2.5.2 3.8 1.2 5z";
const cycle = "M4.5 11a7.7 7.7 0 0 1 13.3-4.2L20 9M20 4v5h-5M19.5 13a7.7 7.7 0 0 1-13.3 4.2L4 15M4 20v-5h5";
const page = "M6 3h8.5L18.5 7v14H6z";

const DRAWINGS = {
  white_check_mark: [tile("ok"), line("white", "M7.5 12.5l3.2 3.2 6-7")],
  heavy_check_mark: [line("ok", "M4.5 13l5 5L20 6.5")],
  x: [line("bad wide", "M6 6l12 12M18 6L6 18")],
  warning: [solid("warn", "M12 3.5 22 20.5H2z"), line("white", "M12 9.5v5M12 17.5v.1")],
  rotating_light: [solid("bad", "M6.5 17v-4.5a5.5 5.5 0 0 1 11 0V17z"), solid("soft", "M4.5 17.5h15v3h-15z"), line("bad", "M12 2v2.5M4 5.5l1.8 1.8M20 5.5l-1.8 1.8")],
  hourglass: [line("warn", "M6 3h12M6 21h12M7.5 3v3.5L12 12l-4.5 5.5V21M16.5 3v3.5L12 12l4.5 5.5V21")],
  eyes: [ring("ink", 7, 12, 4.3), ring("ink", 17, 12, 4.3), disc("ink", 8.2, 12.6, 1.9), disc("ink", 18.2, 12.6, 1.9)],
  mag: [ring("blue", 10.5, 10.5, 6), line("blue wide", "M15 15l5.5 5.5")],
  "+1": [solid("warn", thumb)],
  "-1": [["gf warn", "path", { d: thumb, transform: "rotate(180 12 12)" }]],
  wrench: [line("soft wide", "M14 10 4.5 19.5M19.5 5.5l-3 3-1.5-1.5 3-3a4.5 4.5 0 0 0-5 6 4.5 4.5 0 0 0 6.5-4.5z")],
  arrows_counterclockwise: [line("blue", cycle)],
  information_source: [tile("blue"), line("white", "M12 11v5.5M12 7.5v.1")],
  large_green_circle: [disc("ok")],
  red_circle: [disc("bad")],
  large_yellow_circle: [disc("yellow")],
  large_orange_circle: [disc("orange")],
  large_blue_circle: [disc("blue")],
  white_circle: [ring("soft")],
  black_circle: [disc("ink")],
  no_entry: [disc("bad"), line("white wide", "M7.5 12h9")],
  no_entry_sign: [ring("bad"), line("bad", "M6 6l12 12")],
  octagonal_sign: [solid("bad", "M8 3h8l5 5v8l-5 5H8l-5-5V8z")],
  memo: [line("ink", page, "M9 9h5M9 13h6M9 17h4")],
  page_facing_up: [line("ink", page, "M14 3v5h4.5")],
  clipboard: [line("ink", "M8 5H5.5v16h13V5H16M8.5 3.5h7v4h-7zM9 12h6M9 16h6")],
  bulb: [solid("yellow", "M8.5 16.5c0-2-2.5-3.2-2.5-6.5a6 6 0 0 1 12 0c0 3.3-2.5 4.5-2.5 6.5z"), line("soft", "M9.5 19h5M10.5 21.5h3")],
  link: [line("blue", "M10 14.5a4 4 0 0 1 0-5.6l3-3a4 4 0 0 1 5.6 5.6l-1.5 1.5M14 9.5a4 4 0 0 1 0 5.6l-3 3a4 4 0 0 1-5.6-5.6L6.9 11")],
  zzz: [line("blue", "M4 12h6l-6 8h6M13 4h6l-6 8h6")],
  rocket: [solid("blue", "M12 2.5c3.2 2.2 4.5 5.5 4.5 9l-2 5h-5l-2-5c0-3.5 1.3-6.8 4.5-9z"), solid("bad", "M7.2 12.5 4 18l4-1.2zM16.8 12.5 20 18l-4-1.2z"), disc("white", 12, 9.5, 2), line("orange", "M12 18.5v3")],
  fire: [solid("orange", "M12 2.5c.5 4 6.5 6 6.5 12a6.5 6.5 0 0 1-13 0c0-3 1.5-4.5 2.5-6 .5 1.5 1 2 2 2.5 0-3 .5-6 2-8.5z"), solid("yellow", "M12 12c.5 2 3 2.5 3 5a3 3 0 0 1-6 0c0-1.5.7-2 1.2-2.8.5.6.8.6 1 .8 0-1 .2-2 .8-3z")],
  tada: [solid("warn", "M3.5 20.5 8.5 8l7.5 7.5z"), line("bad", "M14 9c2-1 2.5-3 2-5"), line("blue", "M16 12c2-.8 3.5-.5 5 .5"), line("ok", "M19 5l1.5-1.5")],
  sparkles: [solid("yellow", "M11 4l2 6 6 2-6 2-2 6-2-6-6-2 6-2zM19 3l.8 2.2L22 6l-2.2.8L19 9l-.8-2.2L16 6l2.2-.8z")],
  star: [solid("yellow", "M12 2.5l2.9 6.3 6.8.8-5 4.7 1.3 6.8L12 17.7 6 21.1l1.3-6.8-5-4.7 6.8-.8z")],
  heart: [solid("bad", "M12 20.5C5 15.5 3 12 3 8.8A4.6 4.6 0 0 1 12 7a4.6 4.6 0 0 1 9 1.8c0 3.2-2 6.7-9 11.7z")],
  bell: [solid("yellow", bell), line("soft", "M10.5 19.5h3")],
  no_bell: [solid("soft", bell), line("bad", "M4 4l16 16")],
  lock: [solid("warn", "M5.5 10.5h13v10h-13z"), line("soft", "M8.5 10V7.5a3.5 3.5 0 0 1 7 0V10")],
  key: [ring("warn", 7.5, 12, 4), line("warn", "M11.5 12h9.5M18 12v4")],
  wastebasket: [line("soft", "M4 6.5h16M9 6V3.5h6V6M6 6.5l1 14.5h10l1-14.5M10 10.5v6.5M14 10.5v6.5")],
  paperclip: [line("soft", "M20 11.5l-8 8a5 5 0 0 1-7-7l8.5-8.5a3.4 3.4 0 0 1 4.8 4.8l-8 8a1.7 1.7 0 0 1-2.4-2.4l7.1-7.2")],
  speech_balloon: [line("soft", "M4 4.5h16v11.5h-9L6.5 20v-4H4z")],
  robot_face: [solid("blue", "M4.5 8h15v11.5h-15z"), line("blue", "M12 8V4"), disc("blue", 12, 3.5, 1.6), disc("white", 9, 13, 1.6), disc("white", 15, 13, 1.6)],
  package: [solid("orange", "M3.5 7.5 12 3l8.5 4.5v9L12 21l-8.5-4.5z"), line("white", "M4 8l8 4 8-4M12 12v8")],
  shield: [solid("blue", "M12 2.5l8 3v6c0 5-3.5 8.3-8 10-4.5-1.7-8-5-8-10v-6z")],
  pushpin: [solid("bad", "M9 3h6l-.7 6 3.2 4h-11l3.2-4z"), line("soft", "M12 13v8")],
  chart_with_upwards_trend: [line("soft", "M3.5 3.5v17h17"), line("bad", "M6.5 16l4-4 3 2.5 6-7.5")],
  chart_with_downwards_trend: [line("soft", "M3.5 3.5v17h17"), line("blue", "M6.5 7l4 4 3-2.5 6 7.5")],
  bar_chart: [solid("ok", "M4 12h4v8.5H4z"), solid("blue", "M10 4h4v16.5h-4z"), solid("bad", "M16 8.5h4v12h-4z")],
  stopwatch: [ring("soft", 12, 13.5, 7.5), line("soft", "M12 13.5V9M9.5 2.5h5")],
  gear: [ring("soft wide", 12, 12, 5), line("soft wide", "M12 2.5V6M12 18v3.5M2.5 12H6M18 12h3.5M5.3 5.3l2.4 2.4M16.3 16.3l2.4 2.4M5.3 18.7l2.4-2.4M16.3 7.7l2.4-2.4")],
  leftwards_arrow_with_hook: [line("blue", "M9 5 4 10l5 5M4 10h10a5.5 5.5 0 0 1 0 11h-2")],
  question: [line("bad", "M7.5 8.5a4.5 4.5 0 1 1 6.5 4c-1.5.8-2 1.5-2 3M12 19.5v.1")],
  exclamation: [line("bad wide", "M12 4v10M12 19v.1")],
  point_right: [line("warn wide", "M4 12h15M13 6l6 6-6 6")],
  raised_hand: [solid("warn", "M6 12V7.5a1.3 1.3 0 0 1 2.6 0V6a1.3 1.3 0 0 1 2.7 0V5a1.3 1.3 0 0 1 2.7 0v1.5a1.3 1.3 0 0 1 2.6 0V16c0 3-2 5.5-5.3 5.5S6 19 6 16z")],
  raising_hand: [disc("warn", 11, 9, 4), solid("blue", "M4 21c0-4.5 3-7 7-7s7 2.5 7 7z"), line("warn wide", "M18 15.5c1.5-2.5 2-6 1.5-11")],
  heavy_minus_sign: [line("soft wide", "M5 12h14")],
  ballot_box_with_check: [tile("blue"), line("white", "M7.5 12.5l3.2 3.2 6-7")],
  pause_button: [tile("blue"), line("white wide", "M9.5 8v8M14.5 8v8")],
  stethoscope: [line("blue", "M5 3.5v5a4.5 4.5 0 0 0 9 0v-5M9.5 13v3a4.5 4.5 0 0 0 9 0v-2.5"), ring("blue", 18.5, 11.5, 1.9)],
  adhesive_bandage: [["gf orange", "rect", { x: 2, y: 8, width: 20, height: 8, rx: 4, transform: "rotate(-40 12 12)" }], disc("white", 12, 12, 1.6)],
  lightning: [solid("soft", "M6.5 13.5a4 4 0 0 1 .3-8 5 5 0 0 1 9.4 1.2 3.5 3.5 0 0 1 .8 6.8z"), solid("warn", "M12.5 12 9 17h2.6L10.5 21.5 15 15.5h-2.7l1.4-3.5z")],
  boom: [solid("orange", "M12 2l2.3 5.5L19.5 5l-1.7 5.3L22.5 12l-4.7 2.3 1.7 4.7-5.2-1.5L12 22l-2.3-4.5L4.5 19l1.7-4.7L1.5 12l4.7-1.7L4.5 5l5.2 2.5z")],
};

const SAME = {
  thumbsup: "+1", thumbsdown: "-1", hourglass_flowing_sand: "hourglass", mag_right: "mag", green_circle: "large_green_circle", large_red_circle: "red_circle",
  yellow_circle: "large_yellow_circle", repeat: "arrows_counterclockwise", recycle: "arrows_counterclockwise", stop_sign: "octagonal_sign", robot: "robot_face",
  hammer_and_wrench: "wrench", pencil: "memo", alarm_clock: "stopwatch", timer_clock: "stopwatch", snooze: "zzz", collision: "boom", hand: "raised_hand",
  arrow_right: "point_right", heavy_exclamation_mark: "exclamation", negative_squared_cross_mark: "x",
};

const BY_CHARACTER = new Map([...EMOJI].filter(([name]) => DRAWINGS[SAME[name] ?? name]).map(([name, character]) => [character.replace("\ufe0f", ""), name]));
const CHARACTERS = new RegExp(`(${[...BY_CHARACTER.keys()].map((one) => one.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})\ufe0f?`, "gu");

/** A drawing, or the character in a span; null for a name that is not known at all. */
export function glyph(name, { decorative = false } = {}) {
  const shapes = DRAWINGS[SAME[name] ?? name];
  const character = emoji(name);
  if (!shapes && !character) return null;
  const spoken = decorative ? { "aria-hidden": "true" } : { role: "img", "aria-label": name.replaceAll("_", " ") };
  if (!shapes) return h("span", { class: "emoji", title: `:${name}:`, ...spoken }, character);
  return svg("svg", { class: "glyph", viewBox: "0 0 24 24", ...spoken }, shapes.map(([css, tag, attributes]) => svg(tag, { class: css, ...attributes })));
}

/** Text with the emoji characters that have a drawing replaced by it. */
export function withGlyphs(text) {
  const parts = text.split(CHARACTERS);
  return parts.length === 1 ? text : parts.map((part, index) => (index % 2 ? glyph(BY_CHARACTER.get(part)) : part));
}
