// The public API, as any other client calls it. Who we are: a token for this visitor, or an API key.

const KEY = "hone.key"; // in sessionStorage: gone with the tab

/** What went wrong, for words.js. `kind`: refused (before the answer), broken (in it), lost (no connection). */
export class Problem extends Error {
  constructor(kind, { status = 0, code = null, message = "", retryAfterS = null } = {}) {
    super(message);
    Object.assign(this, { kind, status, code, retryAfterS });
  }
}

export class Api {
  constructor() {
    this.token = null;
    this.visitor = null;
    this.endsMs = 0;
  }

  get key() {
    return sessionStorage.getItem(KEY);
  }

  /** Have a way in. Throws a Problem with code `api_key_needed` where only a key will do. */
  async enter() {
    if (this.key || (this.token && Date.now() < this.endsMs)) return;
    const session = await (await ask("/playground/session", { method: "POST" })).json();
    this.token = session.token;
    this.visitor = session.visitor;
    this.endsMs = Date.now() + (session.expires_in - 60) * 1000;
  }

  /** Take this API key from now on. Throws a Problem if it is not accepted. */
  async useKey(key) {
    await ask("/v1/models", { headers: { authorization: `Bearer ${key}` } });
    sessionStorage.setItem(KEY, key);
  }

  forgetKey() {
    sessionStorage.removeItem(KEY);
    this.token = null;
  }

  /** Stream an answer: `onOpen(about)` once it begins, `onText(index, text, finish)` as it comes. */
  async chat({ messages, count, isStored, signal, onOpen, onText, model = "policy" }) {
    const body = { model, messages, n: count, stream: true, store: isStored };
    if (this.key) body.user = visitorOfThisBrowser();
    const response = await this.call("/v1/chat/completions", body, { signal });
    const about = (name) => response.headers.get(name);
    let isOpen = false;
    for await (const chunk of events(response)) {
      if (chunk.error) throw new Problem("broken", chunk.error);
      if (!isOpen) {
        isOpen = true;
        onOpen({
          id: chunk.id,
          model: chunk.model,
          fingerprint: chunk.system_fingerprint,
          digest: about("x-policy-digest"),
          alias: about("x-policy-alias"),
        });
      }
      for (const choice of chunk.choices)
        onText(choice.index, choice.delta?.content ?? "", choice.finish_reason);
    }
  }

  /** Send a judgement. `once`: the same name again is the same judgement. */
  async judge(form, body, once) {
    const mine = this.key ? { ...body, labeler: visitorOfThisBrowser() } : body;
    const headers = { "idempotency-key": once };
    return (await this.call(`/v1/feedback/${form}`, mine, { headers })).json();
  }

  /** Take a judgement back. */
  async retract(id) {
    await this.call(`/v1/feedback/${id}`, undefined, { method: "DELETE" });
  }

  /** What is known of a version: {version, digest, parent}; null if nothing is. */
  async policy(model) {
    const list = await (await this.call("/v1/models")).json();
    return list.data.find((entry) => entry.id === model)?.policy ?? null;
  }

  async call(path, body, { signal, method, headers = {} } = {}) {
    for (let attempt = 1; ; attempt += 1) {
      await this.enter();
      const authorization = `Bearer ${this.key ?? this.token}`;
      const options = { signal, method, headers: { ...headers, authorization } };
      if (body !== undefined) {
        options.method = "POST";
        options.headers["content-type"] = "application/json";
        options.body = JSON.stringify(body);
      }
      try {
        return await ask(path, options);
      } catch (problem) {
        const isOver = problem.status === 401 && !this.key && attempt === 1;
        if (!isOver) throw problem;
        this.token = null; // its hour is over, or the gateways have another secret
      }
    }
  }
}

/** Whom an API key's answers and judgements are kept under, in this browser. */
function visitorOfThisBrowser() {
  let name = localStorage.getItem("hone.visitor");
  if (name === null) {
    name = `browser_${crypto.getRandomValues(new Uint32Array(4)).join("")}`;
    localStorage.setItem("hone.visitor", name);
  }
  return name;
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("lost", { message: String(error.message) });
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Problem("refused", {
    status: response.status,
    code: error?.code ?? null,
    message: error?.message ?? `the server answered ${response.status}`,
    retryAfterS: Number(response.headers.get("retry-after")) || null,
  });
}

/** The events of a stream. Throws a Problem when it ends without saying so. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Problem("lost", { message: "the stream ended too soon" });
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        if (!block.startsWith("data: ")) continue;
        if (block === "data: [DONE]") return;
        yield JSON.parse(block.slice(6));
      }
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Problem) throw error;
    throw new Problem("lost", { message: String(error.message) });
  } finally {
    reader.cancel().catch(() => {});
  }
}
