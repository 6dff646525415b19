/* The form of a call's page: says what is not saved yet, warns whoever is about to leave it, and offers what never arrived
   once more. */
"use strict";

(() => {
    const form = document.getElementById("call_form");
    if (!form) return;

    /* The tags' field is select2's own: it comes after us, has no label, and is not a list, since it holds more than items. */
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
    form.addEventListener("submit", () => { leaving = true; keep(); });
    addEventListener("pageshow", () => { leaving = false; });
    addEventListener("beforeunload", (event) => {
        if (!leaving && held() !== saved) event.preventDefault();
    });
    // Adding or removing a tag fires no event of the form: only its contents change.
    new MutationObserver(() => { label(); tell(); }).observe(form, { childList: true, subtree: true });
    /* If somebody's login has expired, they are sent to log in and what they sent is lost; this tab remembers it. If the
       notes are still what they were, nothing has been saved since. */
    const { notes, "initial-notes": shown } = form.elements;
    const draft = `call-draft ${document.querySelector("#user-tools strong")?.textContent} ${location.pathname}`;

    function keep() {
        if (notes) sessionStorage.setItem(draft, JSON.stringify([shown.value, notes.value]));
    }

    function offer(text) {
        const offered = document.createElement("p"), button = document.createElement("button");
        offered.className = "call-unsaved";
        offered.setAttribute("role", "status");
        Object.assign(button, { type: "button", className: "button", textContent: "Put it back" });
        button.addEventListener("click", () => { notes.value = text; offered.remove(); tell(); notes.focus(); });
        offered.append("What you wrote here last was not saved. ", button);
        form.querySelector(".submit-row").prepend(offered);
    }

    if (notes) {
        const [before, text] = JSON.parse(sessionStorage.getItem(draft) ?? "[]");
        if (before === shown.value && text !== before && text !== notes.value) offer(text);
        else sessionStorage.removeItem(draft);
    }
    label();
    tell();
})();
