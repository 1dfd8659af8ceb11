// Makes one element like another, changing as little as can be: focus, scrolling and opened details stay.
export function morph(old, next) {
  if (old.isEqualNode(next)) return;
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    // A person opens and closes; the server does not know.
    if (!next.hasAttribute(name) && !(name === "open" && old.localName === "details")) old.removeAttribute(name);
  }
  const olds = [...old.childNodes];
  const nexts = [...next.childNodes];
  nexts.forEach((wanted, place) => {
    const there = olds[place];
    if (!there) old.append(document.importNode(wanted, true));
    else if (isAlike(there, wanted)) morphNode(there, wanted);
    else there.replaceWith(document.importNode(wanted, true));
  });
  olds.slice(nexts.length).forEach((node) => node.remove());
}

function morphNode(there, wanted) {
  if (there.nodeType === Node.ELEMENT_NODE) morph(there, wanted);
  else if (there.data !== wanted.data) there.data = wanted.data;
}

function isAlike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;
}
