// Text for screen readers: the expressions of all people, when they change, at most every two seconds.

const MILLISECONDS = 2000;
const node = document.getElementById("announcement");
let text = "";
let timer = 0;

export function announce(people) {
  const names = people.map(({ id, expression }) => {
    const label = expression.certain ? expression.label : "unsure";
    return people.length > 1 ? `person ${id}: ${label}` : label;
  });
  text = names.join(", ") || "No face in view";
  if (!timer) update();
}

export function clearAnnouncement() {
  text = "";
  node.textContent = "";
}

function update() {
  timer = 0;
  if (text === node.textContent) return;
  node.textContent = text;
  timer = setTimeout(update, MILLISECONDS);
}
