// Not a module, so that it runs before the first paint: the chosen colours, or the system's.
"use strict";
{
  const chosen = localStorage.getItem("codehealer.theme");
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = chosen === "dark" || chosen === "light" ? chosen : system;
}
