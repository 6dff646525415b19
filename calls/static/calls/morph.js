/* Makes the contents of an element what the server says that they are by now, and leaves alone what is the same: whatever
   somebody has opened, selected, scrolled to or put the focus on stays as it is. */
"use strict";

const callMorph = (() => {
    /* What is the same at either end of both lists stays; what lies between is made alike, one by one. */
    function children(own, fresh) {
        const [before, after] = [[...own.childNodes], [...fresh.childNodes]], least = Math.min(before.length, after.length);
        let head = 0, tail = 0;
        while (head < least && before[head].isEqualNode(after[head])) head++;
        while (tail < least - head && before.at(-1 - tail).isEqualNode(after.at(-1 - tail))) tail++;
        const [old, renewed] = [before, after].map((nodes) => nodes.slice(head, nodes.length - tail));
        const following = before[before.length - tail] ?? null;
        renewed.forEach((node, index) => {
            if (!old[index]) own.insertBefore(node, following);
            else if (old[index].nodeName === node.nodeName) one(old[index], node);
            else old[index].replaceWith(node);
        });
        for (const node of old.slice(renewed.length)) node.remove();
    }

    function one(own, fresh) {
        if (own.isEqualNode(fresh)) return;
        if (own.nodeType !== Node.ELEMENT_NODE) { own.nodeValue = fresh.nodeValue; return; }
        attributes(own, fresh);
        children(own, fresh);
    }

    function attributes(own, fresh) {
        for (const { name } of [...own.attributes]) {
            if (!fresh.hasAttribute(name) && !(name === "open" && own.matches("details"))) own.removeAttribute(name);
        }
        for (const { name, value } of fresh.attributes) {
            if (own.getAttribute(name) !== value) own.setAttribute(name, value);
        }
    }

    return (element, html) => {
        const fresh = document.createElement("template");
        fresh.innerHTML = html; // our own template, escaped by it
        children(element, fresh.content);
    };
})();
