// Show the page in the colours of Airflow's interface around it; alone, in those of the system.
"use strict";
(function () {
  const root = document.documentElement;
  const names = { "--bg": "--chakra-colors-bg", "--fg": "--chakra-colors-fg", "--line": "--chakra-colors-border" };

  function surrounding() {
    try {
      return window.parent !== window ? window.parent.document.documentElement : null;
    } catch (_error) {
      return null; // another site's page: it says nothing of itself
    }
  }

  function stored() {
    try {
      return window.localStorage.getItem("theme");
    } catch (_error) {
      return null;
    }
  }

  function apply() {
    const around = surrounding();
    let theme = stored();
    if (around && around.classList.contains("dark")) theme = "dark";
    else if (around && around.classList.contains("light")) theme = "light";
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
    else delete root.dataset.theme; // the style sheet asks the system
    const style = around ? window.parent.getComputedStyle(around) : null;
    for (const [own, theirs] of Object.entries(names)) {
      const value = style ? style.getPropertyValue(theirs).trim() : "";
      if (value) root.style.setProperty(own, value);
      else root.style.removeProperty(own);
    }
  }

  apply();
  const around = surrounding();
  if (around) new MutationObserver(apply).observe(around, { attributes: true, attributeFilter: ["class"] });
  window.addEventListener("storage", apply);
})();
