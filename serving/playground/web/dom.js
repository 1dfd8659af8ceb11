// Elements by hand. Text only ever becomes a text node; the page's policy forbids markup from text.

const SVG = "http://www.w3.org/2000/svg";

/** An element: attributes (`on…` listeners, `class`, null left out), then children (text, nodes, null). */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** A drawing of 24 × 24, out of its paths; read out by nobody. */
export function icon(...paths) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  for (const d of paths) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/** Tell people who do not see the page, once. */
export function announce(text) {
  const status = document.getElementById("status");
  // The same text again is a change only after another one.
  status.textContent = status.textContent === text ? `${text} ` : text;
}

/** A button that puts a text on the clipboard; null where a page may not (plain HTTP). */
export function copyButton(text, label = "Copy") {
  if (!navigator.clipboard) return null;
  const button = el("button", { type: "button", class: "plain" }, label);
  button.addEventListener("click", async () => {
    const isCopied = await navigator.clipboard.writeText(text()).then(() => true, () => false);
    button.textContent = isCopied ? "Copied" : "Not copied";
    announce(button.textContent);
    setTimeout(() => (button.textContent = label), 2000);
  });
  return button;
}
