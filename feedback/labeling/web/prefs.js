// What this browser remembers. Where storage is refused (private windows) the page works without.

export function remember(name, value) {
  try {
    if (value === null) localStorage.removeItem(`hone.${name}`);
    else localStorage.setItem(`hone.${name}`, JSON.stringify(value));
  } catch {
    // Full or refused.
  }
}

export function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(`hone.${name}`));
  } catch {
    return null;
  }
}

export function names(prefix) {
  try {
    const start = `hone.${prefix}`;
    return Object.keys(localStorage)
      .filter((name) => name.startsWith(start))
      .map((name) => name.slice("hone.".length));
  } catch {
    return [];
  }
}
