/* A form that asks for something to be done asks once, however often it is clicked while the answer is on its way. */
"use strict";

(() => {
    const asked = new Set();

    function mark(form, isAsked) {
        // Not disabled: the focus would be lost.
        for (const button of form.querySelectorAll("[type=submit]")) button.toggleAttribute("data-asked", isAsked);
    }

    // At the document: what sends a form by itself has said so by then.
    document.addEventListener("submit", (event) => {
        const form = event.target;
        if (event.defaultPrevented || !form.matches("form.call-ask")) return;
        if (asked.has(form)) {
            event.preventDefault();
            return;
        }
        asked.add(form);
        mark(form, true);
    });
    // Who comes back to it may ask again.
    addEventListener("pageshow", () => {
        for (const form of asked) mark(form, false);
        asked.clear();
    });
})();
