// Creates elements. Data is never parsed as HTML.

/** Creates an element with these properties and children, which are nodes or texts. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Creates a button. `action` identifies it, so that it keeps the focus when its row changes. */
export function button(text, action, onclick, properties = {}) {
  return make("button", { type: "button", dataset: { action }, onclick, ...properties }, text);
}

const TONES = {
  good: ["SUCCEEDED", "SUCCESS", "COMPLETED", "ACTIVE", "NORMAL"],
  busy: ["PENDING", "RUNNING", "PENDING_CANCEL", "PARTIALLY_FILLED"],
  bad: ["FAILED", "FAILURE", "REJECTED"],
  over: ["CANCELED", "FULL", "PARTIAL", "EXPIRED", "FILLED", "REISSUED"],
};

/** Creates a colored badge for a state. */
export function badge(state) {
  const tone = Object.keys(TONES).find((name) => TONES[name].includes(state)) ?? "plain";
  return make("span", { className: `badge ${tone}` }, state.replaceAll("_", " ").toLowerCase());
}

/** Creates an element for a code, with a possible line break after each word. */
export function codeOf(code) {
  if (!code) return "";
  const words = code.split("_").flatMap((word, index) => (index ? ["_", make("wbr"), word] : [word]));
  return make("span", { className: "code" }, ...words);
}

/** Returns the end of an ID, which is the part that differs. */
export const shortened = (id) => (id.length > 12 ? `…${id.slice(-8)}` : id);

/** Returns the time of day of an RFC 3339 time. */
export function clock(time) {
  return time ? new Date(time).toLocaleTimeString([], { hour12: false }) : "";
}
