// Mends what Swagger UI leaves to be wished for by those who use a keyboard or a screen reader.

const MENDS = [
  // A page has one main part, and this is not all of it.
  ["main.opblock-tag-section, #reference main", (part) => part.setAttribute("role", "group")],
  // The title stands above.
  ["h3.opblock-tag", (heading) => heading.setAttribute("aria-level", "2")],
  ["h4.opblock-title, .opblock-section-header h4, .responses-inner h4, .responses-inner h5", (heading) =>
    heading.setAttribute("aria-level", "3")],
  ["[role=region].responses-table", (table) => table.setAttribute("role", "table")],
  ["pre.microlight, pre.curl, .highlight-code pre", (code) => (code.tabIndex = 0)],
  ["select:not([aria-label])", (choice) => choice.setAttribute("aria-label", nameOf(choice))],
];

function nameOf(choice) {
  if (choice.id === "servers") return "Server";
  return choice.closest("tr")?.dataset.paramName ?? "Content type";
}

/** Mends what is in the element, and whatever comes into it. */
export function mend(element) {
  const all = () => MENDS.forEach(([selector, change]) => element.querySelectorAll(selector).forEach(change));
  new MutationObserver(all).observe(element, { childList: true, subtree: true });
}
