// States of the page: colour and text of the status, and heading, explanation and buttons over the picture.

export const STATES = {
  loading: ["connecting", "Loading", "Loading the model", "It is loaded once, and then runs on this device."],
  opening: ["connecting", "Loading", "Starting the model", "This takes a second or two."],
  ready: ["ready", "Ready", "Recognise expressions", "Pictures stay in this page: they are neither sent nor stored.", "Start the camera"],
  asking: ["connecting", "Waiting", "May this page use the camera?", "Answer the question of your browser."],
  refused: ["lost", "Not allowed", "The camera is not allowed", "Allow it in the settings of this site, which are beside its address, and try again.", "Try again"],
  none: ["lost", "No camera", "No camera", "Connect one and try again, or open a photo or video.", "Try again"],
  busy: ["lost", "Camera in use", "The camera does not start", "Close other programs that use it, and try again.", "Try again"],
  unplugged: ["lost", "Disconnected", "The camera was disconnected", "Connect it and try again.", "Try again"],
  insecure: ["lost", "Not secure", "This page needs https", "Browsers give cameras, and the check of the model, only to pages at https:// or http://localhost."],
  failed: ["lost", "Failed", "The page cannot run"],
  live: ["connected", "Live"],
  playing: ["connected", "Playing"],
  paused: ["connecting", "Paused"],
  ended: ["ended", "Ended"],
  photo: ["ended", "Photo"],
};
let isFocusLost = false; // the button with the focus was hidden
const byId = (id) => document.getElementById(id);

// Show a state; `explanation` replaces its text.
export function showState(name, explanation) {
  const [status, statusText, heading, text, start] = STATES[name];
  const focused = document.activeElement;
  document.body.dataset.state = name;
  byId("status").dataset.status = status;
  setText("status-text", statusText);
  byId("panel").hidden = !heading;
  setText("heading", heading || "");
  setText("explanation", explanation || text || "");
  byId("progress").hidden = name !== "loading" && name !== "opening";
  byId("start").hidden = !start;
  setText("start", start || "");
  byId("open").hidden = byId("drop").hidden = !start;
  byId("stop").hidden = byId("mirror").hidden = Boolean(heading);
  setText("stop", ["live", "paused"].includes(name) ? "Stop" : "Close");
  restoreFocus(focused);
}

// Move the focus from a button that was hidden to the button that takes its place.
function restoreFocus(focused) {
  isFocusLost ||= focused.tagName === "BUTTON" && focused.offsetParent === null;
  const target = [byId("start"), byId("stop")].find((button) => !button.hidden);
  if (!isFocusLost || !target) return;
  isFocusLost = false;
  target.focus();
}

// Show a message above the picture; an empty one hides it.
export function showNotice(text) {
  byId("notice").hidden = !text;
  setText("notice", text);
}

function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}
