// Runs before the page is painted, so that a chosen theme does not flash the other one first.
(() => {
  try {
    const theme = localStorage.getItem("crosshead.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // No storage allowed: the system's theme it is.
  }
})();
