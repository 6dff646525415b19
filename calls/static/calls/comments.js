/* Comments on a call's page: written at the moment that is heard, taken anew without a reload, and found by a link. All of
   it works without us too, but for what follows the player. */
"use strict";

(() => {
    const section = document.getElementById("call-comments"), player = document.getElementById("call-player");
    if (!section || !player) return;

    const EVERY = 4000; // ms between two looks while a call runs
    const box = section.querySelector(".call-comments-box"), form = section.querySelector(".call-comment-form");
    const { text, at } = form.elements, send = form.querySelector("[type=submit]"), said = section.querySelector(".call-said");
    let version = section.dataset.version, looked = Date.now(), busy = false;
    let position = 0, pinned = false; // whether the moment is settled: somebody writes, or has typed another one

    /* ---- The moment ---- */

    const clock = (seconds) => {
        const tenths = Math.floor(seconds * 10 + 1e-6), two = (number) => String(number).padStart(2, "0");
        const [hours, minutes, rest] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60, Math.floor(tenths / 10) % 60];
        return (hours ? `${hours}:${two(minutes)}` : minutes) + `:${two(rest)}.${tenths % 10}`;
    };

    function show() {
        if (!pinned) at.value = position ? clock(position) : "";
        const word = at.value.trim() ? `Comment at ${at.value.trim()}` : "Comment on the call";
        if (send.textContent !== word) send.textContent = word;
    }

    player.addEventListener("call:at", ({ detail }) => {
        position = detail.at;
        at.parentElement.hidden = false;
        show();
    });
    at.addEventListener("input", () => { pinned = true; show(); });
    text.addEventListener("input", () => { pinned = Boolean(text.value.trim()); show(); });

    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) {
            if (event.key === "Enter" && event.target.matches("#call-comments textarea")) {
                event.preventDefault();
                event.target.form.requestSubmit(event.target.form.querySelector("[type=submit], [value=change]"));
            }
            return;
        }
        if (event.key === "Escape" && event.target === text) text.blur(); // and the player's keys are there again
        if (event.key !== "c" || event.target.closest("input, textarea, select, [contenteditable], .select2")) return;
        event.preventDefault();
        text.focus();
        show();
        pinned = true;
    });
    text.addEventListener("blur", () => { if (!text.value.trim()) { pinned = false; show(); } });

    /* ---- Sending ---- */

    function say(words, bad = false) {
        said.textContent = words;
        said.classList.toggle("call-bad", bad);
        clearTimeout(say.timer);
        if (!bad) say.timer = setTimeout(() => { said.textContent = ""; }, 4000);
    }

    async function post(sent, data) {
        const response = await fetch(sent.getAttribute("action"), { method: "POST", body: data, headers: { Accept: "application/json" } });
        const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
        if (response.redirected) return { error: "You are logged out. Log in in another tab, then send this again." };
        if (response.status === 404) return { gone: true };
        return isJson ? response.json() : { error: "This is not allowed." };
    }

    section.addEventListener("submit", async (event) => {
        const sent = event.target, data = new FormData(sent, event.submitter);
        event.preventDefault();
        if (busy) return;
        busy = true;
        try {
            const found = await post(sent, data);
            if (found.error) say(found.error, true); else await done(sent, found);
        } catch {
            say("The server was not reached. What you wrote is still here: send it again.", true);
        }
        busy = false;
    });

    async function done(sent, { comment, gone }) {
        const isNew = sent === form, mine = sent.closest(".call-comment");
        if (isNew) {
            text.value = "";
            pinned = false;
            show();
        }
        mine?.querySelector("details")?.removeAttribute("open");
        await look();
        const item = comment && document.getElementById(`comment-${comment}`);
        if (isNew && item) item.scrollIntoView({ block: "nearest" });
        // What had the focus is gone.
        if (!isNew) (item?.closest("details:not([open])")?.firstElementChild ?? item?.querySelector("button") ?? section.firstElementChild).focus();
        say(gone ? "Somebody has deleted this comment meanwhile." : "Saved.", gone);
    }

    /* ---- Taking them anew ---- */

    async function look() {
        looked = Date.now();
        const { url } = section.dataset;
        const response = await fetch(`${url}${url.includes("?") ? "&" : "?"}version=${version}`, { headers: { Accept: "application/json" } });
        if (!response.ok || response.redirected) return;
        const found = await response.json();
        version = found.version;
        if (found.html) put(found.html);
    }

    /* Whatever somebody has opened stays open, and what they write there stays, as does what it was when they began. */
    function put(html) {
        const folded = box.querySelector(".call-resolved"), opened = new Map();
        for (const details of box.querySelectorAll(".call-comment details[open]")) {
            const { text: { value } = {}, was } = details.querySelector("form").elements;
            opened.set(details.closest("li").id, { value, was: was?.value });
        }
        box.innerHTML = html; // our own template, escaped by it
        if (folded?.open) box.querySelector(".call-resolved")?.setAttribute("open", "");
        for (const [id, { value, was }] of opened) {
            const details = document.getElementById(id)?.querySelector("details"), fields = details?.querySelector("form").elements;
            if (!details) continue;
            details.open = true;
            if (value !== undefined && fields.text) [fields.text.value, fields.was.value] = [value, was];
        }
        mark();
        player.dispatchEvent(new Event("call:marked"));
    }

    /* Not under the hands of somebody who writes there. */
    const glance = () => { if (!box.contains(document.activeElement) && !busy) look().catch(() => {}); };

    player.addEventListener("call:grown", () => { if (Date.now() - looked > EVERY) glance(); });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) glance(); });

    /* ---- Links ---- */

    const linked = () => /^#comment-\d+$/.test(location.hash) ? location.hash.slice(1) : "";

    function mark() {
        for (const item of box.querySelectorAll(".call-comment")) item.classList.toggle("call-linked", item.id === linked());
    }

    /* No further than it takes: the player stays in sight if there is room for both. */
    function follow() {
        const item = document.getElementById(linked());
        mark();
        if (!linked()) return;
        if (!item) return say("The comment that this link leads to was deleted.", true);
        item.closest(".call-resolved")?.setAttribute("open", "");
        item.scrollIntoView({ block: "nearest" });
        if (item.dataset.at) player.dispatchEvent(new CustomEvent("call:seek", { detail: { at: Number(item.dataset.at) } }));
    }

    /* A browser puts what an address names at the top of its window. */
    function arrive() {
        if (linked()) scrollTo(0, 0);
        follow();
    }

    section.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        const moment = event.target.closest(".call-comment .call-at"), link = event.target.closest(".call-comment-link");
        if (moment) {
            event.preventDefault();
            player.dispatchEvent(new CustomEvent("call:hear", { detail: { at: Number(moment.closest("li").dataset.at) } }));
        }
        // Without the list's filters, which are nobody else's business.
        if (link) navigator.clipboard?.writeText(`${location.origin}${location.pathname}${link.hash}`).then(() => say("Link copied."), () => {});
    });
    document.addEventListener("click", (event) => {
        const link = event.target.closest?.('a[href^="#comment-"]');
        if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        history.pushState(null, "", link.hash);
        follow();
    });
    addEventListener("hashchange", arrive);
    addEventListener("popstate", mark);
    addEventListener("beforeunload", (event) => { if (text.value.trim()) event.preventDefault(); });
    show();
    if (document.readyState === "complete") arrive(); else addEventListener("load", () => requestAnimationFrame(arrive));
})();
