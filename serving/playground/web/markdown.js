// What a model writes, as elements, while it is still being written. No markup of its own gets through:
// every text becomes a text node. Blocks that did not change keep their elements.

import { copyButton, el } from "./dom.js";
import { inline } from "./inline.js";

const MAX_DEPTH = 6; // of lists and quotes in each other
const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])( +|$)/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const DIVIDER = /^[ |:-]*-[ |:-]*$/;

/** The elements of a text that grows. */
export class Markdown {
  constructor(root) {
    this.root = root;
    this.shown = []; // {kind, source, node}
    this.text = "";
    this.timer = null;
    this.tookMs = 0;
  }

  /** Show this text soon: with the next frame, later where drawing takes long. */
  update(text) {
    this.text = text;
    if (this.timer !== null) return;
    this.timer = setTimeout(() => this.draw(), Math.max(16, this.tookMs * 4));
  }

  /** Show this text now. */
  finish(text) {
    this.text = text;
    this.draw();
  }

  draw() {
    clearTimeout(this.timer);
    this.timer = null;
    const started = performance.now();
    const blocks = split(this.text.replaceAll("\r\n", "\n").split("\n"));
    const headings = { last: 2 };
    let same = 0;
    while (same < blocks.length && isSame(blocks[same], this.shown[same])) {
      follow(blocks[same], headings);
      same += 1;
    }
    for (const old of this.shown.splice(same)) old.node.remove();
    for (const block of blocks.slice(same)) {
      const node = build(block, 0, headings);
      this.root.append(node);
      this.shown.push({ kind: block.kind, source: block.source, node });
    }
    this.tookMs = performance.now() - started;
  }
}

function isSame(block, shown) {
  return shown !== undefined && shown.kind === block.kind && shown.source === block.source;
}

/** Blocks of these lines: {kind, source, lines, …}. */
export function split(lines) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (lines[at].trim() === "") {
      at += 1;
      continue;
    }
    const [block, end] = blockAt(lines, at);
    block.source = lines.slice(at, end).join("\n");
    blocks.push(block);
    at = end;
  }
  return blocks;
}

function blockAt(lines, at) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return codeAt(lines, at, fence);
  if (HEADING.test(line)) return [{ kind: "heading", lines: [line] }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (isTableAt(lines, at)) return tableAt(lines, at);
  if (line.startsWith(">")) {
    const end = endWhere(lines, at, (text) => !text.startsWith(">"));
    return [{ kind: "quote", lines: lines.slice(at, end).map((text) => text.replace(/^> ?/, "")) }, end];
  }
  if (ITEM.test(line)) return listAt(lines, at);
  const end = endWhere(lines, at + 1, (_, i) => isBegun(lines, i));
  return [{ kind: "paragraph", lines: lines.slice(at, end) }, end];
}

function isBegun(lines, at) {
  const line = lines[at];
  if (line.trim() === "" || FENCE.test(line) || HEADING.test(line) || RULE.test(line)) return true;
  return line.startsWith(">") || ITEM.test(line) || isTableAt(lines, at);
}

function codeAt(lines, at, [, mark, about]) {
  const isEnd = (text) => text.trim().startsWith(mark) && text.trim().replaceAll(mark[0], "") === "";
  const end = endWhere(lines, at + 1, isEnd);
  const language = about.trim().split(/\s/, 1)[0].slice(0, 40);
  return [{ kind: "code", language, lines: lines.slice(at + 1, end) }, Math.min(end + 1, lines.length)];
}

function isTableAt(lines, at) {
  if (!lines[at].includes("|") || at + 1 >= lines.length) return false;
  return lines[at + 1].includes("|") && DIVIDER.test(lines[at + 1]);
}

function tableAt(lines, at) {
  const end = endWhere(lines, at + 2, (text) => !text.includes("|"));
  const rows = [lines[at], ...lines.slice(at + 2, end)].map(cells);
  return [{ kind: "table", rows, aligns: cells(lines[at + 1]) }, end];
}

function listAt(lines, at) {
  const [, indent, marker] = ITEM.exec(lines[at]);
  const isOrdered = /\d/.test(marker);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const item = ITEM.exec(lines[end]);
    const isNext = item && item[1].length <= indent.length + 1 && /\d/.test(item[2]) === isOrdered;
    if (isNext && !RULE.test(lines[end])) items.push([lines[end].slice(item[0].length)]);
    else if (isInside(lines, end, indent.length)) items.at(-1).push(dedent(lines[end], indent.length + 2));
    else break;
    end += 1;
  }
  return [{ kind: "list", isOrdered, start: parseInt(marker, 10) || 1, items }, end];
}

/** Whether a line belongs to the item before it: indented, or blank before a line that is. */
function isInside(lines, at, indent) {
  const line = lines[at];
  if (line.trim() === "") {
    const next = lines[at + 1];
    return next !== undefined && (next.startsWith(" ".repeat(indent + 2)) || ITEM.test(next));
  }
  if (line.startsWith(" ".repeat(indent + 2))) return true;
  return lines[at - 1].trim() !== "" && !isBegun(lines, at); // a long item, broken into lines
}

function dedent(line, most) {
  let count = 0;
  while (count < most + 1 && line[count] === " ") count += 1;
  return line.slice(count);
}

function endWhere(lines, at, isOver) {
  let end = at;
  while (end < lines.length && !isOver(lines[end], end)) end += 1;
  return end;
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return inner.split("|").map((cell) => cell.trim());
}

function build(block, depth, headings) {
  switch (block.kind) {
    case "heading":
      return el(`h${follow(block, headings)}`, { dir: "auto" }, inline(title(block.lines[0])));
    case "rule":
      return el("hr");
    case "code":
      return codeBlock(block);
    case "table":
      return table(block);
    case "quote":
      return el("blockquote", { dir: "auto" }, inner(block.lines, depth, headings));
    case "list":
      return list(block, depth, headings);
    default:
      return el("p", { dir: "auto" }, inline(block.lines.map((line) => line.trim()).join("\n")));
  }
}

/** A heading's level below the answer's own (h2), none left out: what reads the page aloud counts on it. */
function follow(block, headings) {
  if (block.kind !== "heading") return headings.last;
  const asked = HEADING.exec(block.lines[0])[1].length + 2;
  headings.last = Math.min(asked, headings.last + 1, 6);
  return headings.last;
}

function title(line) {
  let text = line.trim().replace(/^#+/, "").trim();
  while (text.endsWith("#")) text = text.slice(0, -1);
  return text.trim();
}

function inner(lines, depth, headings) {
  if (depth >= MAX_DEPTH) return [lines.join("\n")];
  return split(lines).map((block) => build(block, depth + 1, headings));
}

function list(block, depth, headings) {
  const start = block.isOrdered && block.start !== 1 ? String(block.start) : null;
  const items = block.items.map((lines) => {
    const blocks = inner(lines, depth, headings);
    const isTight = blocks.length > 0 && blocks[0].tagName === "P" && !lines.includes("");
    const children = isTight ? [...blocks[0].childNodes, ...blocks.slice(1)] : blocks;
    return el("li", { dir: "auto" }, children);
  });
  return el(block.isOrdered ? "ol" : "ul", { start }, items);
}

function codeBlock(block) {
  const text = block.lines.join("\n");
  const head = el("div", { class: "code-head" }, el("span", {}, block.language), copyButton(() => text));
  const label = block.language ? `Code, ${block.language}` : "Code";
  const body = el("pre", { tabindex: "0", dir: "ltr", role: "group", "aria-label": label }, el("code", {}, text));
  return el("div", { class: "code" }, head, body);
}

function table({ rows, aligns }) {
  const align = (i) => {
    const mark = aligns[i] ?? "";
    if (!mark.endsWith(":")) return null;
    return mark.startsWith(":") ? "center" : "end";
  };
  const width = rows[0].length;
  const cell = (tag, text, i) =>
    el(text ? tag : "td", { dir: "auto", class: align(i) }, inline(text));
  const row = (tag, texts) => el("tr", {}, texts.slice(0, width).map((text, i) => cell(tag, text, i)));
  const head = el("thead", {}, row("th", rows[0]));
  const body = el("tbody", {}, rows.slice(1).map((texts) => row("td", texts)));
  return el(
    "div",
    { class: "table", tabindex: "0", role: "group", "aria-label": "Table" },
    el("table", {}, head, body),
  );
}
