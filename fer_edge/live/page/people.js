// One card per person: name of the expression, and a bar for each probability.

import { colourOf, colourOfPerson, inkOn } from "./colours.js";

const AWAY_SECONDS = 3; // a card stays this long after the person has left
const list = document.getElementById("cards");
const nobody = document.getElementById("nobody");
const cards = new Map(); // by number of the person

export function showPeople(people, time) {
  for (const person of people) {
    if (!cards.has(person.id)) cards.set(person.id, makeCard(person));
    updateCard(cards.get(person.id), person, time);
  }
  const present = new Set(people.map((person) => person.id));
  for (const [id, card] of cards) {
    card.element.classList.toggle("away", !present.has(id));
    if (time - card.lastTime > AWAY_SECONDS || time < card.lastTime) {
      card.element.remove();
      cards.delete(id);
    }
  }
  nobody.hidden = cards.size > 0;
  setText(nobody, "No face in view");
}

export function clearPeople(reason) {
  for (const card of cards.values()) card.element.remove();
  cards.clear();
  nobody.hidden = false;
  setText(nobody, reason);
}

function element(parent, tag, className, text = "") {
  const child = document.createElement(tag);
  child.className = className;
  child.textContent = text;
  parent.append(child);
  return child;
}

function makeCard(person) {
  const item = document.createElement("li");
  item.className = "person";
  item.dataset.id = person.id;
  const who = element(item, "div", "who");
  const badge = element(who, "span", "badge", person.id);
  badge.title = `Person ${person.id}`;
  const label = element(who, "span", "label");
  const since = element(who, "span", "since");
  since.title = "Time since the expression began";
  const bars = element(item, "div", "bars");
  const rows = new Map();
  for (const name of Object.keys(person.expression.scores)) {
    const title = element(bars, "span", "name", name);
    const fill = element(element(bars, "span", "track"), "span", "fill");
    fill.style.display = "block";
    fill.style.background = colourOf(name);
    rows.set(name, { title, fill, percent: element(bars, "span", "percent") });
  }
  const hint = element(item, "p", "hint");
  const after = [...list.children].find((other) => Number(other.dataset.id) > person.id);
  list.insertBefore(item, after || null);
  return { element: item, badge, label, since, rows, hint, lastTime: 0 };
}

function updateCard(card, person, time) {
  card.lastTime = time;
  const { label, scores, certain, warning } = person.expression;
  setText(card.label, certain ? label : "unsure");
  setText(card.since, person.since === null ? "" : `${Math.max(time - person.since, 0).toFixed(1)} s`);
  card.badge.style.background = colourOfPerson(person);
  card.badge.style.color = inkOn(colourOfPerson(person));
  for (const [name, row] of card.rows) {
    const score = scores[name] || 0;
    row.fill.style.transform = `scaleX(${score})`;
    row.title.classList.toggle("best", name === label);
    setText(row.percent, `${Math.round(100 * score)} %`);
  }
  card.hint.hidden = !warning;
  setText(card.hint, warning);
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
