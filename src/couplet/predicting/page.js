"use strict";
{
  const byId = (id) => document.getElementById(id);
  const labels = JSON.parse(byId("labels").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const colours = bytes(JSON.parse(byId("colours").textContent));
  const decisions = ["absent", "present", "unsure", "unlike both"];
  const cards = [...document.querySelectorAll(".card")].map((element) => ({
    element,
    given: Number(element.dataset.given),
    values: JSON.parse(element.dataset.values),
    spread: JSON.parse(element.dataset.spread),
    decisions: JSON.parse(element.dataset.decisions),
  }));

  // Of one label its own number, of all labels the largest (for "lowest first" the largest is what must be low).
  const of = (numbers, label) => (label < 0 ? Math.max(...numbers) : numbers[label]);

  function draw(card, label, strength) {
    const canvas = card.element.querySelector("canvas");
    const size = card.element.dataset.size;
    canvas.hidden = label < 0 || !size || strength === 0;
    if (canvas.hidden) return;
    const [height, width] = JSON.parse(size);
    card.maps ??= bytes(card.element.dataset.maps);
    canvas.width = width;
    canvas.height = height;
    const pixels = new ImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const value = card.maps[label * width * height + i];
      for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = colours[3 * value + c];
      pixels.data[4 * i + 3] = 255 * strength * (value / 255) ** 1.5;
    }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  function say(card, label) {
    const line = card.element.querySelector(".chosen");
    line.hidden = label < 0;
    for (const row of card.element.querySelectorAll("tr")) {
      row.classList.toggle("is-chosen", Number(row.dataset.label) === label);
    }
    if (label < 0) return;
    const decision = card.decisions[label];
    const value = (100 * card.values[label]).toFixed(1);
    line.textContent =
      `${labels[label]}: ${value} %${decision === null ? "" : `, ${decisions[decision]}`}` +
      `; models disagree by ${(100 * card.spread[label]).toFixed(1)} points`;
  }

  function update() {
    const label = Number(byId("label").value);
    const order = byId("sort").value;
    const show = byId("show").value;
    const strength = Number(byId("strength").value) / 100;
    const keys = {
      given: (card) => card.given,
      value: (card) => -of(card.values, label),
      low: (card) => of(card.values, label),
      spread: (card) => -of(card.spread, label),
    };
    cards.sort((a, b) => keys[order](a) - keys[order](b) || a.given - b.given);
    let shown = 0;
    for (const card of cards) {
      const wanted = label < 0 ? card.decisions : [card.decisions[label]];
      card.element.hidden = show !== "all" && !wanted.includes(Number(show));
      shown += !card.element.hidden;
      say(card, label);
      draw(card, label, strength);
    }
    byId("cards").append(...cards.map((card) => card.element));
    byId("count").textContent = `${shown} of ${cards.length} pictures`;
  }

  for (const id of ["label", "sort", "show", "strength"]) byId(id).addEventListener("input", update);
  byId("cards").addEventListener("click", (event) => {
    const button = event.target.closest("th button");
    if (!button) return;
    const label = button.closest("tr").dataset.label;
    byId("label").value = byId("label").value === label ? "-1" : label;
    update();
  });
  update();
}
