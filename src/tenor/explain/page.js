"use strict";
// The address says what is shown: #p2 a program, #p2-ir one of its stages, #p2-ir-3 the code of
// one kernel, #p2-k3 what that kernel is.
(function () {
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  let stage = "kernels";
  function show() {
    const [, number, name, code] = /^#p(\d+)(?:-(\w+)(?:-(\d+))?)?$/.exec(location.hash) || [];
    const kernel = /^k\d+$/.test(name || "");
    if (name) stage = kernel ? "kernels" : name;
    const program = document.getElementById("p" + number) || document.getElementById("overview");
    for (const it of all(".program")) it.classList.toggle("on", it === program);
    for (const it of all(".stage, .tabs a", program)) {
      it.classList.toggle("on", it.dataset.stage === stage);
    }
    for (const it of all("nav a")) {
      it.classList.toggle("on", it.getAttribute("href") === "#" + program.id);
    }
    const target = (kernel || code) && document.getElementById(location.hash.slice(1));
    if (target && code) target.open = true;
    if (target) target.scrollIntoView();
    else scrollTo(0, 0);
  }
  document.documentElement.classList.add("js");
  addEventListener("hashchange", show);
  show();
})();
