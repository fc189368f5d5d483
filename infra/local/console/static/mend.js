// Mends what Swagger UI leaves to be wished for by those who use a keyboard or a screen reader.

const level = (number) => (heading) => heading.setAttribute("aria-level", number);

const MENDS = [
  // Its main part are the operations; what else there is has landmarks of its own.
  [".information-container", landmark("About this API")],
  [".scheme-container", landmark("Server and token")],
  ["section.models", landmark("Schemas")],
  // Below the title there is nothing of the second level.
  ["h3", level(2)],
  ["h4", level(3)],
  ["h5", level(4)],
  ["table[role=region]", (table) => table.setAttribute("role", "table")],
  // What scrolls can be scrolled by keyboard.
  ["pre", (code) => (code.tabIndex = 0)],
  ["select:not([aria-label])", (choice) => choice.setAttribute("aria-label", nameOf(choice))],
  ["textarea:not([aria-label])", (body) => body.setAttribute("aria-label", "Request body")],
];

function landmark(name) {
  return (part) => {
    part.setAttribute("role", "region");
    part.setAttribute("aria-label", name);
  };
}

function nameOf(choice) {
  if (choice.id === "servers") return "Server";
  return choice.closest("tr")?.dataset.paramName ?? "Content type";
}

/** Mends what is in the element, and whatever comes into it. */
export function mend(element) {
  const all = () => MENDS.forEach(([selector, change]) => element.querySelectorAll(selector).forEach(change));
  new MutationObserver(all).observe(element, { childList: true, subtree: true });
}
