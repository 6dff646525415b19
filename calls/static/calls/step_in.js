/* Stepping into a running call: each act is posted without leaving the page, and says what came of it. What cannot be
   undone is asked about in a dialog first. Without us the same forms are pages of their own. */
"use strict";

(() => {
    const panel = document.getElementById("call-step-in"), player = document.getElementById("call-player");
    if (!panel || !player) return;

    const SLOW = 300, LAST_WORDS = 10000; // ms until somebody is told to wait, and for which the last words stay
    const said = panel.querySelector(":scope > .call-said");
    let spoken = false;
    const live = () => player.dataset.live === "yes";

    function say(place, words, tone) {
        place.textContent = words;
        for (const known of ["good", "warn", "bad"]) place.classList.toggle(`call-${known}`, known === tone);
    }

    /* ---- Dialogs ---- */

    for (const link of panel.querySelectorAll("a[data-dialog]")) {
        const dialog = document.getElementById(link.dataset.dialog), button = document.createElement("button");
        Object.assign(button, { type: "button", className: link.className, title: link.title, textContent: link.textContent });
        button.setAttribute("aria-haspopup", "dialog");
        button.addEventListener("click", () => {
            say(dialog.querySelector(".call-said"), "", "bad");
            dialog.showModal();
        });
        link.replaceWith(button);
        dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
        // Beside it.
        dialog.addEventListener("mousedown", (event) => { if (event.target === dialog) dialog.close(); });
        // The player has keys for the whole page.
        dialog.addEventListener("keydown", (event) => event.stopPropagation());
    }

    const { sound, file } = document.querySelector("#call-step-play form").elements;

    function choose() {
        for (const one of panel.querySelectorAll("[data-of]")) one.hidden = one.dataset.of !== sound.value;
    }

    sound.addEventListener("change", () => {
        if (sound.value) {
            file.value = "";
            file.setCustomValidity("");
        }
        choose();
    });
    file.addEventListener("change", () => {
        if (file.value) sound.value = "";
        choose();
    });
    sound.form.addEventListener("change", () => say(sound.form.querySelector(".call-said"), "", "bad"));
    choose();

    const where = (value) => { panel.querySelector(`[name=where][value=${value}]`).checked = true; };
    panel.querySelector("[name=number]").addEventListener("input", () => where("number"));
    panel.querySelector("[name=handler]").addEventListener("change", () => where("handler"));
    for (const radio of panel.querySelectorAll("[name=where]")) {
        radio.addEventListener("click", () => panel.querySelector(`[name=${radio.value}]`).focus());
    }

    /* ---- Acts ---- */

    async function post(form, data) {
        const response = await fetch(form.getAttribute("action"), { method: "POST", body: data, headers: { Accept: "application/json" } });
        const kind = response.headers.get("Content-Type") ?? "";
        if (response.redirected) return { tone: "bad", words: "Nothing was done: you are logged out. Log in in another tab, and do it again." };
        if (kind.startsWith("application/json")) return response.json();
        // The server's own refusals are one line each.
        const words = kind.startsWith("text/plain") ? (await response.text()).trim() : "this is not allowed, or not any more.";
        return { tone: "bad", words: `Nothing was done: ${words}` };
    }

    async function act(form, button) {
        const dialog = form.closest("dialog"), wait = setTimeout(() => button.classList.add("call-working"), SLOW);
        const here = dialog?.querySelector(".call-said");
        form.setAttribute("aria-busy", "true");
        button.setAttribute("aria-disabled", "true");
        if (here) say(here, "", "bad");
        let found;
        try {
            found = await post(form, new FormData(form));
        } catch {
            found = { tone: "warn", words: "The server was not reached: it may have been done, or not. The timeline will say." };
        }
        clearTimeout(wait);
        form.removeAttribute("aria-busy");
        button.removeAttribute("aria-disabled");
        button.classList.remove("call-working");
        if (found.is_form && dialog.open) return say(here, found.words, "bad");
        dialog?.close();
        say(said, found.words, found.tone);
        spoken = true;
        player.dispatchEvent(new Event("call:look"));
    }

    panel.addEventListener("submit", (event) => {
        const form = event.target.closest("form[data-step]");
        if (!form) return;
        event.preventDefault();
        // A second click of a double one, too.
        if (!form.hasAttribute("aria-busy")) act(form, event.submitter ?? form.querySelector("button"));
    });

    /* ---- The end of the call: nothing can be done any more, and what was done last may still be read ---- */

    function end() {
        if (live()) return;
        over.disconnect();
        for (const dialog of panel.querySelectorAll("dialog")) dialog.close();
        for (const control of panel.querySelectorAll(":scope > :not(.call-said, dialog)")) control.hidden = true;
        setTimeout(() => { panel.hidden = true; }, spoken ? LAST_WORDS : 0);
    }

    const over = new MutationObserver(end);
    over.observe(player, { attributes: true, attributeFilter: ["data-live"] });
    addEventListener("beforeunload", (event) => { if (panel.querySelector("[aria-busy]")) event.preventDefault(); });
})();
