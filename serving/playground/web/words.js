// What went wrong, in plain words, and what to do about it.

/** {title, advice, cure}; cure: retry | edit | shorten | key | null. */
export function explain(problem) {
  if (problem.kind === "lost")
    return {
      title: "The connection was lost.",
      advice: "What had come by then is kept. Look at your connection, then try again.",
      cure: "retry",
    };
  if (problem.kind === "broken")
    return {
      title: "The answer broke off.",
      advice: "The model stopped in the middle of it, which can happen while it restarts. Try again.",
      cure: "retry",
    };
  if (problem.kind === "closed")
    return {
      title: "This page was left before the answer was whole.",
      advice: "What had come by then is kept.",
      cure: "retry",
    };
  return BY_CODE[problem.code]?.(problem) ?? byStatus(problem);
}

const BY_CODE = {
  content_policy_violation: ({ message }) => ({
    title: "Moderation did not let this message through.",
    advice: `${reasons(message)} Put it in other words and send it again.`,
    cure: "edit",
  }),
  context_length_exceeded: () => ({
    title: "This is longer than the model can read.",
    advice: "It can answer without the earlier part of the conversation, or you shorten your message.",
    cure: "shorten",
  }),
  api_key_needed: ({ message }) => ({ title: "An API key is needed.", advice: sentence(message), cure: "key" }),
  invalid_api_key: () => ({
    title: "This API key is not accepted.",
    advice: "It may be misspelt, or revoked. Enter another one; your message stays here.",
    cure: "key",
  }),
  playground_closed: () => ({
    title: "The operator has closed this playground.",
    advice: "With an API key you can still use it.",
    cure: "key",
  }),
};

function byStatus({ status, message, retryAfterS }) {
  const when = retryAfterS ? `in ${retryAfterS} second${retryAfterS === 1 ? "" : "s"}` : "in a moment";
  if (status === 429)
    return { title: "That was a lot at once.", advice: `You can ask again ${when}.`, cure: "retry" };
  if (status === 503)
    return {
      title: "The model is not available right now.",
      advice: `It may be starting, or very busy. Try again ${when}.`,
      cure: "retry",
    };
  if (status === 413)
    return { title: "This message is too long.", advice: "Shorten it and send it again.", cure: "edit" };
  if (status === 403)
    return { title: "This key may not do that.", advice: sentence(message), cure: "key" };
  return { title: "That did not work.", advice: sentence(message), cure: "retry" };
}

/** Moderation's categories out of "…: violence, hate". */
function reasons(message) {
  const named = message.includes(": ") ? message.slice(message.lastIndexOf(": ") + 2) : "";
  return named ? `It was taken for: ${named}.` : "";
}

function sentence(message) {
  const text = message.trim();
  if (!text) return "";
  return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
