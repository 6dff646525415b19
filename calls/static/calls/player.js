/* A call's player: what is heard, the two lanes, and the keyboard. What the lanes show of the call is zoom.js's, what is
   drawn comes from peaks.js, what lies on them from events.js. */
"use strict";

(() => {
    const player = document.getElementById("call-player");
    if (!player || !player.dataset.recording) return;

    const { LANES, RATE } = CallPeaks, { clamp } = CallWindow, STEP = 5, LEAP = 30, DISTANCE = 5, SETTLED = 150;
    const FRAME = 150, SETTLES = 10000; // ms between two pictures of a wave that grows, and after which what was told is read
    const JUMP = 4; // seconds that the wave does not make up for evenly
    const $ = (selector) => player.querySelector(selector);
    const audio = $("audio"), wave = $(".call-wave"), said = $(".call-said");
    const speeds = $(".call-speed select");
    let samples = Number(player.dataset.samples);
    let live = player.dataset.live === "yes"; // whether the audio element has the file that grows
    let position = 0;
    let following = false; // to what is being said now, as soon as the page knows how far that is
    let begun = false; // whether anything was played or looked for: before that, no row is the present one

    const total = () => samples / RATE;
    const clock = (seconds) => {
        const tenths = Math.floor(seconds * 10 + 1e-6), whole = Math.floor(tenths / 10);
        const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
        const two = (number) => String(number).padStart(2, "0");
        return (hours ? `${hours}:${two(minutes)}` : minutes) + `:${two(rest)}.${tenths % 10}`;
    };

    /* A round moment, as an axis has it. */
    const brief = (seconds) => clock(Math.round(seconds)).slice(0, -2);

    /* ---- What is shown of the call, and what lies on it ---- */

    const view = new CallWindow();
    const peaks = new CallPeaks(player.dataset.peaks, { loaded, failed: () => say("The waveform could not be loaded.", true) });
    const zoom = new CallZoom(view, { group: $(".call-zoom"), wave, playhead: () => position, changed });
    const map = new CallMap($(".call-map"), view, changed);
    const events = new CallEvents($(".call-markers"), $(".call-regions"), view);
    const skip = new CallSkip({ button: $(".call-skip"), said: $(".call-skips"), svg: $(".call-silent"), peaks, view, clock: brief });

    const now = new CallNow({ said: $(".call-present"), lanes: LANES.map((name) => $(`.call-lane-name.call-${name}`)) });

    /* The window has moved, perhaps many times in a frame. */
    function changed() {
        if (samples && !view.has(position)) player.dispatchEvent(new CustomEvent("call:looked", { detail: { at: view.from } }));
        peaks.wish("window", view.from, view.until, CallPeaks.step(view.span), SETTLED);
        cancelAnimationFrame(changed.frame);
        changed.frame = requestAnimationFrame(draw);
    }

    function draw() {
        zoom.show();
        map.show(position);
        for (const name of LANES) {
            const { path, box } = peaks.picture(name, view.from, view.span), svg = $(`.call-lane.call-${name}`);
            svg.setAttribute("viewBox", box);
            svg.firstElementChild.setAttribute("d", path);
        }
        $(".call-axis").replaceChildren(...view.ticks(wave.clientWidth).map(tick));
        events.place();
        skip.draw();
        past();
        player.dispatchEvent(new CustomEvent("call:drawn", { detail: { view } }));
    }

    function tick(seconds) {
        const found = document.createElement("span");
        found.style.left = `${view.share(seconds) * 100}%`;
        found.textContent = brief(seconds);
        return found;
    }

    function past() {
        const share = view.share(position), shade = $(".call-past");
        shade.style.width = `${clamp(share, 0, 1) * 100}%`;
        shade.classList.toggle("call-elsewhere", !view.has(position));
    }

    function loaded() {
        if (!samples) return;
        map.draw(peaks);
        skip.measure();
        draw();
    }

    /* ---- Moving ---- */

    /* `sought`: somebody wants to be there, and what goes with it comes along. */
    function show(seconds, sought = false) {
        // What is being heard has come, also if the page has not asked for its length yet.
        if (live && seconds > total() && audio.readyState > 1) {
            samples = Math.ceil(seconds * RATE);
            view.grow(total());
        }
        // Who has scrolled away while it plays is left alone until the window is where it plays again.
        const followed = view.has(position);
        position = clamp(seconds, 0, total());
        begun ||= position > 0;
        if (followed && !view.has(position)) turn();
        past();
        map.move(position);
        $(".call-now").textContent = clock(position);
        wave.setAttribute("aria-valuenow", position.toFixed(1));
        wave.setAttribute("aria-valuetext", `${clock(position)} of ${clock(total())}`);
        events.highlight(position, begun, sought);
        skip.look(position);
        player.dispatchEvent(new CustomEvent("call:at", { detail: { at: position, sought } }));
    }

    function turn() {
        view.bring(position);
        changed();
    }

    /* What plays goes on behind a silence. */
    function advance() {
        if (wave.dragging || audio.readyState < 2) return;
        const beyond = audio.paused || audio.seeking ? null : skip.beyond(audio.currentTime);
        if (beyond !== null) audio.currentTime = beyond;
        show(audio.currentTime);
    }

    /* A call that runs is heard some seconds late, so that nothing has to be waited for: its last second is still being
       written, and Chromium reads blocks of 32 KiB, which is one second more. */
    const edge = () => live ? Math.max(0, total() - DISTANCE) : total();

    function seek(seconds) {
        begun = true;
        following = false; // whoever seeks meanwhile wants to be there
        show(Math.min(seconds, edge()), true);
        if (!view.has(position)) turn();
        audio.currentTime = position;
    }

    function toEvent(direction) {
        const found = events.beside(position, direction, audio.paused ? 0.05 : 1);
        if (!found) return say(direction > 0 ? "Nothing happens after this." : "Nothing happens before this.");
        seek(found.at);
        events.reveal(found);
        say(events.text(found));
    }

    /* To an answer that was waited for: turns.js. */
    function toSlow(direction) {
        player.dispatchEvent(new CustomEvent("call:slow", { detail: { direction } }));
    }

    /* Where a running call's recording has come to, and, when the call is over, the file that is whole. */
    function open() {
        const [playing, speed] = [!audio.paused, audio.playbackRate];
        live = player.dataset.live === "yes";
        audio.src = player.dataset.recording + (live ? "?live=1" : "");
        audio.currentTime = position;
        audio.playbackRate = speed;
        $(".call-catch-up").hidden = !live;
        settle();
        if (playing) audio.play();
    }

    /* To what is being said now; the page may know of it only when it has asked. */
    function toLive() {
        if (!live) return;
        setSpeed(0);
        player.dispatchEvent(new Event("call:look"));
        seek(edge());
        following = true;
        setTimeout(() => { following = false; }, 1000);
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

    function toSkip() {
        skip.toggle();
        skip.look(position);
        skip.measure();
    }

    /* Why it could not be loaded: the server says so in words, where there is nothing to be heard. */
    async function explain() {
        let text = "The recording could not be loaded.";
        try {
            // All that is left, as the player asks for it: the first samples alone may be silence, which is never away.
            const byte = 44 + 4 * Math.floor(audio.currentTime * 8000);
            const response = await fetch(audio.currentSrc, { headers: { Range: `bytes=${byte}-` } });
            const kind = response.headers.get("Content-Type") || "";
            if ([409, 503].includes(response.status) && kind.startsWith("text/plain")) text = await response.text();
            else await response.body?.cancel();
        } catch { /* The server is away: that is what the text says. */ }
        say(text, true);
    }

    /* One step slower (-1) or faster (1), or as it was said (0). */
    function setSpeed(direction) {
        const normal = [...speeds.options].findIndex((option) => option.value === "1");
        speeds.selectedIndex = direction ? clamp(speeds.selectedIndex + direction, 0, speeds.options.length - 1) : normal;
        speeds.dispatchEvent(new Event("change"));
    }

    audio.addEventListener("timeupdate", () => {
        advance();
        // Who hears faster than it is said has caught up.
        if (live && audio.playbackRate > 1 && position > edge()) setSpeed(0);
    });
    audio.addEventListener("error", () => { if (audio.error) explain(); });
    for (const name of ["play", "pause", "ended"]) {
        audio.addEventListener(name, () => {
            $(".call-toggle").setAttribute("aria-pressed", String(!audio.paused));
            $(".call-toggle").setAttribute("aria-label", audio.paused ? "Play" : "Pause");
            if (!audio.paused) requestAnimationFrame(glide);
        });
    }

    function glide() {
        if (audio.paused) return;
        advance();
        requestAnimationFrame(glide);
    }

    $(".call-toggle").addEventListener("click", toggle);
    $(".call-catch-up").addEventListener("click", toLive);
    $(".call-back").addEventListener("click", () => seek(position - STEP));
    $(".call-forward").addEventListener("click", () => seek(position + STEP));
    $(".call-before").addEventListener("click", () => toEvent(-1));
    $(".call-after").addEventListener("click", () => toEvent(1));
    $(".call-skip").addEventListener("click", toSkip);
    speeds.addEventListener("change", () => { audio.playbackRate = audio.defaultPlaybackRate = Number(speeds.value); });

    /* ---- Pointer and keyboard ---- */

    const at = (event) => {
        const box = wave.getBoundingClientRect();
        return view.at(clamp((event.clientX - box.left) / box.width, 0, 1));
    };
    wave.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        wave.setPointerCapture(event.pointerId);
        // A second finger zooms, and then the first one has sought nothing.
        wave.dragging = !zoom.pinching;
        show(wave.dragging ? at(event) : audio.currentTime);
    });
    wave.addEventListener("pointermove", (event) => {
        const hover = $(".call-hover"), seconds = at(event);
        hover.style.left = `${view.share(seconds) * 100}%`;
        hover.dataset.time = clock(seconds);
        hover.classList.toggle("call-left", view.share(seconds) > 0.5);
        if (wave.dragging) show(seconds, true);
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
            "-": () => zoom.farther(),
            "+": () => zoom.nearer(),
            "=": () => zoom.nearer(),
            0: () => zoom.all(),
            n: () => toEvent(1),
            p: () => toEvent(-1),
            w: () => toSlow(1),
            W: () => toSlow(-1),
            s: live ? null : toSkip,
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
        $(".call-total").textContent = clock(view.total);
        events.read();
        map.mark(events.within());
        show(position);
        // The map's picture, which the window's is while it shows the whole.
        peaks.wish("whole", 0, total(), CallPeaks.step(total()));
        draw();
        changed();
    }

    function grow(to) {
        samples = to;
        peaks.grow(samples);
        view.grow(total());
    }

    /* A running call's wave widens evenly from one word of how long it is to the next. */
    const growth = { from: 0, began: 0, lasts: 0, drawn: 0 };

    function aim() {
        const now = performance.now(), far = total() - view.total > JUMP;
        Object.assign(growth, { from: far ? total() : view.total, lasts: clamp(now - growth.began, 100, 2500), began: now });
        requestAnimationFrame(widen);
    }

    function widen() {
        if (!live) return;
        const share = clamp((performance.now() - growth.began) / growth.lasts, 0, 1);
        const atEdge = !view.whole && view.until >= view.total - 0.01;
        view.grow(growth.from + (total() - growth.from) * share);
        if (atEdge) view.set(view.total - view.span, view.span);
        $(".call-total").textContent = clock(view.total);
        // A long call moves by less than a pixel at a time.
        if ((view.total - growth.drawn) / view.span * wave.clientWidth > 0.7 || share === 1) {
            growth.drawn = view.total;
            draw();
        }
        clearTimeout(growth.timer);
        if (share < 1) growth.timer = setTimeout(() => requestAnimationFrame(widen), FRAME);
    }

    /* The process that holds the call tells how it goes on: follow.js. */
    function hear({ samples: to, pieces }) {
        const first = !samples;
        peaks.tell(to, pieces);
        now.hear(to, pieces);
        if (to <= samples) return;
        samples = to;
        if (first) view.grow(total());
        if (first) return refresh();
        aim();
        wave.setAttribute("aria-valuemax", total().toFixed(1));
        peaks.wish("whole", 0, total(), CallPeaks.step(total()));
        peaks.wish("window", view.from, view.until, CallPeaks.step(view.span));
        map.mark(events.within());
        map.draw(peaks);
    }

    /* The page has looked. What was told may have had holes: now and then it is read. */
    function look(to) {
        const goesOn = player.dataset.live === "yes", read = performance.now();
        if (!goesOn || !samples) return grow(to);
        if (read - look.read < SETTLES && peaks.told.length) {
            samples = Math.max(samples, to);
            peaks.tell(samples, []);
        } else {
            look.read = read;
            samples = Math.max(samples, to);
            peaks.grow(samples);
        }
        aim();
    }
    look.read = -Infinity;

    /* Silence is skipped in what is there to the end. */
    function settle() {
        skip.live = live;
        $(".call-skipping").hidden = live;
        skip.look(position);
        skip.measure();
    }

    /* Somebody wants to hear from there: words.js. */
    player.addEventListener("call:hear", ({ detail }) => {
        seek(detail.at);
        if (audio.paused) toggle();
    });
    /* Somebody wants to be there, or has to be told something, or there are other marks: turns.js, comments.js. */
    player.addEventListener("call:seek", ({ detail }) => seek(detail.at));
    player.addEventListener("call:say", ({ detail }) => say(detail.text));
    player.addEventListener("call:looked", ({ detail }) => events.look(detail.at));
    player.addEventListener("call:marked", () => { if (samples) refresh(); });
    player.addEventListener("call:told", ({ detail }) => { if (player.dataset.live === "yes") hear(detail); });
    player.addEventListener("call:over", () => now.end());
    player.addEventListener("call:grown", (event) => {
        look(event.detail.samples);
        if (live && player.dataset.live !== "yes") open();
        refresh();
        if (live && following) seek(edge());
        following = false;
    });
    new ResizeObserver(() => { if (samples) draw(); }).observe(wave);
    player.classList.add("call-ready");
    audio.controls = false;
    grow(samples);
    if (live) open();
    refresh();
    settle();
    fromHash();
})();
