// The cards: which one the keys speak of, ranks, and what is still missing.

export class Cards {
  constructor(form, order) {
    this.form = form;
    this.task = form.dataset.task;
    this.all = [...form.querySelectorAll(".card")];
    this.letters = this.all.map((card) => card.dataset.letter);
    this.order = order;
    this.lastRanked = null;
    this.mark(0);
    for (const [index, card] of this.all.entries()) {
      card.addEventListener("focusin", () => this.mark(index));
    }
    form.addEventListener("change", (event) => this.changed(event.target));
    this.refresh();
  }

  get card() {
    return this.all[this.current];
  }

  get letter() {
    return this.letters[this.current];
  }

  mark(index) {
    this.current = index;
    for (const [i, card] of this.all.entries()) card.toggleAttribute("data-current", i === index);
  }

  go(index) {
    if (index < 0 || index >= this.all.length) return;
    this.mark(index);
    this.card.focus({ preventScroll: true });
    const isTall = this.card.offsetHeight > innerHeight * 0.8;
    this.card.scrollIntoView({ block: isTall ? "start" : "nearest" });
  }

  // Ticks a radio button as a click would; false where there is none.
  choose(name, value) {
    const field = this.form.querySelector(`input[name="${name}"][value="${value}"]`);
    if (!field) return false;
    field.checked = true;
    for (const name of ["input", "change"]) field.dispatchEvent(new Event(name, { bubbles: true }));
    return true;
  }

  rank(value) {
    if (!this.choose(`rank-${this.letter}`, value)) return;
    const { length } = this.all;
    for (let step = 1; step < length; step += 1) {
      const index = (this.current + step) % length;
      if (this.rankOf(this.letters[index]) === null) {
        this.go(index);
        return;
      }
    }
  }

  tie() {
    const before = this.lastRanked === this.letter ? null : this.lastRanked;
    const letter = before ?? this.letters[this.current - 1];
    const rank = letter === undefined ? null : this.rankOf(letter);
    if (rank !== null) this.rank(rank);
  }

  rankOf(letter) {
    const field = this.form.querySelector(`input[name="rank-${letter}"]:checked`);
    return field ? Number(field.value) : null;
  }

  changed(field) {
    if (field.name?.startsWith("rank-")) this.lastRanked = field.name.slice("rank-".length);
    this.refresh();
  }

  unranked() {
    return this.task === "rank" ? this.letters.filter((l) => this.rankOf(l) === null) : [];
  }

  // What keeps this from being sent, in words; null: nothing.
  missing() {
    const open = this.unranked();
    if (open.length) {
      const names = open.map((letter) => letter.toUpperCase()).join(", ");
      return { text: `Give a rank to ${names}.`, index: this.letters.indexOf(open[0]) };
    }
    const field = [...this.form.elements].find((f) => f.required && !f.validity.valid);
    if (!field) return null;
    const text = field.type === "radio" ? "Choose one of the numbers or words." : "Write something.";
    return { text: field.name === "preference" ? "Choose which one is better." : text, field };
  }

  refresh() {
    for (const card of this.all) {
      const count = card.querySelectorAll(".flags :checked").length;
      const shown = card.querySelector(".flags .count");
      if (shown) shown.textContent = count ? `${count}` : "";
    }
    if (this.task === "rank") this.order.textContent = this.inWords();
  }

  inWords() {
    const tiers = new Map();
    for (const letter of this.letters) {
      const rank = this.rankOf(letter);
      if (rank !== null) tiers.set(rank, [...(tiers.get(rank) ?? []), letter.toUpperCase()]);
    }
    const ranked = [...tiers.keys()].sort((one, two) => one - two);
    const words = ranked.map((rank) => tiers.get(rank).join(" = ")).join("  ›  ");
    const open = this.unranked().length;
    if (!ranked.length) return "";
    return open ? `${words}  ·  ${open} to go` : words;
  }
}
