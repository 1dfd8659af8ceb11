// A judgement on its way: tried until the server has it, through dropped connections and reloads.
// The server knows an item by its id, so that sending twice is judging once.

import { dropDraft } from "./drafts.js";
import { recall, remember } from "./prefs.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
const TIMEOUT_MS = 15_000;

// `page`: { say(text), fail(text), done(next) }
export function send(form, page) {
  const body = new URLSearchParams(new FormData(form)).toString();
  const { item, draft } = form.dataset;
  const waiting = { action: form.getAttribute("action"), body, item, draft };
  remember("unsent", waiting);
  return deliver(waiting, page);
}

// What an earlier page could not send. `token` is of the session now.
export function unsent(token) {
  const waiting = recall("unsent");
  if (!waiting) return null;
  const body = new URLSearchParams(waiting.body);
  body.set("token", token);
  return { ...waiting, body: body.toString() };
}

export async function deliver(waiting, page) {
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    const answer = await attempt(waiting);
    if (answer) return settle(answer, waiting, page);
    page.say(`Not sent yet: no connection. It is kept here, and tried again every few seconds.`);
    await pause(wait);
  }
}

// null: worth another attempt.
async function attempt({ action, body }) {
  try {
    const response = await fetch(action, {
      method: "POST",
      body,
      headers: {
        accept: "application/json",
        "content-type": "application/x-www-form-urlencoded",
      },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (response.status >= 500 || response.status === 429) return null;
    return { status: response.status, ...(await response.json()) };
  } catch {
    return null;
  }
}

function settle(answer, waiting, page) {
  remember("unsent", null);
  if (answer.status < 300) {
    dropDraft(waiting.draft);
    page.done(answer.next);
  } else {
    page.fail(answer.error?.message ?? "This could not be sent.", answer.status);
  }
}

function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    addEventListener(
      "online",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}
