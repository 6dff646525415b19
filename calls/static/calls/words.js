/* The words of a call on its page: loaded a part at a time, heard by a click, followed while they are played, and added to
   while the call runs. */
"use strict";

(() => {
    const section = document.getElementById("call-words"), player = document.getElementById("call-player");
    if (!section || !player) return;

    /* A side that is transcribed more slowly is this far behind, in seconds; and for how long after the end of a call words
       may still come. */
    const BEHIND = 60, RATE = 8000, EVERY = 2000, LATE = 120000;
    const box = section.querySelector(".call-words-box"), back = section.querySelector(".call-words-now");
    const state = section.querySelector(".call-words-state"), missing = section.querySelector(".call-words-missing");
    const lines = new CallLines(section.querySelector(".call-lines"), section.dataset);
    const scrolled = new CallBox(box, 40);
    let position = 0, last = 0, timer = null, busy = false, over = null;

    /* ---- Loading ---- */

    /* From a sample on, part after part. */
    async function load(from) {
        if (busy) return;
        busy = true;
        try {
            while (from !== null) from = await part(from);
        } catch {
            if (!lines.all.length) state.textContent = "The words could not be loaded.";
        }
        busy = false;
    }

    async function part(from) {
        const response = await fetch(`${section.dataset.words}?from=${from}`);
        if (!response.ok) throw new Error(response.status);
        const found = await response.json();
        lines.put(found.lines);
        if (!lines.list.querySelector('[tabindex="0"]')) lines.reach(lines.all[0]?.item);
        tell(found);
        look();
        return found.next;
    }

    function tell({ empty, missing: lost, complete }) {
        state.hidden = lines.all.length > 0;
        state.textContent = empty;
        section.classList.toggle("call-without", !lines.all.length);
        missing.hidden = !lost.length;
        if (missing.textContent !== lost.map(({ text }) => text).join("")) missing.replaceChildren(...lost.map(notice));
        over = complete;
    }

    function notice({ at, text }) {
        const item = document.createElement("li"), link = document.createElement("a");
        Object.assign(link, { href: `#t=${at.toFixed(2)}`, textContent: text });
        item.append(link);
        return item;
    }

    /* While the call runs, and for as long after it as words may come. */
    function again() {
        const newest = lines.all.at(-1)?.at ?? 0;
        load(Math.max(0, Math.floor((newest - BEHIND) * RATE)));
    }

    function follow() {
        const live = player.dataset.live === "yes";
        if (live) last = Date.now();
        timer ??= setTimeout(() => {
            timer = null;
            again();
            if (player.dataset.live !== "yes" && over !== true && Date.now() - last < LATE) follow();
        }, EVERY);
    }

    /* ---- What is heard ---- */

    /* Whoever has selected something is left alone. */
    function look(sought = false) {
        const line = position ? lines.mark(position) : null, near = sought ? around(position) : line;
        if (near && !selecting()) scrolled.follow(near.item, sought);
        offer();
    }

    function offer() { back.hidden = !lines.now || scrolled.shows(lines.now.item); }

    const selecting = () => !getSelection().isCollapsed && box.contains(getSelection().anchorNode);

    /* What is said at a moment, or next after it. */
    const around = (moment) => lines.at(moment) ?? lines.all[lines.after(moment)];

    function hear(at) {
        player.dispatchEvent(new CustomEvent("call:hear", { detail: { at } }));
    }

    /* In each frame while it plays, and wherever somebody moves to: player.js. */
    player.addEventListener("call:at", ({ detail }) => {
        position = detail.at;
        look(detail.sought);
    });
    player.addEventListener("call:looked", ({ detail }) => {
        const line = around(detail.at);
        if (line && !selecting()) scrolled.bring(line.item);
    });
    box.addEventListener("scroll", offer);
    back.addEventListener("click", () => { if (lines.now) scrolled.follow(lines.now.item, true); });

    /* ---- Pointer and keyboard ---- */

    const item = (target) => target.closest?.(".call-line-said");

    lines.list.addEventListener("pointerover", ({ target }) => { if (item(target)) lines.split(item(target).line); });
    lines.list.addEventListener("click", (event) => {
        const found = item(event.target);
        if (!found || event.ctrlKey || event.metaKey || event.shiftKey || selecting()) return;
        event.preventDefault();
        lines.reach(found);
        // Enter has no place on the page.
        hear(event.detail ? lines.moment(found, event.clientX, event.clientY) : found.line.at);
    });
    lines.list.addEventListener("keydown", (event) => {
        const found = item(event.target);
        const other = { ArrowDown: found?.nextElementSibling, ArrowUp: found?.previousElementSibling }[event.key];
        if (!other) return;
        event.preventDefault();
        lines.reach(other);
        other.firstChild.focus();
    });

    player.addEventListener("call:grown", follow);
    load(0);
})();
