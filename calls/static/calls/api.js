// Swagger UI is as dark as the admin.
const theme = localStorage.getItem("theme") || "auto";
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", theme === "dark" || (theme === "auto" && dark.matches));
dark.addEventListener("change", paint);
paint();
