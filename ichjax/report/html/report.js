"use strict";
(() => {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const milliliters = (value) => `${value.toFixed(2)} ${document.body.dataset.ml}`;

  for (const root of document.querySelectorAll(".viewer")) {
    const scan = data[Number(root.dataset.viewer)];
    const slider = root.querySelector("input[type=range]");
    const strip = root.querySelector(".strip");
    const fact = (name) => root.querySelector(`[data-fact=${name}]`);

    const show = () => {
      const index = Number(slider.value) - 1;
      const slice = scan.slices[index];
      root.querySelector(".screen img").src = slice.image;
      for (const name of ["truth", "prediction"]) {
        for (const path of root.querySelectorAll(`.screen .${name} path`)) path.setAttribute("d", slice[name]);
      }
      root.querySelector(".place").textContent = `${index + 1} / ${scan.slices.length}`;
      strip.querySelector(".here").setAttribute("x", index);
      fact("truth_ml").textContent = milliliters(slice.truth_ml);
      fact("predicted_ml").textContent = milliliters(slice.predicted_ml);
      fact("dice").textContent = slice.dice === null ? "-" : slice.dice.toFixed(3);
    };
    const go = (value) => {
      slider.value = value;
      show();
    };

    slider.addEventListener("input", show);
    root.querySelector(".screen").addEventListener("click", () => slider.focus({ preventScroll: true }));
    strip.addEventListener("click", (event) => {
      const box = strip.getBoundingClientRect();
      go(1 + Math.floor(((event.clientX - box.left) / box.width) * scan.slices.length));
      slider.focus({ preventScroll: true });
    });
    // The slider handles the arrow keys while it has the focus; this is for the rest of the panel.
    root.tabIndex = -1;
    root.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
      if (!step || event.target === slider) return;
      event.preventDefault();
      go(Number(slider.value) + step);
    });
    for (const box of root.querySelectorAll("[data-show]")) {
      const apply = () => root.classList.toggle(`hide-${box.dataset.show}`, !box.checked);
      box.addEventListener("change", apply);
      apply();
    }
    show(); // a browser that navigates back may have kept the slider's position
  }

  for (const table of document.querySelectorAll(".sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.tabIndex = 0;
      const sort = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => row.cells[column].textContent.trim();
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          if ((x === "-") !== (y === "-")) return x === "-" ? 1 : -1; // missing values last
          const order = x.localeCompare(y, "en", { numeric: true });
          const numbers = Number(x) - Number(y);
          return (Number.isNaN(numbers) ? order : numbers) * (down ? -1 : 1);
        });
        table.tBodies[0].append(...rows);
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter") sort();
      });
    });
  }
})();
