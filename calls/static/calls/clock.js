/* Whole seconds as a clock that runs has them: 0:07, 12:30, 1:02:30. */
"use strict";

const callClock = (seconds) => {
    const two = (number) => String(number).padStart(2, "0");
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
    return (hours ? `${hours}:${two(minutes)}` : minutes) + `:${two(seconds % 60)}`;
};
