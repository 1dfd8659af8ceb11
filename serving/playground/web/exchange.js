// One question and what was answered, on the page.

import { copyButton, el } from "./dom.js";
import { about, betterForm, betterSent, isJudgeable, thumbs, verdict } from "./judge.js";
import { Markdown } from "./markdown.js";
import { explain } from "./words.js";

export class ExchangeView {
  /** `host`: what the page offers: api, conversation, isLast, edit, again, refresh, askKey. */
  constructor(exchange, host) {
    this.exchange = exchange;
    this.host = host;
    this.asked = el("div", { class: "asked" });
    this.cards = exchange.answers.map((answer, position) => new Card(this, answer, position));
    const many = this.cards.length > 1 ? "answers two" : "answers";
    this.answers = el("div", { class: many }, this.cards.map((card) => card.root));
    this.below = el("div", { class: "below" });
    this.root = el(
      "article",
      {},
      el("h2", { class: "hidden" }, "You"),
      this.asked,
      el("h2", { class: "hidden" }, this.cards.length > 1 ? "Two answers" : "Answer"),
      this.answers,
      this.below,
    );
    this.refresh();
  }

  /** A text has grown. */
  grow(position) {
    this.cards[position].grow();
  }

  /** Nothing has come yet. */
  wait() {
    for (const card of this.cards) if (!card.answer.text) card.wait();
  }

  /** Show it as it is now; `focus`: what was just done by hand, so that the focus goes on from there. */
  refresh(focus = null) {
    const { exchange, host } = this;
    const isOver = exchange.state !== "streaming";
    const isLast = host.isLast(exchange);
    this.root.setAttribute("aria-busy", String(!isOver));
    this.root.classList.toggle("is-blind", this.isBlind);
    this.asked.replaceChildren(
      el("p", { class: "text", dir: "auto" }, exchange.prompt),
      isOver && isLast
        ? el("button", { type: "button", class: "plain", onclick: () => host.edit(exchange) }, "Edit")
        : "",
    );
    this.answers.hidden = exchange.state === "refused";
    for (const card of this.cards) card.refresh();
    this.below.replaceChildren(...(isOver ? this.afterwards(isLast) : []));
    const goal = { better: ".better-open", thanks: "summary" }[focus] ?? (exchange.vote ? ".said" : null);
    if (focus !== null && goal) this.root.querySelector(goal)?.focus();
  }

  /** Two answers whose names are hidden until the vote. */
  get isBlind() {
    const { exchange } = this;
    return this.cards.length > 1 && exchange.vote === null && exchange.isStored && exchange.state === "done";
  }

  afterwards(isLast) {
    const { exchange, host } = this;
    const parts = [];
    if (exchange.problem) parts.push(this.problem(isLast));
    if (exchange.state === "stopped") parts.push(el("p", { class: "note" }, "You stopped this answer."));
    if (this.cards.length > 1 && exchange.state === "done") parts.push(...[verdict(exchange, host)].flat());
    if (exchange.better?.isSent) parts.push(betterSent(exchange));
    else if (exchange.better) parts.push(betterForm(exchange, host));
    parts.push(this.foot(isLast));
    return parts;
  }

  foot(isLast) {
    const { exchange, host } = this;
    const foot = el("div", { class: "foot" });
    const canRetry = isLast && exchange.problem === null;
    if (canRetry)
      foot.append(el("button", { type: "button", class: "plain", onclick: () => host.again(exchange) }, "Ask again"));
    if (!exchange.isStored && exchange.state === "done" && this.cards.length === 1)
      foot.append(el("span", { class: "note" }, "Not kept, so it cannot be judged."));
    const isNamed = exchange.about !== null && !this.isBlind;
    if (isNamed) foot.append(about(exchange, host));
    return foot;
  }

  problem(isLast) {
    const { exchange, host } = this;
    const { title, advice, cure } = explain(exchange.problem);
    const buttons = el("div", { class: "row" });
    const add = (label, onclick) => buttons.append(el("button", { type: "button", onclick }, label));
    if (isLast && (cure === "retry" || cure === "key")) add("Try again", () => host.again(exchange));
    if (isLast && cure === "shorten" && exchange.forgets < host.numBefore(exchange))
      add("Answer without what came before", () => host.again(exchange, { forgetting: true }));
    if (isLast && (cure === "edit" || cure === "shorten")) add("Edit the message", () => host.edit(exchange));
    return el("div", { class: "problem" }, el("p", {}, el("strong", {}, title), " ", advice), buttons);
  }
}

/** One answer. */
class Card {
  constructor(view, answer, position) {
    Object.assign(this, { view, answer, position });
    this.body = el("div", { class: "prose" });
    this.markdown = new Markdown(this.body);
    this.tools = el("div", { class: "tools" });
    const isOne = view.exchange.answers.length === 1;
    const name = isOne ? null : el("h3", { class: "name" }, "AB"[position]);
    this.root = el("div", { class: "answer" }, name, this.body, this.tools);
  }

  wait() {
    const text = "No word yet. The first answer after a start takes longer.";
    this.tools.replaceChildren(el("span", { class: "note" }, text));
  }

  grow() {
    if (this.root.classList.contains("is-waiting")) this.tools.replaceChildren();
    this.root.classList.remove("is-waiting");
    this.markdown.update(this.answer.text);
  }

  refresh() {
    const { exchange } = this.view;
    const isOver = exchange.state !== "streaming";
    this.root.classList.toggle("is-waiting", !isOver && !this.answer.text);
    this.root.classList.toggle("is-writing", !isOver && Boolean(this.answer.text));
    this.root.classList.toggle("is-chosen", exchange.vote === "ab"[this.position]);
    this.markdown.finish(this.answer.text);
    this.tools.replaceChildren(...(isOver ? this.actions() : []));
  }

  actions() {
    const { answer, position } = this;
    const { exchange, host } = this.view;
    const parts = [];
    if (answer.finish === "content_filter")
      parts.push(el("span", { class: "note" }, "Moderation withheld the rest of this answer."));
    else if (answer.finish === "length")
      parts.push(el("span", { class: "note" }, "Cut here: the model has no more room."));
    else if (exchange.state === "done" && !answer.text.trim())
      parts.push(el("span", { class: "note" }, "The model had nothing to say."));
    if (answer.text) parts.push(copyButton(() => answer.text) ?? "");
    if (!isJudgeable(exchange, answer)) return parts;
    parts.push(...thumbs(exchange, answer, host));
    if (exchange.better === null)
      parts.push(el("button", { type: "button", class: "plain better-open", onclick: () => this.improve() }, "Write a better answer"));
    return parts;
  }

  improve() {
    const { exchange, host } = this.view;
    exchange.better = { position: this.position, text: this.answer.text, isSent: false };
    host.refresh(exchange);
    this.view.root.querySelector(".better textarea").focus();
  }
}
