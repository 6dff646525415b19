/* The list of calls: plays one recording at a time in its line, keeps running calls up to date, and asks for what an
   action lacks before the selection is gone. */
"use strict";

(() => {
    const audio = new Audio();
    audio.preload = "none";
    // In the page, where heard.js sees what it plays.
    document.body.append(audio);
    let current = null;

    function show(button, playing) {
        button.setAttribute("aria-pressed", String(playing));
    }

    function stop() {
        audio.pause();
        if (current) show(current, false);
        current = null;
    }

    function play(button) {
        if (current && current !== button) {
            show(current, false);
            current.style.removeProperty("--call-at");
        }
        if (current !== button) audio.src = button.dataset.src;
        current = button;
        button.classList.remove("call-failed");
        audio.play().then(() => show(button, true)).catch((error) => {
            if (error.name !== "AbortError") button.classList.add("call-failed");
        });
    }

    document.addEventListener("click", (event) => {
        const button = event.target.closest?.(".call-play");
        if (!button) return;
        if (button === current && !audio.paused) audio.pause();
        else play(button);
    });
    audio.addEventListener("pause", () => { if (current) show(current, false); });
    audio.addEventListener("timeupdate", () => {
        current?.style.setProperty("--call-at", audio.currentTime / Number(current.dataset.seconds));
    });
    audio.addEventListener("ended", () => {
        current?.style.removeProperty("--call-at");
        stop();
    });
})();

/* ---- Running calls: their time goes on, and every few seconds their lines are those of a list asked for anew ---- */

(() => {
    const EVERY = 5000, HIDDEN = 30000;
    const lines = () => [...document.querySelectorAll("#result_list tbody tr")];
    const key = (line) => line.querySelector(".action-select, .call-parties")?.id.replace(/\D/g, "");
    const running = () => document.querySelector(".call-running");

    function tick() {
        for (const cell of document.querySelectorAll(".call-running")) {
            cell.textContent = callClock(Math.max(0, Math.floor(Date.now() / 1000 - skew - cell.dataset.since)));
        }
    }

    /* By how much this machine's clock is ahead of the server's. */
    let skew = 0;

    function take(response, html) {
        const sent = Date.parse(response.headers.get("Date") ?? "");
        if (sent) skew = Math.round((Date.now() - sent) / 1000);
        const found = new Map();
        const page = new DOMParser().parseFromString(html, "text/html");
        page.querySelectorAll("#result_list tbody tr").forEach((line) => found.set(key(line), line));
        let known = 0;
        for (const line of lines()) {
            const fresh = found.get(key(line));
            line.classList.toggle("call-gone", !fresh);
            if (fresh) { known += 1; renew(line, fresh); }
        }
        document.querySelector(".call-changed").hidden = known === found.size && known === lines().length;
    }

    /* Cell by cell, but neither the checkbox nor what somebody plays or has the focus in. */
    function renew(line, fresh) {
        const cells = [...fresh.children];
        [...line.children].forEach((cell, index) => {
            const same = !cells[index] || cell.innerHTML === cells[index].innerHTML;
            if (same || cell.matches(".action-checkbox") || cell.contains(document.activeElement)) return;
            // Its button may be paused in the middle, and stays the one that goes on from there.
            const [button, renewed] = [cell, cells[index]].map((each) => each.querySelector(".call-play"));
            if (button && renewed) {
                button.dataset.seconds = renewed.dataset.seconds;
                return;
            }
            cell.replaceChildren(...cells[index].childNodes); // our own template, escaped by it
        });
    }

    async function look() {
        if (running()) {
            try {
                const response = await fetch(location.href);
                if (response.ok && !response.redirected) take(response, await response.text());
            } catch {
                // The server is away for a moment: the next look will tell.
            }
        }
        if (running()) setTimeout(look, document.hidden ? HIDDEN : EVERY);
    }

    if (!running()) return;
    setInterval(tick, 1000);
    setTimeout(look, EVERY);
})();

/* ---- Actions and filters ---- */

(() => {
    const action = document.querySelector("select[name=action]"), tag = document.querySelector("select[name=tag]");
    const lacking = () => ["put_tag", "take_tag"].includes(action.value) && !tag.value;

    if (action && tag) {
        const show = () => { tag.closest("label").hidden = !action.value.endsWith("_tag"); };
        action.addEventListener("change", show);
        tag.addEventListener("change", () => tag.setCustomValidity(""));
        action.form.addEventListener("submit", (event) => {
            tag.setCustomValidity(lacking() ? "Choose which tag." : "");
            if (!tag.reportValidity()) event.preventDefault();
        });
        show();
    }

    const toggle = document.querySelector(".call-filters-toggle");
    toggle?.addEventListener("click", () => {
        const open = toggle.parentElement.classList.toggle("call-open");
        toggle.setAttribute("aria-expanded", String(open));
    });
})();
