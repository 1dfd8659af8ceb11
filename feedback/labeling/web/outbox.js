// On the pages beside the work: what an earlier page could not send goes now.

import { deliver, unsent } from "./sending.js";

const banner = document.querySelector("#sending");
const waiting = unsent(document.querySelector("input[name=token]").value);

function say(text) {
  banner.textContent = text;
  banner.hidden = false;
}

if (waiting) {
  deliver(waiting, { say, fail: say, done: () => say("A judgement that waited here is sent now.") });
}
