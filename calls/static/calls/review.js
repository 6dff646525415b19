/* A review that is being written: each answer is kept as a draft at once, and whoever leaves too early is warned. */
"use strict";

(() => {
    const form = document.getElementById("review-form");
    if (!form) return;
    const state = document.getElementById("review-state");
    const WAIT = 800;
    let timer = 0, sending = Promise.resolve(), leaving = false;
    const held = () => new URLSearchParams(new FormData(form)).toString();
    let stored = held();

    function say(text, bad = false) {
        state.textContent = text;
        state.classList.toggle("review-bad", bad);
    }

    const WHY = {
        409: "You have submitted this review already.",
        410: "This call was erased, or the draft was dropped.",
    };

    async function send() {
        const body = new FormData(form), now = held();
        if (now === stored) return;
        body.append("_autosave", "1");
        try {
            // Whoever is logged out would be sent to the login page.
            const got = await fetch(form.action, { method: "POST", body, redirect: "manual", keepalive: true });
            if (!got.ok) throw new Error(WHY[got.status] ?? (got.type === "opaqueredirect" ? "You are logged out: log in again in another tab." : `The server answered ${got.status}.`));
            stored = now;
            say(`Draft saved at ${(await got.json()).saved}`);
        } catch (error) {
            say(`Not saved yet. ${error instanceof TypeError ? "The server cannot be reached." : error.message}`, true);
        }
    }

    // One after the other: what was typed last is stored last.
    function save() {
        clearTimeout(timer);
        sending = sending.then(send);
    }

    function changed() {
        clearTimeout(timer);
        timer = setTimeout(save, WAIT);
    }

    form.addEventListener("input", changed);
    form.addEventListener("change", changed);
    form.addEventListener("submit", () => { leaving = true; clearTimeout(timer); });
    addEventListener("pageshow", () => { leaving = false; });
    document.addEventListener("visibilitychange", () => { if (document.hidden && !leaving) save(); });
    addEventListener("beforeunload", (event) => {
        if (!leaving && held() !== stored) { save(); event.preventDefault(); }
    });
    document.getElementById("review-errors")?.focus();
    // In a list of errors: to the question, and into it.
    for (const link of document.querySelectorAll("#review-errors a")) {
        link.addEventListener("click", (event) => {
            event.preventDefault();
            const question = form.querySelector(link.getAttribute("href"));
            question.scrollIntoView({ block: "center" });
            question.querySelector("input, textarea").focus();
        });
    }
})();
