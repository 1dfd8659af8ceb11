// What scrolls sideways can be reached with the keyboard.

export function makeFocusable() {
  for (const part of document.querySelectorAll(".scroll, .md pre, pre.raw")) {
    const scrolls = part.scrollWidth > part.clientWidth + 1;
    if (scrolls) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
  }
}
