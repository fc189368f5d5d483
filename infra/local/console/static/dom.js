// Elements, made without ever reading data as HTML.

/** An element with these properties, and these children: nodes or texts. */
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

/** A button that does something; `action` names it, so that it keeps the focus when its row changes. */
export function button(text, action, onclick, properties = {}) {
  return make("button", { type: "button", dataset: { action }, onclick, ...properties }, text);
}

const TONES = {
  good: ["SUCCEEDED", "SUCCESS", "COMPLETED", "ACTIVE", "NORMAL"],
  busy: ["PENDING", "RUNNING", "PENDING_CANCEL", "PARTIALLY_FILLED"],
  bad: ["FAILED", "FAILURE", "REJECTED"],
  over: ["CANCELED", "FULL", "PARTIAL", "EXPIRED", "FILLED", "REISSUED"],
};

/** A state, as a word with a colour. */
export function badge(state) {
  const tone = Object.keys(TONES).find((name) => TONES[name].includes(state)) ?? "plain";
  return make("span", { className: `badge ${tone}` }, state.replaceAll("_", " ").toLowerCase());
}

/** A code, which may be broken after each of its words. */
export function codeOf(code) {
  if (!code) return "";
  const words = code.split("_").flatMap((word, index) => (index ? ["_", make("wbr"), word] : [word]));
  return make("span", { className: "code" }, ...words);
}

/** The end of an ID, which is what differs. */
export const shortened = (id) => (id.length > 12 ? `…${id.slice(-8)}` : id);

/** A time of day, of an RFC 3339 time. */
export function clock(time) {
  return time ? new Date(time).toLocaleTimeString([], { hour12: false }) : "";
}
