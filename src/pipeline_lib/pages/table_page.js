"use strict";
(function () {
  const body = document.querySelector("tbody");
  const rows = Array.from(body.rows);
  const search = document.getElementById("search");
  const sortBy = document.getElementById("sort-by");
  const count = document.getElementById("count");
  const headings = Array.from(document.querySelectorAll("th"));
  const facets = Array.from(document.querySelectorAll(".facets button"));
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  let facet = "";

  // A query that is the key of rows means these rows: "T1" does not find T10.
  function found() {
    const query = search.value.trim().toLowerCase();
    const named = rows.filter((row) => row.dataset.key.toLowerCase() === query);
    if (query && named.length) {
      return new Set(named);
    }
    const words = query.split(/\s+/);
    return new Set(rows.filter((row) => words.every((word) => texts.get(row).includes(word))));
  }

  function show() {
    const hits = found();
    const visible = rows.filter((row) => hits.has(row) && (!facet || row.dataset.facet === facet));
    rows.forEach((row) => { row.hidden = !visible.includes(row); });
    count.textContent = visible.length + " of " + rows.length + " rows";
  }

  function compare(a, b) {
    const numbers = [Number(a), Number(b)];
    return numbers.some(Number.isNaN) ? a.localeCompare(b) : numbers[0] - numbers[1];
  }

  // Cells without a value come last in either direction.
  function sort(column, descending) {
    const value = (row) => row.cells[column].dataset.sort;
    const sign = descending ? -1 : 1;
    const ordered = rows.slice().sort(function (one, two) {
      const [a, b] = [value(one), value(two)];
      if (a === "" || b === "") {
        return (a === "") - (b === "");
      }
      return sign * compare(a, b);
    });
    body.append(...ordered);
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
    sortBy.value = String(column);
  }

  headings.forEach(function (heading, column) {
    heading.querySelector("button").addEventListener("click", function () {
      sort(column, heading.getAttribute("aria-sort") === "ascending");
    });
  });
  sortBy.addEventListener("change", () => sort(Number(sortBy.value), false));
  search.addEventListener("input", show);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  facets.forEach(function (button) {
    button.addEventListener("click", function () {
      facet = button.dataset.facet;
      facets.forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
      show();
    });
  });
  document.querySelector(".controls").hidden = false;
  show();
})();
