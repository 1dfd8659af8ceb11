// Looks at the page again every few seconds and takes over what has changed in its live parts. The page is
// whole without it. What somebody has opened, typed or focused stays as it is.
import { morph } from "./morph.js";

const every = Number(document.body.dataset.every) * 1000;
const button = document.getElementById("live");
const said = document.getElementById("said");
const lost = document.getElementById("lost");
let isLive = sessionStorage.getItem("hone-live") !== "off";

document.querySelector(".screens [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

if (every) {
  button.hidden = false;
  show();
  button.addEventListener("click", () => {
    isLive = !isLive;
    sessionStorage.setItem("hone-live", isLive ? "on" : "off");
    show();
    if (isLive) look();
  });
  setInterval(() => isLive && !document.hidden && look(), every);
  document.addEventListener("visibilitychange", () => isLive && !document.hidden && look());
}

function show() {
  button.setAttribute("aria-pressed", String(isLive));
  button.textContent = isLive ? "Live" : "Paused";
}

let isLooking = false;

async function look() {
  if (isLooking) return;
  isLooking = true;
  try {
    const answer = await fetch(location.pathname + location.search, { headers: { accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (fresh.getElementById("login")) return location.reload();
    if (!answer.ok) throw new Error(String(answer.status));
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (next) morph(part, next);
    }
    tell(fresh.getElementById("said")?.dataset.said);
    lost.textContent = "";
  } catch {
    if (!lost.textContent) {
      lost.textContent = `The gateway does not answer; these figures are from ${new Date().toLocaleTimeString()}.`;
    }
  } finally {
    isLooking = false;
  }
}

// Only when the state has changed: figures that move all the time are not read out.
function tell(now) {
  if (now === undefined || now === said.dataset.said) return;
  said.dataset.said = now;
  said.textContent = now;
}
