// The keyboard. Off while a text field has focus, and where the labeler turned it off.

import { recall, remember } from "./prefs.js";

const TYPING = "textarea, select, [contenteditable], input:not([type=radio]):not([type=checkbox])";
// a, then a again: better, much better, slightly better.
const STRONGER = { 0: 2, 1: 2, 2: 3, 3: 1 };

export function listen(page) {
  const isOn = () => page.keysOn.checked;
  page.keysOn.checked = recall("keys") !== false;
  page.keysOn.addEventListener("change", () => remember("keys", isOn()));
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      page.submit();
    } else if (event.key === "Escape") {
      leave(page);
    } else if (isOn() && !event.ctrlKey && !event.metaKey && !event.altKey) {
      if (event.target.closest?.(TYPING) === null && act(event, page)) event.preventDefault();
    }
  });
}

// True where the key meant something here.
function act(event, page) {
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code)?.[1];
  if (digit) return page.skip.open ? skipFor(page, digit) : number(page, digit, event.shiftKey);
  const action = ACTIONS[event.key];
  if (!action || (action.task && action.task !== page.cards.task)) return false;
  action.run(page);
  return true;
}

const ACTIONS = {
  j: { run: ({ cards }) => cards.go(cards.current + 1) },
  k: { run: ({ cards }) => cards.go(cards.current - 1) },
  "=": { run: ({ cards }) => cards.tie(), task: "rank" },
  f: { run: ({ cards }) => toggleFlags(cards.card) },
  e: { run: (page) => expand(page) },
  a: { run: ({ cards }) => prefer(cards, 1), task: "compare" },
  b: { run: ({ cards }) => prefer(cards, -1), task: "compare" },
  t: { run: ({ cards }) => cards.choose("preference", 0), task: "compare" },
  g: { run: () => document.querySelector("#guidelines").click() },
  s: { run: (page) => openSkip(page) },
  z: { run: () => document.querySelector("#undo")?.requestSubmit() },
  "?": { run: (page) => page.toggleLegend() },
};

function number(page, digit, isShifted) {
  const { cards } = page;
  if (cards.task === "rate" || (isShifted && cards.task === "rank")) {
    return cards.choose(`likert-${cards.letter}`, digit);
  }
  if (cards.task === "rank") cards.rank(digit);
  return cards.task === "rank";
}

function prefer(cards, sign) {
  const chosen = cards.form.querySelector("input[name=preference]:checked");
  const now = chosen ? Number(chosen.value) * sign : 0;
  cards.choose("preference", sign * STRONGER[Math.max(now, 0)]);
}

function toggleFlags(card) {
  const flags = card?.querySelector(".flags");
  if (!flags) return;
  flags.open = !flags.open;
  if (flags.open) flags.querySelector("input").focus();
  else card.focus({ preventScroll: true });
}

function expand({ cards }) {
  const part = cards.card?.querySelector(".more input") ? cards.card : document.querySelector("#prompt");
  const more = part?.querySelector(".more input");
  if (!more) return;
  more.checked = !more.checked;
  part.scrollIntoView({ block: "nearest" });
}

function openSkip({ skip }) {
  skip.open = true;
  skip.querySelector("button").focus();
}

function skipFor({ skip }, digit) {
  const button = skip.querySelectorAll("button")[digit - 1];
  button?.click();
  return button !== undefined;
}

function leave(page) {
  if (document.activeElement?.matches(TYPING)) document.activeElement.blur();
  else if (page.skip.open) page.skip.open = false;
  else page.hideLegend();
}
