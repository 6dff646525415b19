/* The list's play buttons: one recording at a time, where it stands. */
"use strict";

(() => {
    const audio = new Audio();
    audio.preload = "none";
    let current = null;

    function show(button, playing) {
        button.setAttribute("aria-pressed", String(playing));
    }

    function stop() {
        audio.pause();
        if (current) show(current, false);
        current = null;
    }

    function play(button) {
        if (current && current !== button) {
            show(current, false);
            current.style.removeProperty("--call-at");
        }
        if (current !== button) audio.src = button.dataset.src;
        current = button;
        button.classList.remove("call-failed");
        audio.play().then(() => show(button, true)).catch((error) => {
            if (error.name !== "AbortError") button.classList.add("call-failed");
        });
    }

    document.addEventListener("click", (event) => {
        const button = event.target.closest?.(".call-play");
        if (!button) return;
        if (button === current && !audio.paused) audio.pause();
        else play(button);
    });
    audio.addEventListener("pause", () => { if (current) show(current, false); });
    audio.addEventListener("timeupdate", () => {
        current?.style.setProperty("--call-at", audio.currentTime / Number(current.dataset.seconds));
    });
    audio.addEventListener("ended", () => {
        current?.style.removeProperty("--call-at");
        stop();
    });
})();
