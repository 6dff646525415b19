/* Prepared sounds are played where they are listed, one at a time; and a file that is too large is not sent at all. */
"use strict";

(() => {
    const audio = new Audio();
    audio.preload = "none";
    let current = null;

    function rest() {
        current?.setAttribute("aria-pressed", "false");
        current?.style.removeProperty("--call-at");
        current = null;
    }

    function play(link) {
        rest();
        current = link;
        link.classList.remove("call-failed");
        audio.src = link.href;
        audio.play().then(() => link.setAttribute("aria-pressed", "true")).catch((error) => {
            if (error.name === "AbortError") return;
            link.classList.add("call-failed");
            rest();
        });
    }

    function stop() {
        audio.pause();
        rest();
    }

    const links = (event) => event.target.closest?.("a.call-play");

    document.addEventListener("click", (event) => {
        const link = links(event);
        if (!link) return;
        event.preventDefault();
        if (link === current) stop();
        else play(link);
    });
    document.addEventListener("keydown", (event) => {
        if (event.key !== " " || !links(event)) return;
        event.preventDefault();
        event.stopPropagation(); // the call's own player takes a space too
        links(event).click();
    });
    audio.addEventListener("ended", stop);
    audio.addEventListener("timeupdate", () => {
        current?.style.setProperty("--call-at", audio.currentTime / Number(current.dataset.seconds));
    });
    // Whatever hides it, such as a dialog that is closed, stops it.
    document.addEventListener("close", stop, true);
    // A link that does what a button does.
    for (const link of document.querySelectorAll("a.call-play")) link.setAttribute("role", "button");

    document.addEventListener("change", ({ target }) => {
        if (!target.dataset?.most) return;
        const file = target.files[0], most = Number(target.dataset.most);
        const words = `This file has ${(file?.size / 1e6).toFixed(1)} MB; it may have ${most / 1e6}. As an MP3 it is much smaller.`;
        target.setCustomValidity(file && file.size > most ? words : "");
        target.reportValidity();
    });
})();
