// While a canary runs: one answer of it and one of production, on sides that chance has chosen.

const MODELS = ["policy@canary", "policy@production"]; // by an answer's index, which is shuffled

/** Half of what is shown side by side compares the two, while there is a canary. */
export async function isToBeCompared(api) {
  if (crypto.getRandomValues(new Uint8Array(1))[0] % 2) return false;
  return (await api.policy(MODELS[0]).catch(() => null)) !== null;
}

/** Stream both; `onText(position, text, finish)`. One that fails ends the other. */
export async function streamPair(api, exchange, asked, onText) {
  const failed = new AbortController();
  const signal = AbortSignal.any([asked.signal, failed.signal]);
  const streams = exchange.answers.map((answer, position) => {
    const model = MODELS[answer.index];
    answer.index = 0; // each is the only one of its completion
    return api.chat({
      ...asked,
      model,
      count: 1,
      signal,
      onOpen: (about) => (exchange.about = answer.about = about),
      onText: (_, text, finish) => onText(position, text, finish),
    });
  });
  try {
    await Promise.all(streams);
  } catch (error) {
    failed.abort();
    await Promise.allSettled(streams);
    throw error;
  }
}
