/* The form of a call's page. */
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

    new MutationObserver(label).observe(form, { childList: true, subtree: true });
    label();
})();
