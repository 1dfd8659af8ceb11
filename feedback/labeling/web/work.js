// The page of one item. Without this script it is a plain form; the script keeps what is typed, sends it
// however bad the connection, and listens to the keyboard.

import { Cards } from "./cards.js";
import { dropDraft, dropOldDrafts, keepDraft, restoreDraft } from "./drafts.js";
import { listen } from "./keys.js";
import { renewLease } from "./lease.js";
import { recall, remember } from "./prefs.js";
import { makeFocusable } from "./scrollers.js";
import { deliver, send, unsent } from "./sending.js";

const form = document.querySelector("#work");
const banner = document.querySelector("#sending");
const bar = form.querySelector(".bar");
const legend = document.querySelector("#legend");
const showKeys = document.querySelector("#show-keys");

const page = {
  keysOn: document.querySelector("#keys-on"),
  skip: document.querySelector("#skip"),
  cards: new Cards(form, document.querySelector("#order")),
  submit: () => form.requestSubmit(),
  say,
  done(next) {
    location.assign(next);
  },
  fail(text, status) {
    unfreeze();
    // Logged in anew meanwhile: a page of this session brings the draft back.
    if (status === 403) location.reload();
    say(text, "error");
    banner.focus();
  },
  toggleLegend: () => setLegend(legend.hidden),
  hideLegend: () => setLegend(false),
};

function say(text, kind = "wait") {
  banner.textContent = text;
  banner.dataset.kind = kind;
  banner.hidden = false;
}

function setLegend(isOpen) {
  legend.hidden = !isOpen;
  showKeys.setAttribute("aria-expanded", String(isOpen));
  remember("legend_seen", true);
}

// All but the bar, which says how it goes.
function freeze() {
  form.dataset.sent = "";
  for (const part of frozen()) part.inert = true;
}

function unfreeze() {
  delete form.dataset.sent;
  for (const part of frozen()) part.inert = false;
}

function frozen() {
  return [...form.children, ...bar.children].filter((part) => part !== bar && part !== banner);
}

function submit(event) {
  event.preventDefault();
  if (form.dataset.sent !== undefined) return;
  const missing = page.cards.missing();
  if (missing) {
    say(missing.text, "error");
    if (missing.field) missing.field.focus();
    else page.cards.go(missing.index);
    return;
  }
  banner.hidden = true;
  const sent = send(form, page);
  freeze();
  return sent;
}

dropOldDrafts();
restoreDraft(form);
page.cards.refresh();
keepDraft(form);
form.noValidate = true; // `submit` says it better
form.addEventListener("submit", submit);
form.addEventListener("input", () => {
  if (banner.dataset.kind === "error") banner.hidden = true;
});
document.querySelector("#skip-form").addEventListener("submit", () => {
  form.dataset.sent = "";
  dropDraft(form.dataset.draft);
});
listen(page);
renewLease(form, page);
makeFocusable();

showKeys.hidden = false;
showKeys.addEventListener("click", page.toggleLegend);
document.querySelector("#hide-keys").addEventListener("click", page.hideLegend);
// A phone has no keys to learn.
if (!recall("legend_seen") && matchMedia("(hover: hover)").matches) setLegend(true);

const raw = document.querySelector("#raw");
raw.checked = recall("raw") === true;
raw.addEventListener("change", () => {
  remember("raw", raw.checked);
  makeFocusable();
});

const waiting = unsent(form.elements.token.value);
if (waiting) {
  const isThis = waiting.item === form.dataset.item;
  if (isThis) freeze();
  deliver(waiting, isThis ? page : { ...page, done: () => (banner.hidden = true), fail: say });
}
