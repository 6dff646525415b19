/* Listening in: a running call's sound comes over a socket of its own, and listen-worklet.js plays it. */
"use strict";

(() => {
    const panel = document.getElementById("call-listen");
    if (!panel) return;

    const LANES = ["inbound", "outbound"], RATE = 8000, HEADER = 9;
    const PAUSES = [1, 2, 4, 8, 15]; // seconds before another try
    const LATE = 2000, ABSENT = 3000, TELL = 500, GESTURE = 400; // ms
    const $ = (selector) => panel.querySelector(selector);
    const toggle = $(".call-listen-toggle"), delay = $(".call-listen-delay"), idle = $(".call-listen-said").textContent;
    const player = document.getElementById("call-player"), recording = player?.querySelector("audio");
    const lanes = LANES.map((name) => ({ button: $(`.call-${name} button`), level: $(`.call-${name} .call-level > span`) }));

    let sound = null; // what plays
    let socket = null;
    let wanted = false; // whether somebody listens, or would if the line held
    let tries = 0, timer = null;
    let line = null; // what is known of the stream that is heard

    /* ---- The sound: each lane in its own ear, one alone in both ---- */

    async function open() {
        if (!window.AudioWorkletNode) throw new Error("it needs https and a browser of this decade");
        const context = new AudioContext({ latencyHint: "interactive" });
        await context.audioWorklet.addModule(panel.dataset.worklet);
        const node = new AudioWorkletNode(context, "call-sound", { numberOfInputs: 0, numberOfOutputs: 2, outputChannelCount: [1, 1] });
        const merger = context.createChannelMerger(2), volume = context.createGain();
        merger.connect(volume).connect(context.destination);
        node.port.onmessage = ({ data }) => hear(data);
        context.addEventListener("statechange", () => { if (wanted && socket && context.state !== "running") blocked(); });
        return { context, node, merger, volume };
    }

    function route() {
        if (!sound) return;
        sound.node.disconnect();
        const heard = lanes.map(({ button }) => button.getAttribute("aria-pressed") === "true");
        heard.forEach((on, lane) => {
            if (on) for (const ear of heard[1 - lane] ? [lane] : [0, 1]) sound.node.connect(sound.merger, lane, ear);
        });
        // What nobody hears runs on: the two stay in step, and its meter shows who speaks.
        if (!heard.includes(true)) sound.node.connect(sound.silent ??= sound.context.createAnalyser());
        sound.volume.gain.value = Number($("input").value) / 100;
    }

    function mute(lane) {
        const { button } = lanes[lane];
        button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
        route();
    }

    /* ---- What is shown ---- */

    function show(state, text, button = wanted ? "Stop listening" : "Listen in") {
        panel.dataset.state = state;
        if ($(".call-listen-said").textContent !== text) $(".call-listen-said").textContent = text;
        toggle.textContent = button;
        toggle.setAttribute("aria-pressed", String(wanted));
        toggle.hidden = state === "over";
        $(".call-listen-lanes").hidden = !wanted;
        if (state !== "live") quiet();
    }

    function quiet() {
        delay.textContent = "";
        for (const { level } of lanes) level.style.transform = "scaleX(0)";
    }

    /* The worklet says 20 times a second where it is. */
    function hear({ at, behind, levels, filling }) {
        if (!line || panel.dataset.state !== "live") return;
        if (filling || line.from < 0 || at < line.to || at - line.to > RATE) line.from = at;
        line.to = at;
        const seconds = behind + (sound.context.outputLatency || sound.context.baseLatency || 0);
        const lost = line.lost ? ` · ${(Math.ceil(line.lost / RATE * 10) / 10).toFixed(1)} s lost` : "";
        delay.textContent = filling ? "" : `${seconds.toFixed(1)} s behind${lost}`;
        lanes.forEach(({ level }, lane) => {
            // Decibels: 60 of them, as loudness is heard.
            const share = Math.max(0, 1 + Math.log10(Math.max(levels[lane], 1e-4)) / 3);
            level.style.transform = `scaleX(${share.toFixed(3)})`;
        });
    }

    /* ---- Starting and stopping ---- */

    async function start() {
        if (wanted || panel.dataset.state === "over") return;
        recording?.pause();
        wanted = true;
        tries = 0;
        show("connecting", "Connecting…");
        try {
            sound ??= await open();
        } catch (error) {
            return end("failed", `This browser cannot play live sound: ${error.message}.`);
        }
        route();
        // Without a click or a key some browsers wait for ever.
        await Promise.race([sound.context.resume(), new Promise((done) => setTimeout(done, GESTURE))]);
        if (!wanted) return;
        if (sound.context.state !== "running") return blocked();
        panel.dispatchEvent(new CustomEvent("call:sounding", { detail: sound }));
        connect();
    }

    function blocked() {
        end("blocked", "Your browser plays no sound before you have clicked.", "Play the sound");
    }

    function stop() {
        if (wanted) end("idle", idle);
    }

    /* Nothing is played any more, and no sound comes. */
    function end(state, text, button = undefined) {
        wanted = false;
        clearTimeout(timer);
        tell();
        say({ type: "stop" });
        const old = socket;
        [socket, line] = [null, null];
        old?.close(1000);
        if (state !== "over") sound?.context.suspend();
        else setTimeout(() => sound?.context.close(), 1000); // its last words
        show(state, text, button);
    }

    /* ---- The socket ---- */

    function connect() {
        const own = socket = callSocket(panel.dataset.socket);
        own.binaryType = "arraybuffer";
        own.addEventListener("open", () => { if (own === socket) say({ type: "listen" }); });
        own.addEventListener("message", ({ data }) => {
            if (own !== socket) return;
            if (typeof data === "string") listen(JSON.parse(data));
            else take(data);
        });
        own.addEventListener("close", ({ code }) => { if (own === socket) closed(code); });
    }

    function say(said) {
        if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(said));
    }

    function closed(code) {
        socket = line = null;
        if (code === 4429) return end("slow", "Your connection is too slow for live sound.", "Try again");
        if (code === 4403) return end("failed", "You may not listen to this call any more.");
        if (code === 1000) return end("over", "The call is over.");
        if (tries === PAUSES.length) return end("failed", "The server cannot be reached.", "Try again");
        show("interrupted", "The connection was interrupted. Trying again…");
        timer = setTimeout(connect, PAUSES[tries++] * 1000);
    }

    function listen({ type, stream, unrecorded }) {
        if (type === "refused") return end("failed", "This could not be put on record, so nothing is played.", "Try again");
        if (type === "over") return end("over", "The call is over.");
        if (type === "listening") {
            tries = 0;
            line = null;
            wait("Connecting…");
        }
        if (type === "stream") {
            sound.node.port.postMessage("begin");
            line = { stream, got: 0, from: -1, to: -1, lost: 0, told: performance.now(), at: performance.now() };
        }
        if (type === "paused") {
            sound.node.port.postMessage("rest");
            line.rests = true;
            if (unrecorded) show("paused", "This call's handler records nothing, so there is nothing to be heard.");
            else show("paused", "The handler has paused the recording: nothing is heard until it goes on.");
        }
        if (type === "resumed") wait("Going on…");
        if (type === "away") show("interrupted", "What connects our servers (Redis) is away. The call itself goes on.");
        if (type === "back") wait("Connecting…");
    }

    function wait(text) {
        show("connecting", text);
        clearTimeout(timer);
        timer = setTimeout(absent, ABSENT);
    }

    function absent() {
        if (wanted && panel.dataset.state !== "paused") show("interrupted", "Nothing is to be heard at the moment. Waiting for the call's sound…");
    }

    function take(data) {
        const view = new DataView(data), start = Number(view.getBigUint64(1)), samples = data.byteLength - HEADER;
        if (!view.getUint8(0)) {
            if (line.next < start && !line.rests) line.lost += start - line.next;
            line.next = Math.max(line.next ?? 0, start + samples);
            line.rests = false;
        }
        line.got = Math.max(line.got, start + samples);
        sound.node.port.postMessage(data, [data]);
        if (panel.dataset.state !== "paused") show("live", "You hear both sides as they speak.");
        clearTimeout(timer);
        timer = setTimeout(absent, LATE);
        if (performance.now() - line.told > TELL) tell();
    }

    /* How far we are: who does not say it is taken for too slow. */
    function tell() {
        if (!line) return;
        const { stream, got, from, to } = line;
        say({ type: "heard", stream, got, ...(from >= 0 && to > from ? { from, to } : {}) });
        line.from = to;
        line.told = performance.now();
    }

    /* ---- Pointer, keyboard, and the page around it ---- */

    toggle.addEventListener("click", () => (wanted ? stop() : start()));
    lanes.forEach(({ button }, lane) => button.addEventListener("click", () => mute(lane)));
    $("input").addEventListener("input", route);
    // Before the player's own: while somebody listens, 1 and 2 are the sides that they hear.
    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || panel.hidden || panel.dataset.state === "over") return;
        if (event.target.closest("input, textarea, select, [contenteditable], .select2")) return;
        const action = { i: () => toggle.click(), 1: wanted && (() => mute(0)), 2: wanted && (() => mute(1)) }[event.key];
        if (!action) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        action();
    }, true);
    // Who takes over wants to hear the caller.
    player?.addEventListener("call:listen", () => { if (!wanted) start(); });
    // One sound at a time.
    document.addEventListener("play", stop, true);
    // The server is told how far it was.
    addEventListener("pagehide", stop);
    player?.addEventListener("call:grown", () => {
        if (player.dataset.live === "no" && !wanted) panel.hidden = true;
    });
    const fromHash = () => { if (location.hash === "#listen") start(); };
    addEventListener("hashchange", fromHash);
    fromHash();
})();
