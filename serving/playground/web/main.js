// The playground: a box, a conversation, and what the keyboard does.

import { Api, Problem } from "./api.js";
import { Conversation, chosen } from "./conversation.js";
import { announce, el } from "./dom.js";
import { ExchangeView } from "./exchange.js";
import { isToBeCompared, streamPair } from "./pair.js";
import { explain } from "./words.js";

const EXAMPLES = [
  "Why is the sky blue? Tell a child.",
  "Three ideas for a rainy Sunday",
  "Write a kind reminder for a late invoice.",
  "What should I know before I get a cat?",
];
const HEADER_PX = 72;
const PATIENCE_MS = 6000; // without a word for so long, the page says that it still waits
const SPOKEN_CHARS = 600; // an answer longer than that is announced, not read out
const NOTICES = {
  true: "What you write is kept: labelers may read it and the model learn from it. Write nothing private.",
  false: "The server keeps nothing from now on. What is not kept cannot be judged, so there is no voting.",
};

const find = (id) => document.getElementById(id);
const prompt = find("prompt");
const api = new Api();
const conversation = new Conversation();
const views = new Map(); // exchange -> ExchangeView
let running = null; // AbortController of the answer under way
let followed = 0; // where we scrolled to
let editing = null; // {exchange, parked}: what is being edited, and the draft it took the place of

const host = {
  api,
  conversation,
  isLast: (exchange) => exchange === conversation.last,
  numBefore: (exchange) => conversation.exchanges.indexOf(exchange),
  refresh: (exchange, focus = "vote") => views.get(exchange).refresh(focus),
  edit,
  again,
};

start();

function start() {
  const { state } = conversation;
  find("app").hidden = find("dock").hidden = false;
  find("side").checked = state.isSideBySide;
  find("train").checked = state.isTraining;
  prompt.value = state.draft;
  for (const text of EXAMPLES)
    find("examples").append(el("li", {}, el("button", { type: "button", onclick: () => send(text) }, text)));
  for (const exchange of conversation.exchanges) show(exchange);
  listen();
  arrange();
  if (conversation.last) scrollTo(0, document.documentElement.scrollHeight);
  if (matchMedia("(pointer: fine)").matches) prompt.focus();
  api.enter().catch((problem) => problem.code === "api_key_needed" && openDoor(problem));
}

function listen() {
  find("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send(prompt.value);
  });
  prompt.addEventListener("keydown", (event) => {
    const isTouch = matchMedia("(pointer: coarse)").matches; // a line's end is all its Enter key can mean
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || isTouch) return;
    event.preventDefault();
    send(prompt.value);
  });
  prompt.addEventListener("input", () => {
    if (editing === null) conversation.state.draft = prompt.value;
    conversation.touch();
    grow();
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (running) running.abort();
    else if (editing) cancelEdit();
  });
  find("stop").addEventListener("click", () => running?.abort());
  find("cancel-edit").addEventListener("click", cancelEdit);
  find("clear").addEventListener("click", clear);
  find("side").addEventListener("change", (event) => {
    conversation.state.isSideBySide = event.target.checked;
    conversation.save();
  });
  find("train").addEventListener("change", (event) => {
    conversation.state.isTraining = event.target.checked;
    conversation.save();
    arrange();
    announce(NOTICES[conversation.state.isTraining]);
  });
  find("door").addEventListener("submit", useKey);
}

/** Put a question to the model. */
function send(text) {
  const asked = text.trim();
  if (!asked) return;
  if (running) {
    announce("The model is still answering. Escape stops it.");
    return;
  }
  if (text === prompt.value) prompt.value = conversation.state.draft = "";
  if (editing) {
    drop(editing.exchange);
    endEdit();
  }
  const before = conversation.last;
  const exchange = conversation.begin(asked);
  if (before) views.get(before)?.refresh();
  answer(exchange);
}

/** Sample the last question anew. */
function again(exchange, { forgetting = false } = {}) {
  if (running) return;
  if (editing) cancelEdit();
  const position = conversation.exchanges.indexOf(exchange);
  drop(exchange);
  const next = conversation.begin(exchange.prompt);
  next.forgets = forgetting ? position : exchange.forgets;
  answer(next);
}

async function answer(exchange) {
  const view = show(exchange);
  running = new AbortController();
  arrange();
  follow(view);
  announce(exchange.answers.length > 1 ? "Two answers are being written." : "The model is answering.");
  const waiting = setTimeout(() => view.wait(), PATIENCE_MS);
  try {
    await stream(exchange, view, running.signal);
    exchange.state = "done";
    exchange.doneMs = Date.now();
  } catch (error) {
    if (error.name === "AbortError") exchange.state = "stopped";
    else fail(exchange, error);
  }
  clearTimeout(waiting);
  running = null;
  conversation.save();
  const hadFocus = document.activeElement === find("stop");
  view.refresh();
  arrange();
  keepUp(view);
  tell(exchange);
  if (hadFocus) find("send").focus({ preventScroll: true });
}

async function stream(exchange, view, signal) {
  const { answers, isStored } = exchange;
  const messages = conversation.messages(exchange);
  const grow = (position, text, finish) => write(exchange, view, position, text, finish);
  if (answers.length === 2 && isStored && (await isToBeCompared(api)))
    return streamPair(api, exchange, { messages, isStored, signal }, grow);
  const positions = new Map(answers.map((answer, position) => [answer.index, position]));
  await api.chat({
    messages,
    count: answers.length,
    isStored,
    signal,
    onOpen: (about) => (exchange.about = about),
    onText: (index, text, finish) => grow(positions.get(index), text, finish),
  });
}

function write(exchange, view, position, text, finish) {
  const answer = exchange.answers[position];
  answer.text += text;
  answer.finish = finish ?? answer.finish;
  if (text) view.grow(position);
  conversation.touch();
  requestAnimationFrame(() => keepUp(view));
}

function fail(exchange, error) {
  const problem = error instanceof Problem ? error : new Problem("refused", { message: String(error) });
  const { kind, status, code, message, retryAfterS } = problem;
  exchange.problem = { kind, status, code, message, retryAfterS };
  const hasText = exchange.answers.some((answer) => answer.text);
  exchange.state = kind === "refused" || !hasText ? "refused" : "broken";
  if (explain(problem).cure === "key") openDoor(problem);
}

/** Say how it ended to those who do not see it. */
function tell(exchange) {
  if (exchange.state === "stopped") return announce("Stopped.");
  if (exchange.problem) {
    const { title, advice } = explain(exchange.problem);
    return announce(`${title} ${advice}`);
  }
  if (exchange.answers.length > 1) return announce("Both answers are complete. Vote below them.");
  const { text } = chosen(exchange);
  const numWords = text.split(/\s+/).length;
  return announce(text.length <= SPOKEN_CHARS ? text : `The answer is complete: ${numWords} words.`);
}

function edit(exchange) {
  if (running) return;
  if (editing) endEdit();
  editing = { exchange, parked: prompt.value };
  prompt.value = exchange.prompt;
  arrange();
  prompt.focus();
}

function cancelEdit() {
  prompt.value = "";
  endEdit();
  arrange();
  prompt.focus();
}

function endEdit() {
  if (!prompt.value) prompt.value = conversation.state.draft = editing.parked;
  editing = null;
}

function clear() {
  running?.abort();
  if (editing) endEdit();
  for (const exchange of [...conversation.exchanges]) drop(exchange);
  conversation.clear();
  conversation.state.draft = prompt.value;
  arrange();
  announce("A new conversation. The old one is gone from this browser.");
  prompt.focus();
}

function show(exchange) {
  const view = new ExchangeView(exchange, host);
  views.set(exchange, view);
  find("exchanges").append(view.root);
  return view;
}

function drop(exchange) {
  views.get(exchange)?.root.remove();
  views.delete(exchange);
  conversation.remove(exchange);
}

function openDoor(problem) {
  api.forgetKey();
  find("door-reason").textContent = explain(problem).advice;
  find("door").hidden = false;
  find("key").focus();
}

async function useKey(event) {
  event.preventDefault();
  try {
    await api.useKey(find("key").value.trim());
  } catch (problem) {
    const { title, advice } = explain(problem);
    find("door-reason").textContent = `${title} ${advice}`;
    announce(find("door-reason").textContent);
    find("key").select();
    return;
  }
  find("key").value = "";
  find("door").hidden = true;
  prompt.focus();
  if (conversation.last?.state === "refused") again(conversation.last);
}

/** What is shown when. */
function arrange() {
  const { isTraining } = conversation.state;
  find("welcome").hidden = conversation.exchanges.length > 0;
  find("title").hidden = conversation.exchanges.length === 0;
  find("clear").hidden = conversation.exchanges.length === 0;
  find("editing").hidden = editing === null;
  const hadFocus = document.activeElement;
  find("send").hidden = running !== null;
  find("stop").hidden = running === null;
  if (hadFocus === find("send") && running) find("stop").focus();
  find("notice").textContent = NOTICES[isTraining];
  find("dock").classList.toggle("is-off", !isTraining);
  grow();
}

/** The box is as high as its text, up to a limit that the style sheet sets. */
function grow() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight + 2}px`;
}

/** Scroll along with what is being written until its question is at the top; then it can be read. */
function follow(view) {
  const { scrollHeight, clientHeight } = document.documentElement;
  const top = view.root.getBoundingClientRect().top + scrollY - HEADER_PX;
  followed = Math.max(0, Math.min(top, scrollHeight - clientHeight));
  scrollTo({ top: followed, behavior: "instant" });
}

/** The same, unless the reader has scrolled elsewhere. */
function keepUp(view) {
  if (Math.abs(scrollY - followed) < 4) follow(view);
}
