// The button that chooses the theme; "auto" is the system's.

const THEMES = ["auto", "light", "dark"];
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
  root.dataset.theme = next;
  document.getElementById("theme-value").textContent = next;
});
