/* The form of a call's page: says what is not saved yet, also when somebody is about to leave it. */
"use strict";

(() => {
    const form = document.getElementById("call_form");
    if (!form) return;

    /* The tags' field is select2's own: it comes after us, has no label, and is no list, since more than items is in it. */
    function label() {
        for (const field of form.querySelectorAll(".select2-search__field")) field.setAttribute("aria-label", "Find a tag");
        for (const list of form.querySelectorAll(".select2-selection__rendered")) list.setAttribute("role", "group");
        for (const item of form.querySelectorAll(".select2-selection__rendered > li")) item.setAttribute("role", "none");
    }

    const held = () => new URLSearchParams(new FormData(form)).toString();
    // What was sent and came back with an error is not saved either.
    const saved = document.querySelector(".errornote") ? null : held();
    const mark = document.createElement("p");
    let leaving = false;

    function tell() {
        const text = held() === saved ? "" : "Not saved yet";
        if (mark.textContent !== text) mark.textContent = text;
    }

    mark.className = "call-unsaved";
    mark.setAttribute("role", "status");
    form.querySelector(".submit-row")?.prepend(mark);
    form.addEventListener("input", tell);
    form.addEventListener("change", tell);
    form.addEventListener("submit", () => { leaving = true; });
    addEventListener("pageshow", () => { leaving = false; });
    addEventListener("beforeunload", (event) => {
        if (!leaving && held() !== saved) event.preventDefault();
    });
    // A tag that is put on or taken off is no event of the form, but a change of what stands in it.
    new MutationObserver(() => { label(); tell(); }).observe(form, { childList: true, subtree: true });
    label();
    tell();
})();
