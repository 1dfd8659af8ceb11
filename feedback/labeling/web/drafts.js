// What was chosen and typed for an item, kept until it is sent: Back, a reload or a crash lose nothing.

import { names, recall, remember } from "./prefs.js";

const KEEP_MS = 7 * 24 * 3600 * 1000;
const PAUSE_MS = 250;

export function keepDraft(form) {
  const name = draftName(form.dataset.draft);
  let timer = 0;
  const save = () => {
    clearTimeout(timer);
    if (form.dataset.sent === undefined) remember(name, read(form));
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(save, PAUSE_MS);
  });
  form.addEventListener("change", save);
  // A phone may end a page in the background without another word.
  document.addEventListener("visibilitychange", save);
  addEventListener("pagehide", save);
}

export function restoreDraft(form) {
  const draft = recall(draftName(form.dataset.draft));
  // What the server filled in comes from the form that was sent last; it is newer.
  if (draft && form.dataset.filled === undefined) write(form, draft);
}

export function dropDraft(draft) {
  remember(draftName(draft), null);
}

export function dropOldDrafts() {
  for (const name of names("draft.")) {
    const draft = recall(name);
    if (!draft || Date.now() - draft.at > KEEP_MS) remember(name, null);
  }
}

function draftName(draft) {
  return `draft.${draft}`;
}

function fields(form) {
  return [...form.elements].filter((field) => field.name && field.type !== "submit");
}

function read(form) {
  const ticked = [];
  const texts = {};
  for (const field of fields(form)) {
    if (field.type === "radio" || field.type === "checkbox") {
      if (field.checked) ticked.push(`${field.name}=${field.value}`);
    } else if (field.type === "textarea" || field.name === "shown_at") {
      texts[field.name] = field.value;
    }
  }
  return { at: Date.now(), ticked, texts };
}

function write(form, draft) {
  const ticked = new Set(draft.ticked);
  for (const field of fields(form)) {
    if (field.type === "radio" || field.type === "checkbox") {
      field.checked = ticked.has(`${field.name}=${field.value}`);
    } else if (field.name in draft.texts) {
      field.value = draft.texts[field.name];
    }
  }
  for (const flags of form.querySelectorAll(".flags")) {
    flags.open ||= flags.querySelector(":checked") !== null;
  }
}
