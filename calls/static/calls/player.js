/* A call's player: two lanes drawn from stored peaks, markers taken from the timeline below it, and the keyboard. */
"use strict";

(() => {
    const player = document.getElementById("call-player");
    if (!player || !player.dataset.recording) return;

    const RATE = 8000, FRAME = 160, BUCKETS = 3000, WINDOW = 600 * RATE, STEP = 5, LEAP = 30, DISTANCE = 5, LANES = ["inbound", "outbound"];
    const $ = (selector) => player.querySelector(selector);
    const audio = $("audio"), wave = $(".call-wave"), markers = $(".call-markers"), said = $(".call-said");
    const speeds = $(".call-speed select");
    let samples = Number(player.dataset.samples);
    let live = player.dataset.live === "yes"; // whether the audio element has the file that grows
    let position = 0;

    const total = () => samples / RATE;
    const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
    const clock = (seconds) => {
        const tenths = Math.floor(seconds * 10 + 1e-6), whole = Math.floor(tenths / 10);
        const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
        const two = (number) => String(number).padStart(2, "0");
        return (hours ? `${hours}:${two(minutes)}` : minutes) + `:${two(rest)}.${tenths % 10}`;
    };

    /* ---- Moving ---- */

    function show(seconds) {
        // What is being heard has come, also if the page has not asked for its length yet.
        if (live && seconds > total() && audio.readyState > 1) samples = Math.ceil(seconds * RATE);
        position = clamp(seconds, 0, total());
        const share = total() ? position / total() : 0;
        $(".call-past").style.width = `${share * 100}%`;
        $(".call-now").textContent = clock(position);
        wave.setAttribute("aria-valuenow", position.toFixed(1));
        wave.setAttribute("aria-valuetext", `${clock(position)} of ${clock(total())}`);
        highlight();
    }

    /* A call that runs is heard some seconds late, so that nothing has to be waited for: its last second is still being
       written, and Chromium reads blocks of 32 KiB, which are another one. */
    const edge = () => live ? Math.max(0, total() - DISTANCE) : total();

    function seek(seconds) {
        show(Math.min(seconds, edge()));
        audio.currentTime = position;
    }

    /* Where a running call's recording has come to, and, when the call is over, the file that is whole. */
    function open() {
        const [playing, speed] = [!audio.paused, audio.playbackRate];
        live = player.dataset.live === "yes";
        audio.src = player.dataset.recording + (live ? "?live=1" : "");
        audio.currentTime = position;
        audio.playbackRate = speed;
        $(".call-catch-up").hidden = !live;
        if (playing) audio.play();
    }

    /* To what is being said now; the page may know of it only when it has asked. */
    let following = false;

    function toLive() {
        if (!live) return;
        following = true;
        setTimeout(() => { following = false; }, 1000);
        setSpeed(0);
        player.dispatchEvent(new Event("call:look"));
        seek(edge());
        audio.play();
    }

    function toggle() {
        if (!audio.paused) return audio.pause();
        if (!live && position >= total() - 0.05) seek(0);
        if (live && position > edge()) seek(edge());
        audio.play().catch((error) => say(`This cannot be played: ${error.message}`, true));
    }

    function say(text, bad = false) {
        said.textContent = text;
        said.classList.toggle("call-bad", bad);
        clearTimeout(say.timer);
        if (!bad) say.timer = setTimeout(() => { said.textContent = ""; }, 3000);
    }

    /* One step slower (-1) or faster (1), or as it was said (0). */
    function setSpeed(direction) {
        const normal = [...speeds.options].findIndex((option) => option.value === "1");
        speeds.selectedIndex = direction ? clamp(speeds.selectedIndex + direction, 0, speeds.options.length - 1) : normal;
        speeds.dispatchEvent(new Event("change"));
    }

    audio.addEventListener("timeupdate", () => {
        if (!wave.dragging) show(audio.currentTime);
        // Who hears faster than it is said has caught up.
        if (live && audio.playbackRate > 1 && position > edge()) setSpeed(0);
    });
    audio.addEventListener("error", () => { if (audio.error) say("The recording could not be loaded.", true); });
    for (const name of ["play", "pause", "ended"]) {
        audio.addEventListener(name, () => {
            $(".call-toggle").setAttribute("aria-pressed", String(!audio.paused));
            $(".call-toggle").setAttribute("aria-label", audio.paused ? "Play" : "Pause");
            if (!audio.paused) requestAnimationFrame(glide);
        });
    }

    function glide() {
        if (audio.paused) return;
        if (!wave.dragging && audio.readyState > 1) show(audio.currentTime);
        requestAnimationFrame(glide);
    }

    $(".call-toggle").addEventListener("click", toggle);
    $(".call-catch-up").addEventListener("click", toLive);
    $(".call-back").addEventListener("click", () => seek(position - STEP));
    $(".call-forward").addEventListener("click", () => seek(position + STEP));
    speeds.addEventListener("change", () => { audio.playbackRate = audio.defaultPlaybackRate = Number(speeds.value); });

    /* ---- Pointer and keyboard ---- */

    const at = (event) => {
        const box = wave.getBoundingClientRect();
        return clamp((event.clientX - box.left) / box.width, 0, 1) * total();
    };
    wave.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        wave.setPointerCapture(event.pointerId);
        wave.dragging = true;
        show(at(event));
    });
    wave.addEventListener("pointermove", (event) => {
        const hover = $(".call-hover"), seconds = at(event);
        hover.style.left = `${seconds / total() * 100}%`;
        hover.dataset.time = clock(seconds);
        hover.classList.toggle("call-left", seconds > total() / 2);
        if (wave.dragging) show(seconds);
    });
    wave.addEventListener("pointerup", (event) => {
        if (wave.dragging) { wave.dragging = false; seek(at(event)); }
    });
    wave.addEventListener("pointercancel", () => { wave.dragging = false; });

    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || $(".call-stage").hidden) return;
        if (event.target.closest("input, textarea, select, [contenteditable], .select2")) return;
        if (event.key === " " && event.target.closest("button, a, summary")) return;
        const action = {
            " ": toggle,
            ArrowLeft: () => seek(position - STEP),
            ArrowRight: () => seek(position + STEP),
            // On the slider these too, as on every other one; elsewhere they scroll the page.
            ArrowDown: event.target === wave ? () => seek(position - STEP) : null,
            ArrowUp: event.target === wave ? () => seek(position + STEP) : null,
            PageDown: event.target === wave ? () => seek(position - LEAP) : null,
            PageUp: event.target === wave ? () => seek(position + LEAP) : null,
            Home: event.target === wave ? () => seek(0) : null,
            End: event.target === wave ? () => seek(total()) : null,
            "<": () => setSpeed(-1),
            ">": () => setSpeed(1),
            l: live ? toLive : null,
            1: () => mute("inbound"),
            2: () => mute("outbound"),
        }[event.key];
        if (action) { event.preventDefault(); action(); }
    });

    /* ---- Lanes: each side in its own ear; one alone in both ---- */

    const lane = (name) => $(`[data-lane="${name}"]`);
    const heard = (name) => lane(name).getAttribute("aria-pressed") === "true";
    let graph = null;

    function route() {
        if (!graph) {
            const context = new AudioContext();
            const splitter = context.createChannelSplitter(2), merger = context.createChannelMerger(2);
            context.createMediaElementSource(audio).connect(splitter);
            merger.connect(context.destination);
            graph = { context, splitter, merger };
        }
        graph.context.resume();
        graph.splitter.disconnect();
        const alone = heard("inbound") !== heard("outbound");
        LANES.forEach((name, channel) => {
            if (!heard(name)) return;
            for (const ear of alone ? [0, 1] : [channel]) graph.splitter.connect(graph.merger, channel, ear);
        });
    }

    function mute(name) {
        lane(name).setAttribute("aria-pressed", String(!heard(name)));
        $(`.call-lane.call-${name}`).classList.toggle("call-muted", !heard(name));
        route();
    }

    for (const name of LANES) lane(name).addEventListener("click", () => mute(name));

    /* ---- The waveform, from peaks of 20 ms ---- */

    let peaks = null;

    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

    function room() {
        const step = Math.max(1, Math.ceil(samples / FRAME / BUCKETS));
        const count = Math.max(1, Math.ceil(samples / FRAME / step));
        // A running call's scale is left alone until it has grown by half: its picture is stretched, not read again.
        if (peaks && step <= peaks.step * 1.5) {
            const grown = Math.ceil(samples / FRAME / peaks.step);
            for (const name of LANES) {
                const longer = new Uint8Array(grown);
                longer.set(peaks[name].subarray(0, grown));
                peaks[name] = longer;
            }
            return;
        }
        peaks = { step, known: 0, inbound: new Uint8Array(count), outbound: new Uint8Array(count) };
    }

    async function load() {
        room();
        const bucket = FRAME * peaks.step, mine = peaks;
        // What was heard of us is written a little later than what the caller said: the last seconds are read again.
        let from = Math.max(0, Math.floor((peaks.known - STEP * RATE) / bucket)) * bucket;
        while (from < samples && mine === peaks) {
            const until = Math.min(samples, from + Math.ceil(WINDOW / bucket) * bucket);
            const response = await fetch(`${player.dataset.peaks}?from=${from}&until=${until}&step=${mine.step}`);
            if (!response.ok) return say("The waveform could not be loaded.", true);
            const found = await response.json();
            for (const name of LANES) mine[name].set(bytes(found[name]).subarray(0, mine[name].length - from / bucket), from / bucket);
            mine.known = from = until;
            draw();
        }
    }

    function draw() {
        for (const name of LANES) {
            const values = peaks[name], svg = $(`.call-lane.call-${name}`);
            const height = (value) => 1 + 30 * Math.pow(value / 127, 0.6);
            let top = "", bottom = "";
            values.forEach((value, index) => {
                const tall = height(value).toFixed(1);
                top += `L${index} ${(32 - tall).toFixed(1)}L${index + 1} ${(32 - tall).toFixed(1)}`;
                bottom = `L${index + 1} ${(32 + Number(tall)).toFixed(1)}L${index} ${(32 + Number(tall)).toFixed(1)}` + bottom;
            });
            svg.setAttribute("viewBox", `0 0 ${samples / FRAME / peaks.step} 64`);
            svg.firstElementChild.setAttribute("d", `M0 32${top}${bottom}Z`);
        }
    }

    /* ---- Markers and regions, from the timeline's rows: it is there without us too ---- */

    let rows = [];

    const text = (row) => `${row.querySelector(".call-at").textContent} ${row.dataset.word} ${row.querySelector(".call-text").textContent}`.trim();

    function mark() {
        markers.replaceChildren();
        $(".call-regions").replaceChildren();
        rows = [...document.querySelectorAll(".call-timeline tr[data-at]")];
        const width = markers.clientWidth, ends = [];
        for (const row of rows) {
            const seconds = Number(row.dataset.at);
            if (!total() || seconds < -1 || seconds > total() + 1) continue;
            const share = clamp(seconds / total(), 0, 1);
            if (row.dataset.length) region(row, share);
            let level = ends.findIndex((end) => end + 18 < share * width);
            if (level < 0) level = ends.length < 4 ? ends.length : 3;
            ends[level] = share * width;
            marker(row, share, level);
        }
        markers.style.height = `${Math.max(8, ends.length * 19)}px`;
    }

    function marker(row, share, level) {
        const link = document.createElement("a");
        Object.assign(link.dataset, { kind: row.dataset.kind, tone: row.dataset.tone, key: row.dataset.word.replace("Key ", "") });
        link.className = `call-marker call-${row.dataset.tone}`;
        link.href = `#t=${Math.max(0, row.dataset.at).toFixed(2)}`;
        link.title = text(row);
        link.tabIndex = -1; // the timeline's own links are there for the keyboard
        link.style.left = `${share * 100}%`;
        link.style.top = `${level * 19}px`;
        link.style.setProperty("--call-rise", `${level * 19 + 4}px`);
        markers.append(link);
    }

    function region(row, share) {
        const box = document.createElement("div");
        box.className = `call-region call-${row.dataset.tone} ${row.dataset.track === "inbound" ? "call-in" : "call-out"}`;
        box.classList.toggle("call-folded", "folded" in row.dataset);
        box.style.left = `${share * 100}%`;
        box.style.width = `${Math.min(row.dataset.length / total(), 1 - share) * 100}%`;
        $(".call-regions").append(box);
    }

    function highlight() {
        let now = null;
        if (position > 0) for (const row of rows) if (row.dataset.at >= 0 && row.dataset.at <= position) now = row;
        if (now === highlight.row) return;
        highlight.row?.classList.remove("call-now-row");
        now?.classList.add("call-now-row");
        highlight.row = now;
    }

    /* ---- Links to a moment ---- */

    function fromHash() {
        const found = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash);
        if (found) seek(Number(found[1]));
    }

    addEventListener("hashchange", fromHash);
    document.addEventListener("click", (event) => {
        const link = event.target.closest?.('a[href^="#t="]');
        // The same moment twice is no change of the address, and has to move all the same.
        if (link && link.getAttribute("href") === location.hash) fromHash();
    });
    $(".call-share").addEventListener("click", async () => {
        history.replaceState(null, "", `#t=${position.toFixed(1)}`);
        try {
            await navigator.clipboard.writeText(location.href);
            say("Link copied.");
        } catch {
            say("The link is in the address bar.");
        }
    });

    /* ---- Starting, and growing with a running call ---- */

    function refresh() {
        const recorded = samples > 0;
        $(".call-stage").hidden = !recorded;
        player.querySelector(":scope > .call-none").hidden = recorded;
        if (!recorded) return;
        wave.setAttribute("aria-valuemax", total().toFixed(1));
        $(".call-total").textContent = clock(total());
        show(position);
        mark();
        load();
    }

    player.addEventListener("call:grown", (event) => {
        samples = event.detail.samples;
        if (live && player.dataset.live !== "yes") open();
        highlight.row = null;
        refresh();
        if (live && following) seek(edge());
        following = false;
    });
    new ResizeObserver(mark).observe(markers);
    player.classList.add("call-ready");
    audio.controls = false;
    if (live) open();
    refresh();
    fromHash();
})();
