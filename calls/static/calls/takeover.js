/* Taking over a running call: what the microphone says goes to the caller, by a socket of its own, and its handler waits
   until it is handed back. takeover-worklet.js makes of it what a telephone carries. */
"use strict";

(() => {
    const panel = document.getElementById("call-takeover");
    if (!panel) return;

    const $ = (selector) => panel.querySelector(selector);
    const take = $(".call-takeover-take"), on = $(".call-takeover-on"), said = $(".call-takeover-said");
    const clock = $(".call-takeover-clock"), mute = $(".call-takeover-mute"), level = $(".call-takeover-level > span");
    const player = document.getElementById("call-player");
    let handler = panel.dataset.handler, idle = said.textContent;
    const REFUSED = {
        NotAllowedError: "Your browser does not let this page use the microphone. Allow it beside the page's address, and try again.",
        NotFoundError: "There is no microphone. Connect one, and try again.",
        NotReadableError: "The microphone is in use by another program, or broken.",
    };
    const CLOSED = {
        4403: "You are logged out, or may not supervise calls any more.",
        4404: "This call cannot be taken over: you may not, or you are logged out.",
        4429: "Your connection is too slow.",
    };
    const REFUSED_FOR = 15000; // ms
    const DEAF = "Your browser gives the microphone to secure pages only: open this page by https.";

    let microphone = null, socket = null, began = 0, ticking = null;

    const talks = () => panel.dataset.state === "on";

    function show(state, text) {
        panel.dataset.state = state;
        const isOn = state === "on";
        if (on.hidden === isOn && isOn) setTimeout(() => $(".call-takeover-back").focus());
        on.hidden = !isOn;
        take.hidden = isOn || player.dataset.live !== "yes";
        take.disabled = state === "asking";
        said.textContent = text;
        panel.hidden = !isOn && player.dataset.live !== "yes" && text === idle;
    }

    /* ---- The microphone ---- */

    async function open() {
        if (!navigator.mediaDevices || !window.AudioWorkletNode) throw new Error(DEAF);
        const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
        const context = new AudioContext({ latencyHint: "interactive" });
        let stream = null;
        try {
            await context.audioWorklet.addModule(panel.dataset.worklet);
            stream = await navigator.mediaDevices.getUserMedia({ audio });
            const node = new AudioWorkletNode(context, "call-microphone", { channelCount: 1, channelCountMode: "explicit" });
            // It says nothing, but what leads nowhere need not be run.
            context.createMediaStreamSource(stream).connect(node).connect(context.destination);
            node.port.onmessage = ({ data }) => hear(data);
            await context.resume();
            stream.getAudioTracks()[0].addEventListener("ended", () => handBack(`Your microphone was gone; ${handler} has the caller back.`));
            return { stream, context, node };
        } catch (error) {
            stream?.getTracks().forEach((track) => track.stop());
            context.close();
            throw error;
        }
    }

    function hear(data) {
        level.style.transform = `scaleX(${Math.min(1, Math.sqrt(data.level))})`;
        panel.dispatchEvent(new CustomEvent("call:voice", { detail: { level: data.level } }));
        if (talks() && socket.readyState === WebSocket.OPEN) socket.send(data.audio);
    }

    function close() {
        clearInterval(ticking);
        microphone?.stream.getTracks().forEach((track) => track.stop());
        microphone?.context.close();
        socket?.close();
        microphone = socket = null;
    }

    /* ---- Taking over, and handing back ---- */

    async function begin() {
        show("asking", "Waiting for your microphone: your browser may ask.");
        try {
            microphone = await open();
        } catch (error) {
            show("failed", REFUSED[error.name] ?? `The microphone cannot be used: ${error.message}`);
            return;
        }
        show("asking", `Asking for the caller…`);
        const own = socket = callSocket(panel.dataset.socket);
        own.addEventListener("open", () => own.send(JSON.stringify({ type: "take" })));
        own.addEventListener("message", ({ data }) => { if (own === socket) told(JSON.parse(data)); });
        own.addEventListener("close", ({ code }) => { if (own === socket) lost(code); });
    }

    function told(word) {
        if (word.type === "taken") taken();
        if (word.type === "refused") refused(`You have not taken over: ${word.why}.`);
        if (word.type === "over") end("failed", `You do not talk to the caller any more: ${word.why}.`);
        if (word.type === "away" && talks()) said.textContent = "The servers do not reach each other: the caller may not hear you.";
        if (word.type === "back" && talks()) said.textContent = advice();
    }

    /* Who has the caller may hand back at any moment: soon it is no longer true. */
    function refused(text) {
        end("failed", text);
        setTimeout(() => { if (panel.dataset.state === "failed" && said.textContent === text) show("idle", idle); }, REFUSED_FOR);
    }

    const advice = () => `${handler} waits until you hand back. Wear headphones, or the caller hears themselves.`;

    function taken() {
        began = Date.now();
        silence(false);
        tick();
        ticking = setInterval(tick, 500);
        show("on", advice());
        // Who talks wants to hear the caller, too.
        player.dispatchEvent(new CustomEvent("call:listen"));
    }

    function tick() {
        const seconds = Math.floor((Date.now() - began) / 1000);
        clock.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    }

    function silence(muted) {
        mute.setAttribute("aria-pressed", String(muted));
        mute.textContent = muted ? "Muted: speak again" : "Mute";
        panel.toggleAttribute("data-muted", muted);
        $(".call-takeover-state").textContent = muted ? "The caller hears nothing: you are muted" : "You are talking to the caller";
        microphone.node.port.postMessage({ muted });
    }

    function handBack(text) {
        if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "hand-back" }));
        end("idle", text);
    }

    function lost(code) {
        const why = CLOSED[code] ?? "The connection to the server broke.";
        end("failed", talks() ? `${why} ${handler} has the caller back in 3 s.` : why);
    }

    function end(state, text) {
        close();
        show(state, text);
        take.focus();
    }

    take.addEventListener("click", begin);
    mute.addEventListener("click", () => silence(mute.getAttribute("aria-pressed") !== "true"));
    $(".call-takeover-back").addEventListener("click", () => handBack(`You have handed back to ${handler}.`));
    addEventListener("beforeunload", (event) => { if (talks()) event.preventDefault(); });
    addEventListener("pagehide", () => { if (talks()) handBack(idle); });
    // Another handler may have the call by now.
    new MutationObserver(() => {
        const now = document.querySelector("#call-head [data-handler]")?.dataset.handler ?? handler;
        if (now === handler || talks()) return;
        const was = idle;
        idle = idle.replace(`; ${handler} waits`, () => `; ${now} waits`);
        handler = now;
        $(".call-takeover-back").textContent = `Hand back to ${handler}`;
        if (said.textContent === was) said.textContent = idle;
    }).observe(document.getElementById("call-head"), { subtree: true, childList: true, attributes: true, characterData: true });
    new MutationObserver(() => { if (panel.dataset.state !== "on") show(panel.dataset.state, said.textContent); })
        .observe(player, { attributeFilter: ["data-live"] });
    show("idle", idle);
})();
