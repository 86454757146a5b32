// A click on the head of a column sorts the leaderboard by it; a second one turns the order round. Empty cells stay last.
document.addEventListener("click", (event) => {
  const button = event.target.closest("table.board th[scope=col] button");
  if (!button) return;
  const head = button.parentElement;
  const heads = [...head.parentElement.children];
  const rising = head.getAttribute("aria-sort") !== "ascending";
  const place = heads.indexOf(head);
  const text = head.dataset.kind === "text";
  const body = head.closest("table").tBodies[0];
  const key = (row) => row.cells[place].dataset.value;
  const rows = [...body.rows].sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = text ? a.localeCompare(b) : Number(a) - Number(b);
    return rising ? order : -order;
  });
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  body.append(...rows);
});
// The columns of both models may lie below what was clicked: whoever asks sees them come.
document.addEventListener("click", (event) => {
  if (!event.target.closest("#ask, .ask-both")) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.querySelector(".said-both")?.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
});
