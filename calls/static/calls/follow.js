/* A running call's page keeps up. The process that holds the call tells how its waveform goes on; when anything else is
   new, the page looks, at most once a second; and now and then anyway, because hints get lost. Where nothing is told it
   looks every two seconds. When the call is over, it looks until the conversation is measured. */
"use strict";

(() => {
    const player = document.getElementById("call-player"), line = document.getElementById("call-interrupted");
    if (!player) return;

    /* ms between two looks: while nothing is told; while no stream is told of; while all is well, or nobody sees it. */
    const EAGER = 2000, RELAXED = 5000, CALM = 15000;
    const LEAST = 1000, LONGEST = 8000, NOTICED = 1500;
    const live = () => player.dataset.live === "yes";
    const due = () => !ended && (live() || player.dataset.awaited === "yes");
    let ended = false; // whoever sees this has been logged out, or may not see it any more

    const later = (least, failures) => Math.min(LONGEST, least * 2 ** failures) * (0.5 + Math.random() / 2);

    /* ---- Looking ---- */

    const parts = () => [...document.querySelectorAll("[data-version][id^=call-]:not(#call-comments)")];
    let timer = null, began = -Infinity, busy = false, wanted = false, failures = 0, places = {};

    /* As soon as may be: several wishes are one look. */
    function look() {
        wanted = true;
        if (!busy) plan(Math.max(0, began + (document.hidden ? CALM : LEAST) - performance.now()));
    }

    function plan(pause) {
        clearTimeout(timer);
        if (due()) timer = setTimeout(ask, pause);
    }

    async function ask() {
        [busy, wanted, began] = [true, false, performance.now()];
        try {
            const known = parts().map(({ dataset }) => dataset.version).join();
            const response = await fetch(`${player.dataset.follow}?known=${known}`, { headers: { Accept: "application/json" } });
            if (!refused(response)) {
                if (!response.ok) throw new Error(response.status);
                clock.set(response);
                take(await response.json());
            }
            failures = 0;
        } catch {
            failures += 1;
        }
        busy = false;
        tell();
        if (wanted) look(); else plan(pause());
    }

    function pause() {
        if (failures) return later(EAGER, failures);
        if (document.hidden) return CALM;
        if (!live() || !isOpen() || away) return EAGER;
        return performance.now() - told < RELAXED ? CALM : RELAXED;
    }

    function refused(response) {
        const words = { 403: "You may not see this call any more.", 404: "This call was erased." }[response.status];
        if (response.redirected) finish("You have been logged out. Log in in another tab; what you have written here is still here.");
        else if (words) finish(words);
        return ended;
    }

    function finish(words) {
        ended = true;
        socket?.close();
        line.textContent = `${words} This page does not change by itself any more.`;
    }

    /* ---- What is new ---- */

    function take(found) {
        for (const [id, html] of Object.entries(found.html)) {
            callMorph(document.getElementById(id), html);
            document.getElementById(id).dataset.version = found.versions[id];
        }
        clock.show();
        places = found.streams;
        const isOver = live() && !found.live;
        const isNew = Number(player.dataset.samples) !== found.samples || Object.keys(found.html).length;
        Object.assign(player.dataset, { live: found.live ? "yes" : "no", awaited: found.awaited ? "yes" : "no", samples: found.samples });
        // Turns and words of a running call may be new where nothing else is.
        if (isNew || isOver || live()) say("grown", { samples: found.samples });
        if (isOver) over();
        else if (found.socket && !socket) listen(found.socket);
    }

    const say = (name, detail) => player.dispatchEvent(new CustomEvent(`call:${name}`, { detail }));

    /* It becomes the page of a call that is over: what can be done with that is different, and what was for a running one
       goes. What somebody is writing is neither. */
    function over() {
        socket?.close();
        say("over");
        for (const panel of document.querySelectorAll("[data-while-live]")) panel.remove();
        renew(0);
    }

    async function renew(attempts) {
        try {
            const response = await fetch(location.href);
            if (!response.ok || response.redirected) throw new Error(response.status);
            const page = new DOMParser().parseFromString(await response.text(), "text/html");
            for (const part of document.querySelectorAll("[data-renew]")) callMorph(part, page.getElementById(part.id)?.innerHTML ?? "");
        } catch {
            if (attempts < 5) setTimeout(renew, later(EAGER, attempts), attempts + 1);
        }
    }

    /* ---- What is told ---- */

    const BEGINNING = 1000; // ms before the first pause between two attempts
    let socket = null, away = false, attempts = 0, told = -Infinity, missed = 0;

    const isOpen = () => socket?.readyState === WebSocket.OPEN;

    function listen(path) {
        socket = callSocket(path);
        socket.addEventListener("message", ({ data }) => hear(JSON.parse(data)));
        socket.addEventListener("close", () => {
            away = false;
            if (!due() || !live()) return;
            missed ||= performance.now();
            setTimeout(() => { if (due() && live()) listen(path); }, later(BEGINNING, attempts++));
            setTimeout(tell, NOTICED);
            // Whoever may not have it any more is told by what it looks like.
            look();
        });
    }

    function hear(said) {
        [attempts, missed] = [0, 0];
        if (said.type === "grown") return grow(said);
        if (said.type === "away") away = true;
        if (said.type === "back") away = false;
        tell();
        look();
    }

    /* Places on the stream's own clock become the call's. One beside which another is heard is not drawn. */
    function grow({ stream, end, peaks = [] }) {
        const place = places[stream];
        if (place === undefined) return look();
        if (performance.now() - told > RELAXED && !wanted && !busy) plan(CALM);
        told = performance.now();
        if (place === null) return;
        const pieces = peaks.map(([lane, start, bytes]) => ({ lane: CallPeaks.LANES[lane], at: place + start, values: CallPeaks.bytes(bytes) }));
        say("told", { samples: place + end, pieces });
    }

    /* ---- What its reader has to know ---- */

    function tell() {
        if (ended) return;
        const lost = live() && (away || (missed && !isOpen() && performance.now() - missed >= NOTICED));
        const words = !due() ? "" : failures > 1 ? "The server is not reached: this page shows what it knew. Trying again."
            : lost ? "Live updates are interrupted; the call goes on and is recorded. Looking every 2 s." : "";
        if (line.textContent !== words) line.textContent = words;
    }

    /* How long the call has been running; `skew` is by how many seconds this machine's clock is ahead of the server's. */
    const clock = {
        skew: 0,
        set(response) {
            const sent = Date.parse(response.headers.get("Date") ?? ""), ahead = Math.floor((Date.now() - sent) / 1000);
            // Two seconds may be the answer's way here.
            if (sent) this.skew = Math.abs(ahead) > 2 ? ahead : 0;
        },
        show() {
            for (const found of document.querySelectorAll("#call-head .call-running")) {
                const seconds = Math.max(0, Math.floor(Date.now() / 1000 - this.skew - found.dataset.since));
                found.textContent = callClock(seconds);
            }
            if (live()) { clearTimeout(this.timer); this.timer = setTimeout(() => this.show(), 1000 - Date.now() % 1000); }
        },
    };

    if (!due()) return;
    player.addEventListener("call:look", look);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
    addEventListener("online", look);
    clock.show();
    // A socket that opens says that there may be something new.
    if (player.dataset.socket) listen(player.dataset.socket);
    if (player.dataset.socket) plan(LEAST); else look();
})();
