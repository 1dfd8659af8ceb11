// Markdown within a block: code, emphasis, links. Every scan is bounded, so that no text takes long.

import { el } from "./dom.js";

const MAX_DEPTH = 6;
const MAX_LABEL = 1000;
const MAX_ADDRESS = 2000;
const MAX_TRIES = 8;
const ESCAPABLE = "\\`*_{}[]()#+-.!~|<>\"'$&/:;=?@^%,";
const MARKS = [
  ["***", "strong", "em"],
  ["**", "strong"],
  ["__", "strong"],
  ["~~", "s"],
  ["*", "em"],
  ["_", "em"],
];

/** The nodes of a text. */
export function inline(text, depth = 0) {
  const nodes = [];
  const hopeless = new Set(); // marks that are not closed any more
  let plain = "";
  let at = 0;
  const flush = () => {
    if (plain) nodes.push(...withBreaks(plain));
    plain = "";
  };
  while (at < text.length) {
    const found = special(text, at, depth, hopeless);
    if (found === null) {
      plain += text[at];
      at += 1;
      continue;
    }
    if (found.node === null) plain += found.text;
    else {
      flush();
      nodes.push(found.node);
    }
    at = found.end;
  }
  flush();
  return nodes;
}

/** What begins here, if it is more than a character: {node, end} or {node: null, text, end}. */
function special(text, at, depth, hopeless) {
  switch (text[at]) {
    case "\\":
      if (at + 1 < text.length && ESCAPABLE.includes(text[at + 1]))
        return { node: null, text: text[at + 1], end: at + 2 };
      return null;
    case "`":
      return code(text, at, hopeless);
    case "!":
      return text[at + 1] === "[" ? link(text, at + 1, "Image: ") : null;
    case "[":
      return link(text, at, "");
    case "*":
    case "_":
    case "~":
      return depth < MAX_DEPTH ? emphasis(text, at, depth, hopeless) : null;
    default:
      return null;
  }
}

function code(text, at, hopeless) {
  let length = 1;
  while (text[at + length] === "`") length += 1;
  const mark = text.slice(at, at + length);
  const start = at + length;
  const close = hopeless.has(mark) ? -1 : closingRun(text, mark, start);
  if (close === -1) {
    hopeless.add(mark);
    return { node: null, text: mark, end: start };
  }
  const inner = text.slice(start, close);
  const isPadded = inner.length > 2 && inner.startsWith(" ") && inner.endsWith(" ");
  const shown = isPadded ? inner.slice(1, -1) : inner;
  return { node: el("code", { dir: "ltr" }, shown), end: close + length };
}

/** Where a run of just this many backticks is; -1 if there is none. */
function closingRun(text, mark, start) {
  let close = text.indexOf(mark, start);
  while (close !== -1) {
    let end = close + mark.length;
    if (text[end] !== "`") return close;
    while (text[end] === "`") end += 1;
    close = text.indexOf(mark, end);
  }
  return -1;
}

function emphasis(text, at, depth, hopeless) {
  for (const [mark, ...tags] of MARKS) {
    if (!text.startsWith(mark, at) || hopeless.has(mark)) continue;
    const start = at + mark.length;
    if (isSpace(text[start]) || (mark[0] === "_" && isWord(text[at - 1]))) continue;
    const close = closing(text, mark, start, hopeless);
    if (close === -1) continue;
    const inner = inline(text.slice(start, close), depth + 1);
    const node = tags.reduceRight((within, tag) => [el(tag, {}, within)], inner)[0];
    return { node, end: close + mark.length };
  }
  return null;
}

function closing(text, mark, start, hopeless) {
  let close = text.indexOf(mark, start + 1);
  if (close === -1) hopeless.add(mark);
  for (let tries = 0; close !== -1 && tries < MAX_TRIES; tries += 1) {
    const after = text[close + mark.length];
    const isDouble = mark.length === 1 && after === mark;
    if (mark.length === 2 && after === mark[0]) {
      close += 1; // `**a *b***`: the last two end it
      continue;
    }
    if (!isSpace(text[close - 1]) && !isDouble && !(mark[0] === "_" && isWord(after))) return close;
    close = text.indexOf(mark, close + (isDouble ? 2 : 1));
  }
  return -1;
}

/** `[label](address)`: shown with its address, and nothing to click: who wrote it is a machine. */
function link(text, at, before) {
  const label = text.slice(at + 1, at + 1 + MAX_LABEL);
  const close = label.indexOf("](");
  if (close === -1 || label.lastIndexOf("\n\n", close) !== -1) return null;
  const start = at + 1 + close + 2;
  const rest = text.slice(start, start + MAX_ADDRESS);
  const end = rest.indexOf(")");
  if (end === -1) return null;
  const address = rest.slice(0, end).trim().split(/\s/, 1)[0];
  const shown = label.slice(0, close);
  const node = el("span", { class: "link" }, before + shown);
  if (address && address !== shown)
    node.append(" ", el("span", { class: "address", dir: "ltr" }, `(${address})`));
  return { node, end: start + end + 1 };
}

function withBreaks(plain) {
  return plain.split("\n").flatMap((line, i) => (i === 0 ? [line] : [el("br"), line]));
}

function isSpace(character) {
  return character === undefined || /\s/.test(character);
}

function isWord(character) {
  return character !== undefined && /[\p{L}\p{N}]/u.test(character);
}
