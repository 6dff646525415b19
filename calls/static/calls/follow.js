/* A running call's page keeps up: it looks when the socket says so, now and then anyway because hints get lost, and
   every two seconds where there is no socket. When the call is over, it looks until the conversation is measured. */
"use strict";

(() => {
    const player = document.getElementById("call-player");
    if (!player) return;

    const EAGER = 2000, RELAXED = 5000, AGAIN = 15000;
    let version = "", every = EAGER, timer = null, busy = false;

    const live = () => player.dataset.live === "yes";
    const due = () => live() || player.dataset.awaited === "yes";

    async function look() {
        clearTimeout(timer);
        if (busy) return;
        busy = true;
        try {
            const response = await fetch(`${player.dataset.follow}?version=${version}`);
            if (response.ok) take(await response.json());
        } catch {
            // The server is away for a moment: the next look will tell.
        }
        busy = false;
        if (due()) timer = setTimeout(look, document.hidden ? AGAIN : every);
    }

    function take(found) {
        version = found.version;
        for (const [id, html] of Object.entries(found.html)) replace(id, html);
        if (live() && !found.live) offer();
        player.dataset.live = found.live ? "yes" : "no";
        player.dataset.awaited = found.awaited ? "yes" : "no";
        if (Number(player.dataset.samples) !== found.samples || Object.keys(found.html).length) {
            player.dataset.samples = found.samples;
            player.dispatchEvent(new CustomEvent("call:grown", { detail: { samples: found.samples } }));
        }
    }

    /* Whatever somebody had opened stays open. */
    function replace(id, html) {
        const place = document.getElementById(id);
        const open = [...place.querySelectorAll("details")].map((details) => details.open);
        place.innerHTML = html; // our own template, escaped by it
        place.querySelectorAll("details").forEach((details, index) => { details.open = open[index] ?? false; });
    }

    /* What can be done with a call changes once it is over: nobody hangs it up, and the number can be called back. */
    async function offer() {
        const response = await fetch(location.href);
        if (!response.ok || response.redirected) return;
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        for (const id of ["call-links", "call-others"]) document.getElementById(id).replaceWith(page.getElementById(id));
    }

    /* Between two looks only the recording has grown; while the channel layer is away, nobody says anything. */
    function hear(said) {
        if (said.type === "away") every = EAGER;
        if (said.type === "back") every = RELAXED;
        if (said.type !== "away") look();
    }

    function listen() {
        const scheme = location.protocol === "https:" ? "wss:" : "ws:";
        const socket = new WebSocket(`${scheme}//${location.host}${player.dataset.socket}`);
        socket.addEventListener("open", () => { every = RELAXED; });
        socket.addEventListener("message", ({ data }) => hear(JSON.parse(data)));
        socket.addEventListener("close", () => {
            every = EAGER;
            if (live()) setTimeout(listen, AGAIN);
        });
    }

    if (!due()) return;
    player.addEventListener("call:look", look);
    if (player.dataset.socket) listen();
    look();
})();
