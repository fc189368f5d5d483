// Accessibility fixes for Swagger UI, for users of a keyboard or a screen reader.

const level = (number) => (heading) => heading.setAttribute("aria-level", number);

const FIXES = [
  // The operations are the main part. The other parts become landmarks.
  [".information-container", landmark("About this API")],
  [".scheme-container", landmark("Server and token")],
  ["section.models", landmark("Schemas")],
  // There is no second level below the title, so all headings move up by one.
  ["h3", level(2)],
  ["h4", level(3)],
  ["h5", level(4)],
  ["table[role=region]", (table) => table.setAttribute("role", "table")],
  // A focusable element can be scrolled by keyboard.
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

/** Applies the fixes to the element's content, and to all content that is added later. */
export function fixAccessibility(element) {
  const all = () => FIXES.forEach(([selector, change]) => element.querySelectorAll(selector).forEach(change));
  new MutationObserver(all).observe(element, { childList: true, subtree: true });
}
