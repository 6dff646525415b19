"""The page's style sheet. It is part of the page, which has no other file and lets the browser load none."""

CSS = """
:root { color-scheme: light dark; --page: #fff; --text: #1c2128; --soft: #59626d; --line: #d5dae0; --card: #f5f7f9;
  --bad: #b3261e; --bad-soft: #fdeceb; --good: #1a6b34; --link: #0b57a4; --warn: #fff4d6; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --text: #e4e8ec; --soft: #a3adb8; --line: #38404a;
  --card: #1d2228; --bad: #ff9d94; --bad-soft: #3a1f1d; --good: #7fd79a; --link: #8fc3ff; --warn: #3c3214; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h1.failed { color: var(--bad); }
h1.ok { color: var(--good); }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
a { color: var(--link); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; list-style: none; padding: 0; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .9rem;
  min-width: 7rem; color: var(--soft); }
.tiles b { display: block; font-size: 1.3rem; color: var(--text); font-variant-numeric: tabular-nums; }
.warning { background: var(--warn); border-left: .25rem solid #b98300; padding: .5rem .8rem; }
.scrolled { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { text-align: left; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 7rem; }
td { white-space: nowrap; }
td.text { white-space: normal; }
thead th { color: var(--soft); font-weight: 500; white-space: nowrap; }
.failed { color: var(--bad); }
.ok { color: var(--good); }
.where { color: var(--soft); font-size: .9rem; }
details.call { border: 1px solid var(--line); border-radius: .5rem; margin: .6rem 0; padding: 0 .9rem; }
details.call > summary { margin: 0 -.9rem; padding: .6rem .9rem; }
details.call[open] > summary { border-bottom: 1px solid var(--line); background: var(--card); }
summary { cursor: pointer; padding: .3rem 0; border-radius: .5rem; }
.target { display: block; scroll-margin-top: 4rem; }
.reason { color: var(--soft); }
.faults { background: var(--bad-soft); border-left: .25rem solid var(--bad); margin: .3rem 0; padding: .5rem 1.6rem; }
pre { margin: 0; font: .85rem/1.45 ui-monospace, monospace; white-space: pre-wrap; background: var(--card);
  padding: .6rem; border-radius: .4rem; }
audio { width: min(100%, 30rem); vertical-align: middle; }
svg.waveform { display: block; width: 100%; min-width: 44rem; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
"""
