"""How the page looks, on paper and in the dark too, and the lines of script that name the point under the pointer."""

CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --soft: #5b6675; --rule: #dfe4ea; --card: #f5f7f9;
  --a: #0072b2; --b: #d55e00; --c: #009e73; --out: rgb(213 94 0 / .09); --band: rgb(0 114 178 / .22); }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e4e9ef; --soft: #9aa7b5; --rule: #2c343d;
  --card: #1c2229; --a: #56b4e9; --b: #ff9e4a; --c: #2fcf9f; --out: rgb(255 158 74 / .12);
  --band: rgb(86 180 233 / .25); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 1.25rem 3rem; max-width: 74rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
header { padding: 1.6rem 0 .4rem; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 2.6rem 0 .8rem; padding-bottom: .25rem; border-bottom: 2px solid var(--rule); font-size: 1.35rem; }
h3 { margin: 1.6rem 0 .35rem; font-size: 1.05rem; }
h4 { margin: 0 0 .3rem; font-size: .95rem; font-family: ui-monospace, monospace; }
p { margin: .35rem 0; } .quiet, figcaption, small { color: var(--soft); font-size: .88rem; } .said {
  color: var(--soft); }
.empty { padding: 1rem; background: var(--card); border-radius: .5rem; } .good::before { content: "\\2713\\a0";
  color: var(--c); }
.state { display: inline-block; margin-left: .6rem; padding: .1rem .6rem; border: 1px solid currentcolor;
  border-radius: 1rem; color: var(--c); font-size: .85rem; vertical-align: middle; } .state.open { color: var(--b); }
nav { position: sticky; top: 0; z-index: 1; padding: .5rem 0; background: var(--paper);
  border-bottom: 1px solid var(--rule);
  font-size: .9rem; } nav a { margin-right: 1rem; white-space: nowrap; } a { color: var(--a); }
section { scroll-margin-top: 3rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .7rem; }
.tile { padding: .7rem .9rem; background: var(--card); border-radius: .5rem; } .tile > * { display: block; }
.tile b { font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
figure { margin: .4rem 0 1rem; overflow-x: auto; } figure h3 { margin-top: 1.4rem; }
svg { display: block; width: 100%; min-width: 40rem; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.grid { stroke: var(--rule); fill: none; } .dot { stroke: var(--a); stroke-width: 4; stroke-linecap: round;
  fill: none; opacity: .6; }
.dot.few { stroke-width: 6; opacity: .8; } .cross { stroke: var(--b); stroke-width: 1.6; fill: none; }
.plus { stroke: var(--soft); fill: none; opacity: .7; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.median { stroke: var(--ink); stroke-width: 1.6; opacity: .8; } .a { stroke: var(--a); }
.b { stroke: var(--b); stroke-dasharray: 7 3; } .c { stroke: var(--c); stroke-dasharray: 2 3; }
.band { fill: var(--band); } .bar { fill: var(--a); opacity: .75; } .bar.out { fill: var(--b); opacity: 1; }
.gate { stroke: var(--b); stroke-width: 1.4; stroke-dasharray: 6 4; fill: none; } svg .gate-word { fill: var(--b);
  font-weight: 600; }
.refused { fill: var(--out); } .gap { fill: var(--soft); opacity: .2; }
svg .here { fill: var(--ink); font-size: 12px; font-weight: 600; paint-order: stroke; stroke: var(--paper);
  stroke-width: 4px; }
svg .ring { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.wide { overflow-x: auto; margin: .5rem 0; } table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .28rem .8rem .28rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; } td { max-width: 34rem; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .3rem 1.4rem;
  margin: .5rem 0; }
.facts dt { color: var(--soft); font-size: .82rem; } .facts dd { margin: 0; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--a); }
.example { margin: .8rem 0 1.2rem; padding: .9rem; background: var(--card); border-radius: .5rem;
  break-inside: avoid; }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem; align-items: flex-start; } .pictures figure { margin: 0;
  flex: 3 1 20rem; }
.pictures figure:first-child { flex: 1 1 12rem; max-width: 18rem; } img { display: block; width: 100%;
  height: auto; border-radius: .25rem; }
footer { margin-top: 3rem; padding-top: .6rem; border-top: 1px solid var(--rule); color: var(--soft);
  font-size: .85rem; }
@media print { :root { --paper: #fff; --ink: #000; --soft: #444; --rule: #ccc; --card: #fff; } body {
  max-width: none; font-size: 11px; }
  nav { display: none; } svg { min-width: 0; }
  figure, tr, .tile { break-inside: avoid; } h2, h3 { break-after: avoid; } .tile {
  border: 1px solid var(--rule); } }
"""

SCRIPT = """
const names = JSON.parse(document.getElementById('names').textContent);
const space = 'http://www.w3.org/2000/svg';
for (const svg of document.querySelectorAll('svg[data-y]')) {
  const [low, high, start, end] = svg.dataset.y.split(' ').map(Number);
  let points = null;
  const ring = svg.appendChild(document.createElementNS(space, 'circle'));
  const words = svg.appendChild(document.createElementNS(space, 'text'));
  ring.setAttribute('class', 'ring'); ring.setAttribute('r', 5); words.setAttribute('class', 'here');
  const hide = () => { ring.style.display = words.style.display = 'none'; };
  hide();
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('pointermove', event => {
    if (points === null) {
      points = [];
      for (const path of svg.querySelectorAll('.hit')) {
        const [right, down] = (path.dataset.o || '0 0').split(' ').map(Number);
        const indices = path.dataset.i.split(' ');
        let number = 0;
        for (const [, x, y] of path.getAttribute('d').matchAll(/M([\\d.-]+) ([\\d.-]+)/g))
          points.push([Number(x) + right, Number(y) + down, indices[number++]]);
      }
    }
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best = null, nearest = 400;
    for (const point of points) {
      const distance = (point[0] - at.x) ** 2 + (point[1] - at.y) ** 2;
      if (distance < nearest) { nearest = distance; best = point; }
    }
    if (best === null) return hide();
    const value = low + (best[1] - start) / (end - start) * (high - low);
    ring.setAttribute('cx', best[0]); ring.setAttribute('cy', best[1]);
    words.textContent = names[best[2]] + '  ' + Number(value.toPrecision(3)) + ' ' + svg.dataset.unit;
    words.setAttribute('x', best[0] + (best[0] > 380 ? -9 : 9)); words.setAttribute('y', Math.max(best[1] - 8, 12));
    words.setAttribute('text-anchor', best[0] > 380 ? 'end' : 'start');
    ring.style.display = words.style.display = '';
  });
}
"""
