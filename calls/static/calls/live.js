/* The list of running calls. Rows come over HTTP: when the socket tells of a call that is not there, or that one has
   gone, and every few seconds anyway. Who speaks and who waits comes over the socket once a second.

   Nothing moves below the pointer: while it is in the table, or the focus is, rows that came wait, and those of calls
   that are over stay where they are, dimmed and dead to clicks. */
"use strict";

(() => {
    const list = document.getElementById("call-live");
    if (!list) return;

    const RELAXED = 5000, EAGER = 2000, HIDDEN = 20000, SOON = 1000, AT_ONCE = 300, AGAIN = 5000, DOUBT = 8000, FADE = 400;
    /* ms of a beat, whose levels come with the others of a second; when figures are too old to be shown. */
    const BEAT = 200, STALE = 3500;
    /* ms of a wait that is long, and too long. */
    const LONG = 2000, TOO_LONG = 5000;
    const NO_LONGER = [4403, 4404];
    const body = list.querySelector("tbody");
    const held = list.querySelector(".call-live-held button");
    const weather = list.querySelector(".call-live-weather");
    const none = list.querySelector(".call-live-none");
    const title = document.getElementById("call-live-title");
    const words = JSON.parse(document.getElementById("call-live-words").textContent);
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    const byWait = list.dataset.by === "wait";

    /* By key: the row, its parts and its latest figures. */
    const calls = new Map();
    const bySid = new Map();
    /* Calls of whom the socket tells and that are not on this list: it is filtered, or they are over. */
    let others = new Set();
    /* Rows that came while nothing may move. */
    const waiting = new Map();
    /* By how much this machine's clock is ahead of the server's, in ms. */
    let skew = 0;

    /* ---- Rows ---- */

    function adopt(line) {
        const part = (name) => line.querySelector(`.call-live-${name}`);
        const call = {
            line, key: line.dataset.pk, sid: line.dataset.sid, born: Number(line.dataset.at),
            running: line.querySelector(".call-running"), bars: [...line.querySelectorAll(".call-meters i")],
            drawn: [-1, -1], goneAt: 0, who: part("who"), wait: part("wait"), event: part("event"), eventAt: Number(part("event").dataset.at),
        };
        calls.set(call.key, call);
        if (call.sid) bySid.set(call.sid, call);
        return call;
    }

    function rowOf(html) {
        const box = document.createElement("template");
        box.innerHTML = html; // our own template, escaped by it
        return box.content.firstElementChild;
    }

    /* Newest first, or the longest wait first; of those that do not wait, the newest. */
    function before(one, other) {
        if (byWait && waited(one) !== waited(other)) return waited(one) > waited(other);
        return one.born === other.born ? Number(one.key) > Number(other.key) : one.born > other.born;
    }

    const waited = (call) => Math.floor(waitOf(call) / 1000);

    function insert(line) {
        const call = adopt(line);
        const next = [...body.rows].find((row) => calls.get(row.dataset.pk) && before(call, calls.get(row.dataset.pk)));
        body.insertBefore(line, next ?? null);
    }

    /* What the row says of the call, but for what the socket tells better. */
    function renew(call, html) {
        if (call.line.inert) back(call);
        if (call.html === html) return;
        const fresh = rowOf(html), line = call.line;
        call.html = html;
        if (!call.sid && fresh.dataset.sid) {
            call.sid = line.dataset.sid = fresh.dataset.sid;
            bySid.set(call.sid, call);
        }
        for (const index of [0, 2]) {
            const [own, other] = [line.cells[index], fresh.cells[index]];
            if (own.innerHTML !== other.innerHTML && !own.contains(document.activeElement)) own.replaceChildren(...other.childNodes);
        }
        call.running.dataset.since = fresh.querySelector(".call-running").dataset.since;
        const event = fresh.querySelector(".call-live-event");
        if (Number(event.dataset.at) > call.eventAt) tell(call, event.textContent, Number(event.dataset.at));
    }

    /* It is over. Whoever is about to click on it clicks on nothing. */
    function leave(call) {
        if (call.line.inert) return;
        call.line.inert = true;
        call.line.classList.add("call-left");
        Object.assign(call, { figures: null, leftAt: performance.now() });
        call.wait.textContent = call.who.textContent = "";
        tell(call, "The call ended", Date.now() - skew);
        setTimeout(clear, FADE);
    }

    function back(call) {
        call.line.inert = false;
        call.line.classList.remove("call-left");
        Object.assign(call, { html: "", eventAt: 0 });
    }

    function clear() {
        if (isHeld()) return;
        for (const call of calls.values()) {
            if (!call.line.inert || performance.now() - call.leftAt < FADE - 50) continue;
            call.line.remove();
            calls.delete(call.key);
            if (bySid.get(call.sid) === call) bySid.delete(call.sid);
        }
        none.hidden = calls.size > 0;
    }

    /* ---- Nothing moves below the pointer ---- */

    /* Where the mouse is, if it is in the page. A dead row has no pointer events, and the page scrolls below it. */
    let mouse = null, touched = 0, released = null;

    function isPointed() {
        const box = mouse && body.getBoundingClientRect();
        return Boolean(box) && mouse.y >= box.top && mouse.y < box.bottom && mouse.x >= box.left && mouse.x < box.right;
    }

    function isHeld() {
        const focus = document.activeElement;
        return isPointed() || Date.now() - touched < 2000 || (body.contains(focus) && focus.matches(":focus-visible"));
    }

    function release() {
        for (const html of waiting.values()) insert(rowOf(html));
        waiting.clear();
        clear();
        sort();
        tellHeld();
        draw(performance.now());
    }

    function tellHeld() {
        const count = waiting.size;
        held.hidden = !count;
        if (count) held.textContent = `Show ${count} new call${count === 1 ? "" : "s"}`;
    }

    /* Only a row that is out of its order moves. */
    function sort() {
        if (!byWait || isHeld()) return;
        const wanted = [...calls.values()].sort((one, other) => (before(one, other) ? -1 : 1));
        wanted.forEach((call, index) => {
            if (body.rows[index] !== call.line) body.insertBefore(call.line, body.rows[index] ?? null);
        });
    }

    function settle() {
        clearTimeout(released);
        released = setTimeout(() => { if (!isHeld()) release(); }, 300);
    }

    document.addEventListener("pointermove", (event) => {
        const was = isPointed();
        mouse = event.pointerType === "mouse" ? { x: event.clientX, y: event.clientY } : null;
        if (was && !isPointed()) settle();
    });
    document.documentElement.addEventListener("pointerleave", () => { mouse = null; settle(); });
    body.addEventListener("pointerdown", (event) => { if (event.pointerType !== "mouse") touched = Date.now(); });
    body.addEventListener("focusout", settle);
    held.addEventListener("click", release);

    /* ---- Asking for rows ---- */

    let timer = null, asked = 0, busy = false, isOver = false, isConnected = false, isAway = false, failedSince = 0;

    /* At once, but not more often than once a second; or thrice, if a call is over and somebody might click on it. */
    function ask(pause = SOON) {
        if (isOver) return;
        clearTimeout(timer);
        timer = setTimeout(look, Math.max(0, asked + pause - Date.now()));
    }

    async function look() {
        if (busy) return;
        clearTimeout(timer);
        busy = true;
        asked = Date.now();
        try {
            const response = await fetch(list.dataset.rows + location.search);
            if (response.redirected || response.status === 403) end();
            else if (response.ok) take(response, await response.json());
            else failedSince ||= asked;
        } catch {
            failedSince ||= asked; // the server is away for a moment: the next look will tell
        }
        busy = false;
        forecast();
        if (isOver) return;
        clearTimeout(timer);
        timer = setTimeout(look, document.hidden ? HIDDEN : isDoubtful(FADE * 4) ? AT_ONCE : isDoubtful(DOUBT) ? SOON : isConnected && !isAway ? RELAXED : EAGER);
    }

    /* Of a call that has just left its process the database may not know yet that it is over. */
    function isDoubtful(span) {
        const since = performance.now() - span;
        return [...calls.values()].some((call) => call.goneAt && call.goneAt > since && !call.line.inert);
    }

    function take(response, found) {
        failedSince = 0;
        const sent = Date.parse(response.headers.get("Date") ?? "");
        if (sent && Math.abs(Date.now() - sent - skew) > 1500) skew = Date.now() - sent;
        const fresh = new Map(found.rows.map(([key, html]) => [String(key), html]));
        for (const call of [...calls.values()]) {
            const html = fresh.get(call.key);
            if (html) renew(call, html);
            else leave(call);
        }
        for (const key of waiting.keys()) if (!fresh.has(key)) waiting.delete(key);
        for (const [key, html] of fresh) if (!calls.has(key)) waiting.set(key, html);
        if (isHeld()) tellHeld();
        else release();
        if (title.textContent !== found.title) {
            title.textContent = found.title;
            document.title = document.title.replace(/^[^|]*/, `${found.title} `);
        }
        none.hidden = fresh.size > 0 || calls.size > 0;
    }

    /* ---- What the socket tells ---- */

    function hear(figures, gone) {
        const now = performance.now();
        let isNew = false, isGone = false;
        const away = new Set(gone);
        for (const [sid, told] of Object.entries(figures)) {
            const call = bySid.get(sid);
            if (!call) {
                isNew ||= !others.has(sid);
                others.add(sid);
                continue;
            }
            call.goneAt = 0;
            call.figures = { ...told, at: now, since: "wait" in told ? now - told.wait : null };
            if (told.event) hearEvent(call, told.event);
        }
        for (const sid of away) {
            others.delete(sid);
            if (bySid.has(sid)) {
                isGone = true;
                Object.assign(bySid.get(sid), { figures: null, goneAt: now });
            }
        }
        if (isNew || isGone) ask(isGone ? AT_ONCE : SOON);
        if (others.size > 5000) others = new Set();
        tick();
    }

    function hearEvent(call, [kind, ago]) {
        const at = Date.now() - skew - ago;
        // The same one again, a little off for what the letter took.
        if (at < call.eventAt + 1500 && call.kind === kind) return;
        if (at < call.eventAt) return;
        call.kind = kind;
        const way = call.line.dataset.way.startsWith("outbound") ? "outbound" : "inbound";
        tell(call, words[way][kind] ?? kind, at);
    }

    function tell(call, text, at) {
        call.event.textContent = text;
        call.eventAt = at;
    }

    const isFresh = (call, now) => Boolean(call.figures) && now - call.figures.at < STALE;

    function waitOf(call) {
        const now = performance.now();
        return isFresh(call, now) && call.figures.since !== null ? now - call.figures.since : -1;
    }

    /* ---- What is drawn: texts once a second, meters as the beats were ---- */

    const WHO = ["", "caller", "us", "both"];

    function set(node, text) {
        if (node.textContent !== text) node.textContent = text;
    }

    function tick() {
        const now = performance.now(), time = (Date.now() - skew) / 1000;
        for (const call of calls.values()) {
            if (call.line.inert) continue;
            set(call.running, callClock(Math.max(0, Math.floor(time - call.running.dataset.since))));
            const fresh = isFresh(call, now), { speak = 0, is_paused: isPaused = false } = call.figures ?? {};
            set(call.who, !fresh ? "" : isPaused ? "not recorded" : WHO[speak]);
            call.line.classList.toggle("call-unheard", !fresh);
            call.line.classList.toggle("call-going", Boolean(call.goneAt) && now - call.goneAt < DOUBT);
            const wait = waitOf(call);
            set(call.wait, wait >= 1000 ? wait < 60000 ? `${Math.floor(wait / 1000)} s` : callClock(Math.floor(wait / 1000)) : "");
            call.wait.className = `call-live-wait ${wait >= TOO_LONG ? "call-bad" : wait >= LONG ? "call-warn" : ""}`;
        }
        forecast();
    }

    /* A level of 0-127 as a share of the meter, by its loudness. */
    const share = (level) => Math.round(Math.log2(1 + level) / 7 * 40) / 40;

    function draw(now) {
        for (const call of calls.values()) {
            const levels = isFresh(call, now) ? call.figures.levels : [[], []];
            levels.forEach((lane, side) => {
                const beat = Math.floor((now - (call.figures?.at ?? 0)) / BEAT);
                const level = still.matches ? Math.max(0, ...lane) : lane[Math.min(beat, lane.length - 1)] ?? 0;
                const wide = share(level);
                if (wide === call.drawn[side]) return;
                call.drawn[side] = wide;
                call.bars[side].style.transform = `scaleX(${wide})`;
            });
        }
    }

    let drawnAt = 0;
    function frame(now) {
        if (now - drawnAt >= (still.matches ? 1000 : BEAT / 2)) {
            drawnAt = now;
            draw(now);
        }
        requestAnimationFrame(frame); // which rests while the page is hidden
    }

    /* ---- Its connection, in plain words ---- */

    function forecast() {
        let text = "";
        if (isOver) text = "You are logged out, or may not see running calls any more. Reload the page to log in.";
        else if (failedSince && Date.now() - failedSince > 1000) text = `The server does not answer. This is how it was at ${new Date(failedSince).toLocaleTimeString([], { hour12: false })}; the page goes on by itself when it is back.`;
        else if (isAway) text = "The processes cannot reach each other at the moment: no meters and no waits. Calls still come and go, within seconds.";
        else if (!isConnected && everTried) text = "No live connection at the moment: no meters and no waits. Calls still come and go, within seconds.";
        set(weather, text);
        list.classList.toggle("call-live-polls", Boolean(text));
    }

    function end() {
        isOver = true;
        clearTimeout(timer);
        forecast();
    }

    let everTried = false;
    function listen() {
        if (isOver) return;
        const socket = callSocket(list.dataset.socket);
        socket.addEventListener("open", () => { isConnected = true; isAway = false; forecast(); ask(); });
        socket.addEventListener("message", ({ data }) => {
            const said = JSON.parse(data);
            if (said.type === "figures") hear(said.calls, said.gone);
            if (said.type === "away" || said.type === "back") { isAway = said.type === "away"; forecast(); ask(); }
        });
        socket.addEventListener("close", ({ code }) => {
            isConnected = false;
            everTried = true;
            forecast();
            // Why it was closed a look over HTTP tells too, and better.
            if (NO_LONGER.includes(code)) ask();
            setTimeout(listen, AGAIN);
        });
    }

    for (const line of body.rows) adopt(line);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
    setInterval(() => {
        tick();
        if (!isHeld() && (waiting.size || body.querySelector("[inert]"))) release();
        else sort();
    }, 1000);
    requestAnimationFrame(frame);
    listen();
    look();
})();
