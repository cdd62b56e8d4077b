// Shows results and problem documents: a profile as a table with small plots, files, other values.

import { element } from "./conversation.js";

const SVG = "http://www.w3.org/2000/svg";
const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 6 });
const text = (value) => (typeof value === "number" ? number(value) : String(value));

function drawing(label, ...shapes) {
  const svg = document.createElementNS(SVG, "svg");
  const attributes = { viewBox: "0 0 100 12", class: "plot", role: "img", "aria-label": label, preserveAspectRatio: "none" };
  Object.entries(attributes).forEach(([name, value]) => svg.setAttribute(name, value));
  for (const [className, x, width, y = 0, height = 12] of shapes) {
    const shape = svg.appendChild(document.createElementNS(SVG, "rect"));
    Object.entries({ class: className, x, width, y, height }).forEach(([name, value]) => shape.setAttribute(name, value));
  }
  return svg;
}

/** A bar that is filled to the share of `part` in `whole`. */
function share(part, whole, label) {
  const percent = whole ? (100 * part) / whole : 0;
  return drawing(`${label}: ${Math.round(percent)} %`, ["ground", 0, 100], ["part", 0, percent]);
}

/** A line from the lowest to the highest value, with a mark at the mean. */
function range({ min, max, mean }) {
  const place = max > min ? (100 * (mean - min)) / (max - min) : 50;
  return drawing(`mean ${number(mean)}`, ["ground", 0, 100, 5, 2], ["part", Math.min(97, Math.max(0, place - 1.5)), 3]);
}

function ends(column) {
  if (column.min === null) return ["no values"];
  const words = element("span", "ends", element("span", "", text(column.min)), element("span", "", text(column.max)));
  if (column.mean === null) return [words];
  return [range(column), words, element("small", "", `mean ${number(column.mean)}`)];
}

function row(column, rows) {
  const cells = [
    [share(column.count, rows, "cells with a value"), number(column.count)],
    [share(column.distinct, column.count, "different values"), (column.distinct_more_than ? "> " : "") + number(column.distinct)],
    ends(column),
  ];
  const head = element("th", "", column.name, " ", element("small", "", column.type));
  head.scope = "row";
  return element("tr", "", head, ...cells.map((cell) => element("td", "", ...cell)));
}

export function profile({ rows, columns }) {
  const names = ["Column", "Values", "Different", "From … to"];
  const heads = names.map((name) => Object.assign(element("th", "", name), { scope: "col" }));
  const body = element("tbody", "", ...columns.map((column) => row(column, rows)));
  const table = element("table", "profile", element("thead", "", element("tr", "", ...heads)), body);
  const scroll = element("div", "scroll", table);
  Object.entries({ tabindex: 0, role: "group", "aria-label": "The profile" }).forEach(([name, value]) => scroll.setAttribute(name, value));
  return [element("p", "", `${number(rows)} rows, ${columns.length} columns`), scroll];
}

/** A link to the file, and its first lines. */
export function file(url, start, size) {
  const link = Object.assign(element("a", "button", "Download the file"), { href: url });
  const words = size ? element("small", "", ` ${Number(size).toLocaleString("en")} bytes; the first lines:`) : "";
  return [element("p", "", link, words), element("pre", "", start)];
}

export const value = (body) => [element("pre", "", JSON.stringify(body, null, 2))];

/** A problem document (RFC 9457): its detail, and the members that the page has not said yet. */
export function problem(problem, fallback) {
  const list = element("dl");
  for (const [name, member] of Object.entries(problem ?? {})) {
    if (["title", "detail", "message"].includes(name)) continue;
    const words = typeof member === "object" ? JSON.stringify(member) : String(member);
    list.append(element("dt", "", name), element("dd", "", words));
  }
  return [element("p", "detail", problem?.detail || problem?.message || fallback), list];
}
