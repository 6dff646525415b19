/* The turns of a call on its page: loaded as soon as they are measured, and again and again while it runs; drawn with the
   wave (ribbon.js), listed, and the way to the answers that were waited for. */
"use strict";

/* A row a turn, made when somebody wants to read them, and a part at a time. */
class CallTurnList {
    static PART = 2000;

    constructor(details, names) {
        Object.assign(this, { details, names, talk: new CallTalk(), shown: 0, now: null, body: details.querySelector("tbody"), more: details.querySelector(".call-turns-more") });
        this.box = new CallBox(details.querySelector(".call-turns-box"), 28);
        details.addEventListener("toggle", () => { if (details.open) this.open(); });
        this.more.addEventListener("click", () => this.grow());
    }

    /* Rows of turns that are what they were stay: somebody may be reading them. */
    show(talk, cut) {
        const had = this.talk.turns, changed = talk.turns.findIndex((turn, index) => JSON.stringify(turn) !== JSON.stringify(had[index]));
        const { shown } = this;
        this.talk = talk;
        this.details.hidden = !talk.turns.length;
        this.details.querySelector(".call-turns-count").textContent = String(talk.turns.length);
        this.details.querySelector(".call-turns-cut").textContent = cut;
        this.shown = Math.min(this.shown, changed < 0 ? talk.turns.length : changed);
        while (this.body.rows.length > this.shown) this.body.lastElementChild.remove();
        if (!this.now?.isConnected) this.now = null;
        if (this.details.open && (this.shown < shown || shown === had.length)) this.grow();
        else this.offer();
    }

    open() {
        if (this.shown < Math.min(this.talk.turns.length, CallTurnList.PART)) this.grow();
        if (this.position) this.mark(this.position, true);
    }

    /* The turn that was begun last by then. */
    mark(position, sought) {
        this.position = position;
        if (!this.details.open) return;
        const row = this.body.rows[this.talk.turns.findLastIndex(({ at }) => at <= position + 0.005)];
        if (row === this.now && !sought) return;
        if (row) this.box.follow(row, sought);
        this.now?.classList.remove("call-now-row");
        row?.classList.add("call-now-row");
        this.now = row;
    }

    look(moment) {
        const row = this.details.open && this.body.rows[this.talk.turns.findIndex(({ end }) => end >= moment)];
        if (row) this.box.bring(row);
    }

    grow() {
        const { talk, shown } = this, part = talk.turns.slice(shown, shown + CallTurnList.PART).map((turn) => this.row(turn));
        const focus = this.more === document.activeElement;
        this.body.append(...part);
        this.shown += part.length;
        this.offer();
        if (focus) part[0]?.querySelector("a").focus();
    }

    offer() {
        const left = this.talk.turns.length - this.shown;
        this.more.hidden = !left;
        this.more.textContent = `Show ${Math.min(left, CallTurnList.PART)} more of ${left}`;
    }

    row(turn) {
        const row = document.createElement("tr"), { names } = this;
        const wait = turn.wait ? { at: turn.at - turn.response_ms / 1000 } : null;
        row.className = `call-${turn.who === "us" ? "outbound" : "inbound"}`;
        row.append(
            this.cell(this.link(turn.at, turn.clock), "call-at"),
            this.cell(names[turn.who], "call-turn-who"),
            this.cell(turn.lasted),
            this.cell(wait ? this.link(CallTalk.before(wait), turn.wait, `Hear the wait of ${turn.wait}`) : "", wait ? `call-turn-wait call-${turn.tone}` : ""),
            this.cell(turn.interrupted ? `interrupted${turn.talked_on ? `, talked on ${turn.talked_on}` : ""}` : ""),
        );
        return row;
    }

    cell(content, kind = "") {
        const found = document.createElement("td");
        found.className = kind;
        found.append(content);
        return found;
    }

    link(at, text, title = "") {
        return Object.assign(document.createElement("a"), { href: `#t=${Math.max(0, at).toFixed(2)}`, textContent: text, title });
    }
}

(() => {
    const AGAIN = 2000; // ms: how often a call that runs is looked at
    const player = document.getElementById("call-player"), section = document.getElementById("call-talk");
    if (!section?.dataset.turns || !player.querySelector(".call-wave")) return;

    const $ = (selector) => player.querySelector(selector);
    const wave = $(".call-wave"), hover = $(".call-hover"), slow = section.querySelector(".call-slow");
    const names = { caller: $(".call-lane-name.call-inbound").textContent, us: $(".call-lane-name.call-outbound").textContent };
    const ribbon = new CallRibbon({ wave, ribbon: $(".call-ribbon"), stretches: $(".call-stretches"), labels: $(".call-numbers-waited"), map: $(".call-map-waits") });
    const list = new CallTurnList(section.querySelector(".call-turns"), names);
    let talk = new CallTalk(), view = null, position = 0, known = false, busy = false, version = "", asked = -AGAIN;

    const runs = () => player.dataset.live === "yes";
    const due = () => section.querySelector("dl, [data-so-far]") && (runs() ? performance.now() - asked >= AGAIN : !known);

    async function load() {
        if (busy || !due()) return;
        busy = true;
        asked = performance.now();
        try {
            const response = await fetch(section.dataset.turns + (version && `?version=${version}`));
            if (!response.ok) throw new Error(response.status);
            take(await response.json());
        } catch {
            section.querySelector(".call-turns-failed").hidden = runs();
        }
        busy = false;
    }

    function take(found) {
        section.querySelector(".call-turns-failed").hidden = true;
        const same = found.version === version;
        version = found.version;
        if (same) return;
        known = found.measured;
        talk = new CallTalk(found);
        ribbon.show(talk);
        list.show(talk, found.cut);
        slow.hidden = !talk.slow.length;
        link();
        draw();
    }

    /* The figure of the worst response leads to it; the page may have brought it anew. */
    function link() {
        const value = section.querySelector('[data-figure="worst"] dd');
        if (!value || !talk.slowest || value.querySelector("a")) return;
        const found = list.link(CallTalk.before(talk.slowest), value.textContent, "Hear this wait");
        value.replaceChildren(found);
    }

    function draw() {
        if (!view || !view.total) return;
        ribbon.draw(view);
        ribbon.mark(view.total);
    }

    function toSlow(direction) {
        const found = talk.beside(position, direction);
        if (!found) return tell("say", { text: talk.slow.length ? `No slow answer ${direction > 0 ? "after" : "before"} this.` : "No answer was slow." });
        const { wait, number } = found;
        tell("seek", { at: CallTalk.before(wait) });
        tell("say", { text: `Waited ${wait.wait}: slow answer ${number} of ${talk.slow.length}` });
    }

    function tell(name, detail) { player.dispatchEvent(new CustomEvent(`call:${name}`, { detail })); }

    /* With each picture of the wave, in the same frame: player.js. */
    player.addEventListener("call:drawn", ({ detail }) => {
        view = detail.view;
        draw();
    });
    player.addEventListener("call:at", ({ detail }) => {
        position = detail.at;
        list.mark(position, detail.sought);
    });
    player.addEventListener("call:looked", ({ detail }) => list.look(detail.at));
    player.addEventListener("call:slow", ({ detail }) => toSlow(detail.direction));
    player.addEventListener("call:grown", () => {
        link();
        load();
    });
    // Where there is no layer between processes, nobody says that there are new turns.
    player.addEventListener("call:told", load);
    wave.addEventListener("pointermove", ({ clientX }) => {
        if (!view || !talk.turns.length) return;
        const box = wave.getBoundingClientRect();
        hover.dataset.about = talk.about(view.at((clientX - box.left) / box.width), view.span / box.width * 3, names);
    });
    for (const button of slow.querySelectorAll("button")) button.addEventListener("click", () => toSlow(Number(button.dataset.slow)));

    load();
})();
