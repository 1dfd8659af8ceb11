// What a person says about an answer: thumbs, a vote, a better answer. And who wrote it, when asked.

import { announce, el, icon } from "./dom.js";
import { explain } from "./words.js";

const THUMB = [
  "M7 10v11H3V10zM7 10l5-7.5c1.6 0 2.6 1 2.3 2.6L13.5 9H20c1.2 0 2 1 1.8 2.2l-1.3 8c-.2 1-1 1.8-2 1.8H7",
];
const CHOICES = [
  ["a", "A is better"],
  ["b", "B is better"],
  ["tie", "Tie"],
  ["bad", "Both are bad"],
];
const PREFERENCE = { a: 2, b: -2, tie: 0, bad: 0 }; // of the API's -3 to 3
const DAY_MS = 86_400_000;
const FAILED = Symbol("failed");
const THANKS = "Thank you. It is kept.";

/** Whether an answer may be judged: it is whole, was kept, and was not withheld. */
export function isJudgeable(exchange, answer) {
  return exchange.isStored && exchange.state === "done" && answer.finish !== "content_filter";
}

/** Up and down for one answer. */
export function thumbs(exchange, answer, host) {
  const buttons = ["up", "down"].map((thumb) => {
    const label = thumb === "up" ? "Good answer" : "Bad answer";
    const button = el("button", { type: "button", class: `plain thumb ${thumb}`, "aria-label": label, title: label });
    button.append(icon(...THUMB));
    button.addEventListener("click", () => rate(thumb));
    return button;
  });
  const show = () =>
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(answer.thumb === ["up", "down"][i])));
  let isBusy = false;
  const rate = async (thumb) => {
    if (isBusy) return;
    isBusy = true;
    const { thumb: before, thumbId: said } = answer;
    answer.thumb = thumb === before ? null : thumb;
    show();
    answer.numThumbs = (answer.numThumbs ?? 0) + 1;
    const body = { completion_id: madeBy(exchange, answer).id, index: answer.index, thumb };
    const once = `${exchange.key}-thumb-${exchange.answers.indexOf(answer)}-${answer.numThumbs}`;
    const kept = await attempt(note, async () =>
      answer.thumb === null ? host.api.retract(said) : host.api.judge("ratings", body, once),
    );
    if (kept === FAILED) answer.thumb = before;
    else {
      answer.thumbId = kept?.id ?? null;
      announce(answer.thumb === null ? "Taken back." : THANKS);
    }
    show();
    isBusy = false;
    host.conversation.save();
  };
  const note = el("span", { class: "note" });
  show();
  return [...buttons, note];
}

/** The vote on two answers, or what came of it. */
export function verdict(exchange, host) {
  const [a, b] = exchange.answers;
  const said = el("p", { class: "said" });
  if (!exchange.isStored) {
    said.append("These answers were not kept, so there is nothing to vote on.");
    return said;
  }
  if (!isJudgeable(exchange, a) || !isJudgeable(exchange, b)) {
    said.append("A vote needs two whole answers. Ask again to get them.");
    return said;
  }
  if (exchange.vote !== null) return result(exchange);
  const note = el("p", { class: "note" });
  const box = el("div", { class: "vote", role: "group", "aria-label": "Which answer is better?" });
  const vote = async (choice) => {
    const buttons = [...box.querySelectorAll("button")];
    buttons.forEach((button) => (button.disabled = true));
    const name = (answer) => ({ completion_id: madeBy(exchange, answer).id, index: answer.index });
    const body = {
      a: name(a),
      b: name(b),
      preference: PREFERENCE[choice],
      both_bad: choice === "bad",
      duration_ms: Math.min(Math.max(Date.now() - exchange.doneMs, 0), DAY_MS),
    };
    const once = `${exchange.key}-vote-${choice}`;
    const kept = await attempt(note, () => host.api.judge("comparisons", body, once));
    if (kept !== FAILED) {
      announce(THANKS);
      exchange.vote = choice;
      host.conversation.save();
      host.refresh(exchange);
      return;
    }
    buttons.forEach((button) => (button.disabled = false));
    buttons.find((button) => button.dataset.choice === choice).focus();
  };
  for (const [choice, label] of CHOICES)
    box.append(el("button", { type: "button", "data-choice": choice, onclick: () => vote(choice) }, label));
  return [el("p", { class: "question", "aria-hidden": "true" }, "Which answer is better?"), box, note];
}

function result(exchange) {
  const words = {
    a: "You preferred A.",
    b: "You preferred B.",
    tie: "You called it a tie.",
    bad: "You found both bad.",
  };
  const goesOn = { a: "A", b: "B" }[exchange.vote] ?? "A";
  return el(
    "p",
    { class: "said", tabindex: "-1" },
    el("strong", {}, words[exchange.vote]),
    ...writers(exchange),
    ` Your vote is kept. The conversation goes on with ${goesOn}.`,
  );
}

/** Who wrote A and B: one version, in two tries, or two versions that are compared. */
function writers(exchange) {
  const [a, b] = exchange.answers.map((answer) => el("code", {}, madeBy(exchange, answer).model));
  if (a.textContent === b.textContent) return [" Both were written by ", a, ", as two tries."];
  return [" A was written by ", a, ", B by ", b, "."];
}

/** What is known of the answer's making; of two versions' answers each has its own. */
function madeBy(exchange, answer) {
  return answer.about ?? exchange.about;
}

/** A form to write a better answer, begun with the model's own words. */
export function betterForm(exchange, host) {
  const better = exchange.better;
  const note = el("p", { class: "note" });
  const area = el("textarea", { dir: "auto", rows: "6", maxlength: "100000" });
  area.value = better.text;
  area.addEventListener("input", () => {
    better.text = area.value;
    host.conversation.touch();
  });
  const form = el(
    "form",
    { class: "better" },
    el("label", {}, exchange.answers.length > 1 ? `A better answer than ${"AB"[better.position]}` : "A better answer", area),
    el(
      "div",
      { class: "row" },
      el("button", {}, "Send it"),
      el("button", { type: "button", class: "plain", onclick: () => close(null) }, "Cancel"),
    ),
    note,
  );
  const close = (next) => {
    exchange.better = next;
    host.conversation.save();
    host.refresh(exchange, next === null ? "better" : "thanks");
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const completion = area.value.trim();
    if (!completion || completion === exchange.answers[better.position].text.trim()) {
      note.textContent = "Change something first: this is the model's own answer.";
      area.focus();
      return;
    }
    const body = { parent: madeBy(exchange, exchange.answers[better.position]).id, completion };
    better.once ??= `${exchange.key}-better-${Date.now()}`;
    if (better.sentText !== undefined && better.sentText !== completion) better.once += "+";
    better.sentText = completion;
    const kept = await attempt(note, () => host.api.judge("demonstrations", body, better.once));
    if (kept === FAILED) return;
    announce(THANKS);
    close({ ...better, text: completion, isSent: true });
  });
  return form;
}

/** What was sent. */
export function betterSent(exchange) {
  return el(
    "details",
    { class: "about" },
    el("summary", {}, "Your better answer is kept"),
    el("p", { class: "text", dir: "auto" }, exchange.better.text),
  );
}

/** Who wrote an answer, shown when asked for. */
export function about(exchange, host) {
  const list = el("dl");
  const row = (name, value) => value && list.append(el("dt", {}, name), el("dd", {}, el("code", {}, value)));
  const details = el("details", { class: "about" }, el("summary", {}, "Which model answered?"), list);
  details.addEventListener("toggle", async () => {
    if (!details.open || list.childElementCount > 0) return;
    const made = new Set(exchange.answers.map((answer) => madeBy(exchange, answer)));
    for (const { model, alias, fingerprint, digest, id } of made) {
      row("Version", model);
      row("Asked as", alias);
      row("Fingerprint", fingerprint);
      row("Digest", digest);
      const policy = await host.api.policy(model).catch(() => null);
      row("Trained from", policy?.parent);
      row("Completion", exchange.isStored ? id : null);
    }
    row("You are", host.api.visitor);
  });
  return details;
}

/** The result of a call; FAILED, with a note that says why, when it was not taken. */
async function attempt(note, call) {
  try {
    const result = await call();
    note.textContent = "";
    return result;
  } catch (problem) {
    const { title, advice } = explain(problem);
    note.textContent = `Not kept. ${title} ${advice}`;
    announce(note.textContent);
    return FAILED;
  }
}
