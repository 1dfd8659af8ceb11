// The conversation, as this browser keeps it. Nothing typed is lost by a reload.

const NAME = "hone.conversation";
const MAX_KEPT = 200; // exchanges

/** What a page begins with. */
function fresh() {
  return { exchanges: [], draft: "", isTraining: true, isSideBySide: false };
}

export class Conversation {
  constructor() {
    this.state = { ...fresh(), ...read() };
    for (const exchange of this.state.exchanges) {
      if (exchange.state !== "streaming") continue;
      exchange.state = "broken";
      exchange.problem = { kind: "closed" };
    }
    this.timer = null;
    addEventListener("pagehide", () => this.save());
  }

  get exchanges() {
    return this.state.exchanges;
  }

  get last() {
    return this.exchanges.at(-1) ?? null;
  }

  /** A question, before it is answered. */
  begin(prompt) {
    const { isTraining, isSideBySide } = this.state;
    const count = isSideBySide ? 2 : 1;
    const exchange = {
      key: crypto.getRandomValues(new Uint32Array(4)).join("-"),
      prompt,
      isStored: isTraining,
      state: "streaming", // done | stopped | broken | refused
      problem: null,
      about: null, // {id, model, fingerprint, digest, alias}; where two versions answer, answers have their own
      // In the order they are shown, which says nothing of the order they were made in.
      answers: shuffled(count).map((index) => ({ index, text: "", finish: null, thumb: null })),
      vote: null, // a | b | tie | bad
      better: null, // {position, text, isSent}
      forgets: this.last?.forgets ?? 0, // how many exchanges, from the first, the model is not shown
    };
    this.exchanges.push(exchange);
    if (this.exchanges.length > MAX_KEPT) {
      this.exchanges.shift();
      for (const kept of this.exchanges) kept.forgets = Math.max(0, kept.forgets - 1);
    }
    this.save();
    return exchange;
  }

  /** What the model reads to answer an exchange. */
  messages(exchange) {
    const at = this.exchanges.indexOf(exchange);
    const before = this.exchanges.slice(exchange.forgets, at).flatMap((earlier) => {
      const answer = chosen(earlier);
      if (!answer?.text) return [];
      return [
        { role: "user", content: earlier.prompt },
        { role: "assistant", content: answer.text },
      ];
    });
    return [...before, { role: "user", content: exchange.prompt }];
  }

  remove(exchange) {
    this.exchanges.splice(this.exchanges.indexOf(exchange), 1);
    this.save();
  }

  clear() {
    this.state = { ...fresh(), isTraining: this.state.isTraining, isSideBySide: this.state.isSideBySide };
    this.save();
  }

  /** Keep it soon. */
  touch() {
    this.timer ??= setTimeout(() => this.save(), 300);
  }

  save() {
    clearTimeout(this.timer);
    this.timer = null;
    try {
      localStorage.setItem(NAME, JSON.stringify(this.state));
    } catch {
      // Full, or forbidden: the page goes on without.
    }
  }
}

/** The answer with which the conversation goes on: the better one; the first where none was. */
export function chosen(exchange) {
  return exchange.answers[exchange.vote === "b" ? 1 : 0];
}

function shuffled(count) {
  if (count === 1) return [0];
  return crypto.getRandomValues(new Uint8Array(1))[0] % 2 ? [0, 1] : [1, 0];
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(NAME)) ?? {};
  } catch {
    return {};
  }
}
