// The form of an alert rule: what a metric does not need is out of the way, and its threshold has a unit.

const metric = document.getElementById("id_metric");

if (metric) {
    const units = { response: "s", "first-audio": "s", calls: "calls" };
    const threshold = document.getElementById("id_threshold");
    const unit = document.createElement("span");
    unit.className = "alert-unit";
    unit.id = "alert-unit";
    threshold.after(unit);
    threshold.setAttribute("aria-describedby", `${threshold.getAttribute("aria-describedby") || ""} alert-unit`.trim());
    const row = (name) => document.querySelector(`.form-row.field-${name}`);
    const show = () => {
        unit.textContent = metric.value ? units[metric.value] || "%" : "";
        row("percentile").hidden = units[metric.value] !== "s";
        row("least").hidden = metric.value === "calls";
    };
    metric.addEventListener("change", show);
    show();
}
